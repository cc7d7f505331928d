//! Upstreams that are processes of their own and hang, vanish, are killed, or are slow: blamed in time, without harm to others, and used
//! again when they are back. What upstreams send wrongly is in `upstream_faults.rs`.

use portcullis_testing_kit::{Gateway, Plain, PyServer, RawClient, holds};
use serde_json::Value;

const FULL_BACKLOG: &str = include_str!("../../py/full_backlog.py");
const SHORT: &str = "timeouts: { connect: 1s, first_byte: 1s, idle: 1s }";
const WEBSOCKET: &str = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }";
const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// More than every buffer between a client and an upstream holds.
const UPLOAD_BYTES: usize = 64 << 20;

/// A gateway with short deadlines before a server.
fn site() -> (Gateway, PyServer) {
    let server = PyServer::start();
    let mut plain = Plain::to(server.address());
    plain.upstream_settings = SHORT;
    plain.api = "request_limits: { body_bytes_max: 100MiB }";
    plain.sections = "defaults: { request_limits: { body_bytes_max: 100MiB } }";
    (plain.start(), server)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

fn upload(bytes: usize) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: {bytes}\r\n\r\n")
}

/// The upstream is blamed for an exchange, and the gateway is well.
#[track_caller]
fn blamed(gateway: &mut Gateway, reason: &str) -> Value {
    let record = gateway.record_of(reason);
    assert_eq!((&record["blame"], &record["upstream"]), (&"upstream".into(), &"u".into()), "{record}");
    gateway.is_well();
    record
}

/// The answer to a GET is a refusal with one of these codes, and nothing internal in it.
#[track_caller]
fn refused(gateway: &Gateway, path: &str, status: u16, codes: &[&str]) -> String {
    let response = gateway.get(path);
    let code = response.code();
    assert!(response.status == status && codes.contains(&code.as_str()), "{}{}", response.head, response.text());
    assert!(!response.text().contains("127.0.0.1"), "something internal is told: {}", response.text());
    code
}

#[test]
fn an_upstream_that_hangs_is_given_up_in_time_and_used_again_when_it_goes_on() {
    let (mut gateway, mut server) = site();
    // One connection is idle in a pool, so both are met: a connection that was there, and a new one that the system accepts.
    assert_eq!(gateway.get("/echo").status, 200);
    server.process().pause();
    for _ in 0..4 {
        refused(&gateway, "/echo", 504, &["upstream_timeout"]);
    }
    blamed(&mut gateway, "upstream_timeout");
    server.process().signal("CONT");
    holds("the upstream to be used again", || gateway.get("/echo").status == 200);
}

#[test]
fn an_upstream_that_hangs_in_the_middle_of_a_body_is_cut_in_time() {
    let (mut gateway, mut server) = site();
    let mut client = RawClient::connect(gateway.http());
    client.send(request("/events/never")).until(b"data: first\n\n");
    server.process().pause();
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!rest.contains("0\r\n\r\n"), "half a body was ended as a whole one: {rest}");
    blamed(&mut gateway, "upstream_stalled");
}

#[test]
fn an_upstream_that_hangs_during_an_upload_is_blamed_not_the_client() {
    let (mut gateway, mut server) = site();
    assert_eq!(gateway.get("/echo").status, 200);
    server.process().pause();
    let memory = gateway.process().resident_kib();
    let mut client = RawClient::connect(gateway.http());
    client.send(upload(UPLOAD_BYTES));
    let block = vec![b'x'; 1 << 20];
    let taken = (0..UPLOAD_BYTES >> 20).take_while(|_| client.try_send(&block)).count();
    assert!(taken < UPLOAD_BYTES >> 20, "all of the body was taken, though nobody read it");
    let record = blamed(&mut gateway, "upstream_timeout");
    assert_eq!(record["status"], 504, "{record}");
    assert!(gateway.process().resident_kib() < memory + 16 * 1024, "{memory} KiB before, {} now", gateway.process().resident_kib());
}

#[test]
fn a_websocket_to_an_upstream_that_hangs_ends_with_its_client() {
    let mut server = PyServer::start();
    let mut plain = Plain::to(server.address());
    (plain.routes, plain.upstream_settings) = (WEBSOCKET, "limits: { connections: 1 }");
    let mut gateway = plain.start();
    let mut client = RawClient::connect(gateway.http());
    assert_eq!(client.send(HANDSHAKE).response_head().status, 101);
    server.process().pause();
    // An empty text message, masked; nobody takes it.
    client.send([0x81, 0x80, 1, 2, 3, 4]);
    client.reset();
    assert_eq!(gateway.records_when(1)[0]["status"], 101);
    gateway.is_well();
    server.process().signal("CONT");
    // The only place at the upstream is free again.
    assert_eq!(RawClient::connect(gateway.http()).send(HANDSHAKE).response_head().status, 101);
}

#[test]
fn an_upstream_that_does_not_answer_to_connections_is_given_up_in_time_and_used_when_it_does() {
    let mut server = PyServer::running(FULL_BACKLOG, &[]);
    let mut plain = Plain::to(server.address());
    plain.upstream_settings = SHORT;
    let mut gateway = plain.start();
    refused(&gateway, "/x", 504, &["upstream_connect_timeout"]);
    blamed(&mut gateway, "upstream_connect_timeout");
    server.process().signal("USR1");
    holds("the upstream to be used", || gateway.get("/x").status == 200);
}

#[test]
fn an_upstream_killed_in_the_middle_of_a_body_is_blamed_and_the_body_is_not_ended_as_a_whole_one() {
    for (path, mark) in [("/events/never", &b"data: first\n\n"[..]), ("/half", b"\r\n\r\nxxx")] {
        let (mut gateway, mut server) = site();
        let mut client = RawClient::connect(gateway.http());
        client.send(request(path)).until(mark);
        server.kill();
        let rest = client.rest();
        assert!(rest.len() < 600_000 && !rest.ends_with(b"0\r\n\r\n"), "{path}: {} bytes", rest.len());
        let record = blamed(&mut gateway, "upstream_reset");
        assert_eq!(record["status"], 200, "{record}");
        // Now nobody listens there any more.
        refused(&gateway, "/echo", 502, &["upstream_unreachable"]);
        blamed(&mut gateway, "upstream_unreachable");
    }
}

#[test]
fn an_upstream_killed_before_its_answer_is_blamed() {
    let (mut gateway, mut server) = site();
    assert_eq!(gateway.get("/echo").status, 200);
    let mut client = RawClient::connect(gateway.http());
    server.process().pause();
    client.send(request("/late/never"));
    server.kill();
    let response = client.response();
    // The request may be tried once more, and then nobody listens.
    assert!(response.status == 502, "{}{}", response.head, response.text());
    blamed(&mut gateway, &response.code());
    assert!(response.code() == "upstream_reset" || response.code() == "upstream_unreachable", "{}", response.code());
}

#[test]
fn an_upstream_killed_during_an_upload_is_blamed() {
    let (mut gateway, mut server) = site();
    let mut client = RawClient::connect(gateway.http());
    client.send(upload(1000)).send("some of it");
    // The head reaches the upstream before all of the body does; a second exchange shows that the first is under way.
    assert_eq!(gateway.get("/echo").status, 200);
    server.kill();
    client.send(vec![b'x'; 990]);
    let response = client.response();
    assert_eq!(response.status, 502, "{}{}", response.head, response.text());
    blamed(&mut gateway, &response.code());
}

#[test]
fn a_slow_upstream_is_waited_for_as_long_as_it_may_take() {
    let (gateway, _server) = site();
    // More than a second in all, and never a second without a byte.
    let response = gateway.get("/dribble/75");
    assert_eq!((response.status, response.body.len()), (200, 75), "{}", response.head);
    assert_eq!(gateway.records_when(1)[0]["reason"], Value::Null);
    let mut client = RawClient::connect(gateway.http());
    client.send(request("/late/now"));
    assert_eq!(gateway.get("/go/now").status, 200);
    assert_eq!(client.response().status, 200);
}

#[test]
fn an_upstream_that_is_slow_for_ever_meets_the_total_deadline() {
    let server = PyServer::start();
    let mut plain = Plain::to(server.address());
    plain.upstream_settings = "timeouts: { connect: 1s, first_byte: 1s, idle: 1s, total: 2s }";
    let mut gateway = plain.start();
    let mut client = RawClient::connect(gateway.http());
    let answer = client.send(request("/dribble/1000000")).rest();
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && !answer.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
    blamed(&mut gateway, "upstream_stalled");
}
