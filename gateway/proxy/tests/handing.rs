//! New connections go from a busy worker to an idle one, and are served there; those of a listener that is taken out are served too.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const NOW: u64 = 1_795_440_000;

/// Where records go: nowhere. While the gate is locked a worker that has one to tell stands still, with everything that it does.
#[derive(Clone, Default)]
struct Gate {
    standing: Arc<AtomicUsize>,
    gate: Arc<Mutex<()>>,
}

impl RecordSink for Gate {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }
    fn emit(&self, _: Box<DecisionRecord>) {
        self.standing.fetch_add(1, Ordering::AcqRel);
        drop(self.gate.lock().unwrap());
        self.standing.fetch_sub(1, Ordering::AcqRel);
    }
}

fn snapshot(generation: u64, listeners: Vec<Arc<Listener>>) -> Snapshot {
    Snapshot {
        generation: Generation(generation),
        hash: String::new(),
        listeners,
        departed: Vec::new(),
        routes: RouteTable::build(Vec::new()).0,
        unrouted: Pipeline::default(),
        client_address: ClientAddressRule::default(),
        bans: None,
        lockouts: None,
        lockout_spared: ClientAddressRule::default(),
        spared: ClientAddressRule::default(),
        upstreams: Vec::new(),
    }
}

fn published(key: &ListenerKey) -> Arc<Published> {
    let seconds = Duration::from_secs;
    let limits = ListenerLimits {
        head: Default::default(),
        connection_rate: None,
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
    Arc::new(Published::new(snapshot(1, vec![Arc::new(listener)]), Clock::fixed(NOW * 1_000_000)))
}

/// Asks for a page that is not there, on a connection that stays.
fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    answer(client)
}

fn answer(client: &mut TcpStream) -> String {
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
    plane_with(&Gate::default())
}

fn key() -> ListenerKey {
    ListenerKey::new("127.0.0.1:80".parse().unwrap(), &"l".into())
}

fn plane_with(gate: &Gate) -> (DataPlane, Arc<Published>, [SocketAddr; 2], Arc<ConnectionCaps>) {
    let sockets: Vec<_> = (0..2).map(|_| bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0)).collect();
    let addresses = [0, 1].map(|at: usize| sockets[at].local_addr().unwrap());
    let published = published(&key());
    let sink = |gate: Gate| Box::new(move || Rc::new(gate) as Rc<dyn RecordSink>) as SinkMaker;
    let sinks = (0..2).map(|_| sink(gate.clone())).collect();
    let plane = DataPlane::start(&published, sinks, [1; 16]).unwrap();
    let caps = ConnectionCaps::new(ConnectionLimits { connections: 1000, per_client: 1000, handshakes_per_client: 1000 });
    plane.listen(&key(), sockets, &caps).unwrap();
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

#[test]
fn what_is_queued_on_a_listener_that_a_reload_takes_out_is_served() {
    let gate = Gate::default();
    let (plane, published, addresses, _) = plane_with(&gate);
    let held = gate.gate.lock().unwrap();
    let mut early = addresses.map(connect);
    let begin = Instant::now();
    for (number, client) in early.iter_mut().enumerate() {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        while gate.standing.load(Ordering::Acquire) <= number {
            assert!(begin.elapsed() < Duration::from_secs(20), "a worker does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // Nobody accepts: the kernel does, and keeps the requests.
    let mut clients: Vec<TcpStream> = (0..80).map(|number| connect(addresses[number % 2])).collect();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    }
    let mut next = snapshot(2, Vec::new());
    next.follow(&published.snapshot());
    published.publish(Arc::new(next));
    std::thread::scope(|scope| {
        let unlistening = scope.spawn(|| plane.unlisten(vec![key()]));
        drop(held);
        unlistening.join().unwrap();
    });
    // With the next reload nothing of it is left, and nothing is needed of it.
    let mut next = snapshot(3, Vec::new());
    next.follow(&published.snapshot());
    assert!(next.departed.is_empty());
    published.publish(Arc::new(next));
    for client in &mut clients {
        assert!(answer(client).starts_with("HTTP/1.1 404 "));
    }
    addresses.iter().for_each(|address| assert!(TcpStream::connect(address).is_err(), "{address} is listened on"));
    plane.stop(Duration::from_secs(1));
}
