//! Sockets, the loop that accepts on them, and the caps on connections, together.
#![expect(clippy::unwrap_used, reason = "a test")]

use portcullis_gateway_listener::{Comer, ConnectionCaps, ConnectionLimits, ConnectionPermit, accept_loop, bind};
use portcullis_model::Reason;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

type Arrival = Result<(tokio::net::TcpStream, ConnectionPermit), Reason>;

/// Accepts in the background; what arrives or is refused is told.
fn accept(socket: std::net::TcpListener, caps: &Arc<ConnectionCaps>) -> mpsc::Receiver<Arrival> {
    let (told, arrivals) = mpsc::channel(1024);
    let caps = Arc::clone(caps);
    tokio::spawn(async move {
        let refused = told.clone();
        let accepted = |stream, _, permit| told.try_send(Ok((stream, permit))).unwrap();
        accept_loop(
            socket,
            &caps,
            |_| Ok(Comer::Client),
            accepted,
            |reason| refused.try_send(Err(reason)).unwrap(),
            || Duration::ZERO,
            std::future::pending::<()>(),
        )
        .await
    });
    arrivals
}

fn caps(connections: u32, per_client: u32) -> Arc<ConnectionCaps> {
    ConnectionCaps::new(ConnectionLimits { connections, per_client, handshakes_per_client: u32::MAX })
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[tokio::test]
async fn whoever_is_over_the_limit_is_closed_and_told_of_until_somebody_leaves() {
    let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let address = socket.local_addr().unwrap();
    let caps = caps(2, 10);
    let mut arrivals = accept(socket, &caps);
    let _clients = [connect(address), connect(address)];
    let (first, second) = (arrivals.recv().await.unwrap().unwrap(), arrivals.recv().await.unwrap().unwrap());
    assert!(first.0.nodelay().unwrap() && second.0.nodelay().unwrap(), "answers are not held back");
    let mut third = connect(address);
    assert_eq!(arrivals.recv().await.unwrap().unwrap_err(), Reason::ConnectionsExhausted);
    assert!(matches!(third.read(&mut [0]), Ok(0) | Err(_)), "it is closed");
    drop(first);
    let _fourth_client = connect(address);
    let _fourth = arrivals.recv().await.unwrap().unwrap();

    caps.set_limits(ConnectionLimits { connections: 10, per_client: 2, handshakes_per_client: u32::MAX });
    let _fifth = connect(address);
    assert_eq!(arrivals.recv().await.unwrap().unwrap_err(), Reason::ClientConnectionsExhausted);
    drop(second);
    let _sixth = connect(address);
    assert!(arrivals.recv().await.unwrap().is_ok());
}

#[tokio::test]
async fn clients_that_reset_at_once_do_not_stop_others() {
    let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let address = socket.local_addr().unwrap();
    let caps = caps(1000, 1000);
    // They are gone before anybody accepts.
    for _ in 0..200 {
        let client = socket2::SockRef::from(&connect(address)).try_clone().unwrap();
        client.set_linger(Some(Duration::ZERO)).unwrap();
    }
    let client = connect(address);
    let mut arrivals = accept(socket, &caps);
    let wanted = client.local_addr().unwrap();
    loop {
        let (stream, _permit) = arrivals.recv().await.unwrap().unwrap();
        if stream.peer_addr().is_ok_and(|peer| peer == wanted) {
            break;
        }
    }
    while let Ok(arrival) = arrivals.try_recv() {
        drop(arrival);
    }
    assert_eq!(caps.open(), 0, "every place has come back");
}

#[tokio::test]
async fn a_listener_for_ipv6_leaves_ipv4_alone() {
    let six = match bind((Ipv6Addr::LOCALHOST, 0).into(), 1) {
        Ok(_) => bind((Ipv6Addr::UNSPECIFIED, 0).into(), 2).unwrap(),
        // Machines without IPv6 have nothing to keep apart.
        Err(error) => return assert!(error.to_string().contains("[::1]:0"), "{error}"),
    };
    let port = six[0].local_addr().unwrap().port();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    bind((Ipv4Addr::LOCALHOST, port).into(), 2).unwrap();
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
}

#[test]
fn an_address_that_is_not_here_is_named() {
    let error = bind("192.0.2.1:80".parse().unwrap(), 1).unwrap_err().to_string();
    assert_eq!(error, "192.0.2.1:80: this machine has no such address");
}

#[test]
fn places_are_counted_right_by_many_threads() {
    let caps = caps(64, 8);
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let caps = &caps;
            scope.spawn(move || {
                for round in 0..2000_u32 {
                    let address = Ipv4Addr::new(192, 0, 2, ((round + u32::from(thread)) % 5) as u8).into();
                    let held: Vec<_> = (0..4).filter_map(|_| caps.admit(address).ok()).collect();
                    assert!(caps.open() <= 64 && held.len() <= 4);
                }
            });
        }
    });
    assert_eq!(caps.open(), 0);
    // Every client can have all its places again: none was lost.
    for last in 0..5 {
        let address = Ipv4Addr::new(192, 0, 2, last).into();
        let held: Vec<_> = (0..8).map(|_| caps.admit(address).unwrap()).collect();
        assert_eq!(caps.admit(address).unwrap_err(), Reason::ClientConnectionsExhausted);
        drop(held);
    }
}

#[tokio::test]
async fn what_is_queued_when_accepting_ends_is_accepted_and_not_reset() {
    let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let address = socket.local_addr().unwrap();
    let clients: Vec<TcpStream> = (0..50).map(|_| connect(address)).collect();
    let (told, mut arrivals) = mpsc::channel(100);
    let accepted = |stream: tokio::net::TcpStream, _, permit| told.try_send((stream, permit)).unwrap();
    // The end has come before the runtime has looked at the socket for the first time.
    accept_loop(
        socket,
        &caps(100, 100),
        |_| Ok(Comer::Client),
        accepted,
        |reason| panic!("{reason:?}"),
        || Duration::ZERO,
        std::future::ready(()),
    )
    .await
    .unwrap();
    drop(told);
    let mut served = 0;
    while let Some((stream, _permit)) = arrivals.recv().await {
        stream.writable().await.unwrap();
        assert_eq!(stream.try_write(b"x").unwrap(), 1);
        served += 1;
    }
    assert_eq!(served, 50);
    for mut client in clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
    }
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
