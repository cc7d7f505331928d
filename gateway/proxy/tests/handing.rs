//! New connections go from a busy worker to an idle one, and are served there.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test, which measures real time")]

use portcullis_gateway_listener::{ConnectionCaps, ConnectionLimits, bind};
use portcullis_gateway_policy::Pipeline;
use portcullis_gateway_proxy::{
    ClientAddressRule, DataPlane, Listener, ListenerKey, ListenerLimits, ListenerMode, Published, SinkMaker, Snapshot,
};
use portcullis_gateway_router::RouteTable;
use portcullis_model::{Clock, DecisionRecord, Generation, RecordSink};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NOW: u64 = 1_795_440_000;

struct Nowhere;

impl RecordSink for Nowhere {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }
    fn emit(&self, _: Box<DecisionRecord>) {}
}

fn published(key: &ListenerKey) -> Arc<Published> {
    let seconds = Duration::from_secs;
    let limits = ListenerLimits {
        head: Default::default(),
        handshake_deadline: seconds(10),
        header_deadline: seconds(30),
        idle_timeout: seconds(75),
        body_rate_min: 500,
        rate_window: seconds(10),
        requests_max: None,
    };
    let mode = ListenerMode::DangerPlaintext { expires: NOW + 60 };
    let balancers = ClientAddressRule::default();
    let listener = Listener { key: key.clone(), name: "l".into(), mode, tls: None, limits, balancers };
    let snapshot = Snapshot {
        generation: Generation(1),
        hash: String::new(),
        listeners: vec![Arc::new(listener)],
        routes: RouteTable::build(Vec::new()).0,
        unrouted: Pipeline::default(),
        client_address: ClientAddressRule::default(),
        upstreams: Vec::new(),
    };
    Arc::new(Published::new(snapshot, Clock::fixed(NOW * 1_000_000)))
}

/// Asks for a page that is not there, on a connection that stays.
fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let mut text = String::new();
    while !text.ends_with("}\n") {
        let mut part = [0; 4096];
        let count = client.read(&mut part).unwrap();
        assert!(count > 0, "ended after {text:?}");
        text.push_str(std::str::from_utf8(&part[..count]).unwrap());
    }
    text
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

/// Two workers, each with a socket on a port of its own, so that the test chooses who accepts.
fn plane() -> (DataPlane, Arc<Published>, [SocketAddr; 2], Arc<ConnectionCaps>) {
    let sockets: Vec<_> = (0..2).map(|_| bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0)).collect();
    let addresses = [0, 1].map(|at: usize| sockets[at].local_addr().unwrap());
    let key = ListenerKey::new("127.0.0.1:80".parse().unwrap(), &"l".into());
    let published = published(&key);
    let sinks = (0..2).map(|_| Box::new(|| Rc::new(Nowhere) as Rc<dyn RecordSink>) as SinkMaker).collect();
    let plane = DataPlane::start(&published, sinks, [1; 16]).unwrap();
    let caps = ConnectionCaps::new(ConnectionLimits { connections: 1000, per_client: 1000 });
    plane.listen(&key, sockets, &caps).unwrap();
    (plane, published, addresses, caps)
}

#[test]
fn a_worker_that_accepts_everything_serves_only_its_share() {
    let (plane, published, [busy, _], caps) = plane();
    let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(busy)).collect();
    for client in &mut clients {
        assert!(ask(client).starts_with("HTTP/1.1 404 "));
    }
    let begin = Instant::now();
    let figures = loop {
        let figures = published.load.look();
        if figures.iter().map(|worker| worker.connections).sum::<u64>() >= 200 {
            break figures;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{figures:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // One and a half times the mean of both is 150.
    assert!(figures[0].connections <= 160 && figures[1].connections >= 40, "{figures:?}");
    assert_eq!((figures[0].handed >= 40, figures[1].handed), (true, 0), "{figures:?}");
    // They are as good as any other, and their places come back.
    for client in &mut clients {
        assert!(ask(client).starts_with("HTTP/1.1 404 "));
    }
    assert_eq!(caps.open(), 200);
    drop(clients);
    while caps.open() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{} places are not given back", caps.open());
        std::thread::sleep(Duration::from_millis(20));
    }
    plane.stop(Duration::from_secs(1));
}

#[test]
fn workers_with_equal_shares_keep_what_they_accept() {
    let (plane, published, addresses, _) = plane();
    let mut clients = Vec::new();
    // In turn, each served before the next: no worker is ahead of the other.
    for number in 0..100 {
        let mut client = connect(addresses[number % 2]);
        assert!(ask(&mut client).starts_with("HTTP/1.1 404 "));
        clients.push(client);
    }
    assert_eq!(published.load.look().iter().map(|worker| worker.handed).sum::<u64>(), 0);
    plane.stop(Duration::from_secs(1));
}
