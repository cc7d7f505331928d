//! WebSocket to an upstream that speaks HTTP/2 (RFC 8441): hypercorn behind the gateway, clients of either version before it.

use crate::http2_websocket::{connect, exactly, message};
use crate::upstream_h2_site::{H2Site, h2_server, h2_websocket_site};
use portcullis_testing_kit::http2::{END_STREAM, Outcome, kind};
use portcullis_testing_kit::{PyServer, run_python};
use serde_json::{Value, json};

const CLIENT: &str = include_str!("../../py/websocket_client.py");

fn site() -> (H2Site, PyServer) {
    let server = PyServer::running(include_str!("../../py/websocket_h2_server.py"), &[]);
    (h2_websocket_site(server.address(), ""), server)
}

/// Has the library `websockets` hold these conversations, by HTTP/1.1.
#[track_caller]
fn talk(conversations: &[&str]) {
    let (mut site, _server) = site();
    let port = site.gateway.address("tls").port().to_string();
    let authority = site.gateway.folder().join("ca.crt");
    for conversation in conversations {
        run_python(CLIENT, &[conversation, &port, authority.to_str().expect("a path")]);
    }
    site.gateway.is_well();
}

/// The request to upgrade of RFC 6455 section 1.3, with more fields.
fn upgrade(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

#[test]
fn messages_of_every_size_and_kind_come_back_as_they_were() {
    talk(&["echo", "large"]);
}

#[test]
fn client_and_server_agree_on_compression() {
    talk(&["compressed"]);
}

#[test]
fn the_code_and_reason_of_a_close_arrive() {
    talk(&["server_closes"]);
}

#[test]
fn many_messages_and_many_connections_at_once_do_not_mix() {
    talk(&["burst", "together"]);
}

#[test]
fn c57_the_handshake_is_the_canonical_one_and_the_gateway_answers_the_clients_key() {
    let (site, _server) = site();
    let mut client = site.http1();
    let more = "Sec-WebSocket-Protocol: chat, talk\r\nX-Real-IP: 6.6.6.6\r\nX_Forwarded_User: admin\r\nForwarded: for=6.6.6.6\r\nKeep-Alive: 5\r\n";
    let head = client.send(upgrade("/ws/seen?x=%2f", more)).response_head();
    assert_eq!((head.status, head.field("upgrade")), (101, Some("websocket")), "{}", head.head);
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{}", head.head);
    let frame = client.until(b"\x88\x02\x03\xe8");
    // A short header with 16 bits of length, the text, and the close.
    let seen: Value = serde_json::from_slice(&frame[4..frame.len() - 4]).expect("the server tells JSON");
    assert_eq!((&seen["http"], &seen["path"], &seen["query"]), (&json!("2"), &json!("/ws/seen"), &json!("x=%2F")), "{seen}");
    assert_eq!(seen["subprotocols"], json!(["chat", "talk"]), "{seen}");
    let names: Vec<&str> = seen["headers"].as_array().unwrap().iter().filter_map(|field| field[0].as_str()).collect();
    for gone in ["sec-websocket-key", "connection", "upgrade", "keep-alive", "x_forwarded_user"] {
        assert!(!names.contains(&gone), "{gone} in {seen}");
    }
    assert!(!seen.to_string().contains("6.6.6.6"), "{seen}");
    let record = &site.gateway.records_when(1)[0];
    assert_eq!((&record["status"], &record["upgraded"]), (&json!(101), &json!(true)), "{record}");
}

#[test]
fn a_client_of_http2_has_several_on_one_connection() {
    let (site, _server) = site();
    let mut client = site.http2();
    for stream in [1, 3] {
        assert_eq!(client.headers(stream, &connect("/ws/echo"), false).outcome(stream), Outcome::Answered(200));
    }
    for round in 0..10 {
        for stream in [1, 3] {
            let text = format!("message {round} of stream {stream}");
            client.frame(kind::DATA, 0, stream, &message(1, text.as_bytes()));
            let echo = exactly(&mut client, stream, text.len() + 2);
            assert_eq!(echo, [&[0x81, text.len() as u8], text.as_bytes()].concat());
        }
    }
    // The server ends one, and the client resets the others.
    assert_eq!(client.headers(5, &connect("/ws/close/3000"), false).outcome(5), Outcome::Answered(200));
    client.frame(kind::DATA, 0, 5, &message(1, b"close, please"));
    assert_eq!(client.body(5), b"\x88\x0a\x0b\xb8so it is");
    client.frame(kind::DATA, END_STREAM, 5, &message(8, b"\x0b\xb8"));
    for stream in [1, 3] {
        client.frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    }
    let records = site.gateway.records_when(3);
    assert!(records.iter().all(|record| record["status"] == 200 && record["upgraded"] == true), "{records:#?}");
}

#[test]
fn a_handshake_that_the_upstream_refuses_is_answered_as_it_says() {
    let (site, _server) = site();
    let response = site.http1().send(upgrade("/ws/refuse", "")).response();
    assert_eq!(
        (response.status, response.field("x-why"), response.text().as_str()),
        (403, Some("because"), "not you"),
        "{}",
        response.head
    );
    let mut client = site.http2();
    let refused = client.headers(1, &connect("/ws/refuse"), false).outcome(1);
    assert_eq!(refused, Outcome::Answered(403), "{:#?}", site.gateway.records_when(2));
    assert_eq!(client.body(1), b"not you");
    assert_eq!(site.get("/other").text(), "plain", "the connection to the upstream goes on");
}

#[test]
fn a25_what_a_client_sends_before_the_consent_waits_for_it() {
    let (site, _server) = site();
    let early = [upgrade("/ws/echo", "").into_bytes(), message(1, b"too early")].concat();
    let mut client = site.http1();
    let head = client.send(early).response_head();
    assert_eq!(head.status, 101, "{}", head.head);
    assert_eq!(client.exactly(11), b"\x81\x09too early");
    let early = [upgrade("/ws/refuse", "").into_bytes(), message(1, b"GET / HTTP/1.1\r\n\r\n")].concat();
    let response = site.http1().send(early).response();
    assert_eq!(response.status, 403, "{}", response.head);
    assert_eq!(site.get("/other").text(), "plain", "and what comes next on the upstream's connection is not it");
}

#[test]
fn a_client_that_leaves_ends_its_stream_alone() {
    let (site, _server) = site();
    let (mut leaves, mut stays, mut asks) = (site.http1(), site.http1(), site.http1());
    for client in [&mut leaves, &mut stays] {
        let head = client.send(upgrade("/ws/echo", "")).response_head();
        assert_eq!(head.status, 101, "{}", head.head);
    }
    leaves.reset();
    // The server tells how it ended: no close frame came.
    let head = asks.send(upgrade("/ws/last", "")).response_head();
    assert_eq!(head.status, 101, "{}", head.head);
    let last = asks.until(b"\x88\x02\x03\xe8");
    assert!(String::from_utf8_lossy(&last).contains("1006"), "{last:?}");
    stays.send(message(1, b"still here"));
    assert_eq!(stays.exactly(12), b"\x81\x0astill here");
}

#[test]
fn an_upstream_that_does_not_offer_it_is_not_asked_and_not_blamed_for_what_clients_do() {
    let server = h2_server();
    let site = h2_websocket_site(server.address(), "outlier: { consecutive_failures: 2 }");
    for _ in 0..4 {
        let response = site.http1().send(upgrade("/ws/echo", "")).response();
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_no_websocket"), "{}", response.head);
    }
    let mut client = site.http2();
    assert_eq!(client.headers(1, &connect("/ws/echo"), false).outcome(1), Outcome::Answered(502));
    let records = site.gateway.records_when(5);
    assert!(records.iter().all(|record| record["blame"] == "upstream"), "{records:#?}");
    assert_eq!(site.seen("/x")["stream"], 1, "nothing was sent before");
    assert!(site.gateway.metric_sum("portcullis_upstream_ejections_total") < 1.0);
}

#[test]
fn a_websocket_outlives_a_reload_that_takes_its_upstream_out() {
    let (site, _server) = site();
    let mut client = site.http1();
    assert_eq!(client.send(upgrade("/ws/echo", "")).response_head().status, 101);
    let other = h2_server();
    let yaml = crate::upstream_h2_site::configuration(&format!("http://{}", other.address()), "");
    site.gateway.configure(&yaml);
    site.gateway.reaches_generation(2);
    assert_eq!(site.get("/empty/204").status, 204);
    client.send(message(1, b"still here"));
    assert_eq!(client.exactly(12), b"\x81\x0astill here");
}
