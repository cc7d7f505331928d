//! What takes long comes through as it comes: events, WebSocket, bodies in both directions.

use portcullis_testing_kit::{Plain, PyServer, RawClient, Witness, get, holds};
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

const WEBSOCKET: &str = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }";
const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame of a client: final, masked.
fn frame(kind: u8, text: &[u8]) -> Vec<u8> {
    let mask = [7, 77, 177, 27];
    let mut bytes = vec![0x80 | kind];
    match text.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).expect("a short message").to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

#[test]
fn events_come_one_by_one() {
    let server = PyServer::start();
    let gateway = Plain::to(server.address()).start();
    let mut client = RawClient::connect(gateway.http());
    client.send("GET /events/one HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n\r\n");
    let head = client.response_head();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    // The server holds the second event back until it is told: the first must have come by then.
    client.until(b"data: first\n\n");
    assert_eq!(gateway.get("/go/one").status, 200);
    client.until(b"data: second\n\n");
    client.until(b"0\r\n\r\n");
}

#[test]
fn an_upload_reaches_the_upstream_as_it_comes() {
    let (send, received) = sync_channel(1);
    let send = Mutex::new(send);
    let witness = Witness::scripted(move |side| {
        side.head();
        side.until(b"first");
        send.lock().expect("a lock").send(()).expect("a test that waits");
        side.until(b"0\r\n\r\n");
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let gateway = Plain::to(witness.address()).start();
    let mut client = RawClient::connect(gateway.http());
    client.send("POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    received.recv_timeout(portcullis_testing_kit::PATIENCE).expect("the first chunk reaches the upstream before the rest is sent");
    assert_eq!(client.send("4\r\nlast\r\n0\r\n\r\n").response().status, 200);
}

#[test]
fn a_websocket_comes_through_both_ways() {
    let server = PyServer::start();
    let mut plain = Plain::to(server.address());
    plain.routes = WEBSOCKET;
    let gateway = plain.start();
    let mut client = RawClient::connect(gateway.http());
    let head = client.send(HANDSHAKE).response_head();
    assert_eq!((head.status, head.field("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")), "{}", head.head);
    assert_eq!(head.field("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    for round in 0..20 {
        let text = format!("message {round}");
        client.send(frame(1, text.as_bytes()));
        assert_eq!(client.exactly(2), [0x81, text.len() as u8]);
        assert_eq!(client.exactly(text.len()), text.as_bytes());
    }
    let long = vec![b'x'; 60_000];
    client.send(frame(2, &long));
    assert_eq!(client.exactly(4), [0x82, 126, 0xea, 0x60]);
    assert_eq!(client.exactly(60_000), long);
    client.send(frame(8, b""));
    client.rest();
    client.finish();
    let record = &gateway.records_when(1)[0];
    assert_eq!(record["status"], 101, "{record}");
}

#[test]
fn a_websocket_ends_when_either_side_does() {
    let server = PyServer::start();
    let mut plain = Plain::to(server.address());
    plain.routes = WEBSOCKET;
    let mut gateway = plain.start();
    let mut client = RawClient::connect(gateway.http());
    assert_eq!(client.send(HANDSHAKE).response_head().status, 101);
    client.reset();
    assert_eq!(gateway.records_when(1).len(), 1);
    let mut server = server;
    let mut client = RawClient::connect(gateway.http());
    assert_eq!(client.send(HANDSHAKE).response_head().status, 101);
    server.kill();
    client.rest();
    client.finish();
    assert_eq!(gateway.records_when(2).len(), 2);
    gateway.is_well();
}

#[test]
fn a_client_that_stops_reading_stops_the_upstream_not_the_memory() {
    let (send, started) = sync_channel(1);
    let send = Mutex::new(send);
    let witness = Witness::scripted(move |side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n");
        send.lock().expect("a lock").send(()).expect("a test that waits");
        let block = vec![b'x'; 100_000];
        for _ in 0..3000 {
            if !side.write(&block) {
                return;
            }
        }
    });
    let mut gateway = Plain::to(witness.address()).start();
    let before = gateway.process().resident_kib();
    let mut client = RawClient::connect(gateway.http());
    client.receive_little(4096);
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    started.recv_timeout(portcullis_testing_kit::PATIENCE).expect("the upstream is asked");
    client.response_head();
    // The gateway serves others meanwhile, in the memory that it had.
    for _ in 0..200 {
        assert_eq!(get(gateway.address("probes"), "localhost", "/livez").status, 200);
    }
    assert!(
        gateway.process().resident_kib() < before + 24 * 1024,
        "{} KiB before, {} now",
        before,
        gateway.process().resident_kib()
    );
    client.reset();
    witness.all_ended();
    holds("the record of the reset", || gateway.records().iter().any(|record| record["reason"] == "client_gone"));
}
