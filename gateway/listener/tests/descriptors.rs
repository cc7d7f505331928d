//! Accepting when the process has no file descriptors left. Alone in its program, because the limit is the whole process's.

use portcullis_gateway_listener::{Comer, ConnectionCaps, ConnectionLimits, accept_loop, bind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Read;
use std::net::TcpStream;
use std::pin::pin;
use std::time::Duration;

/// As many files as fit, so that the next descriptor cannot be had.
fn take_all_descriptors() -> Vec<std::fs::File> {
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn accepting_goes_on_when_descriptors_come_back() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).unwrap();
    let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let address = socket.local_addr().unwrap();
    let caps = ConnectionCaps::new(ConnectionLimits { connections: 10, per_client: 10, handshakes_per_client: u32::MAX });
    let (arrived, mut arrivals) = tokio::sync::mpsc::channel(10);
    let accepted = |stream, _, permit| arrived.try_send((stream, permit)).unwrap();
    let mut accepting = pin!(accept_loop(
        socket,
        &caps,
        |_| Ok(Comer::Client),
        accepted,
        |reason| panic!("{reason:?}"),
        || Duration::ZERO,
        std::future::pending::<()>()
    ));

    let mut client = TcpStream::connect(address).unwrap();
    let files = take_all_descriptors();
    assert!(!files.is_empty());
    // The clock is paused: the minute passes as soon as there is nothing to do but to wait.
    assert!(tokio::time::timeout(Duration::from_secs(60), accepting.as_mut()).await.is_err(), "it gave up");
    assert!(arrivals.try_recv().is_err());
    drop(files);
    let (stream, permit) = tokio::select! {
        _ = accepting.as_mut() => panic!("it gave up"),
        arrival = arrivals.recv() => arrival.unwrap(),
    };
    assert_eq!((stream.peer_addr().unwrap(), caps.open()), (client.local_addr().unwrap(), 1));
    drop((stream, permit));
    assert_eq!((client.read(&mut [0]).unwrap(), caps.open()), (0, 0));
}
