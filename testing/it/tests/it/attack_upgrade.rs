//! Threats A, tunnels: nothing becomes a tunnel before the upstream itself agrees, and only to WebSocket where a route says so.

use crate::site::{Site, site, site_with};
use portcullis_testing_kit::{Plain, RawClient, Witness, ask};

const WEBSOCKET: &str = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }\n\
                         - { name: pub, methods: [GET, POST], path: \"/pub/{*rest}\", access: { public: true } }";
const HANDSHAKE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const INNER: &str = "GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn upgrade(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")
}

#[test]
fn a02_bytes_after_an_upgrade_request_are_not_forwarded_as_a_tunnel() {
    let mut site = site();
    let responses = ask(site.http(), format!("{}{INNER}", upgrade("/pub", "Connection: Upgrade\r\nUpgrade: foo\r\n")));
    let first = responses.first().expect("a response");
    assert_eq!((first.status, first.code().as_str(), responses.len()), (400, "upgrade_refused", 1), "{responses:#?}");
    site.nothing_reached_upstream();
}

#[test]
fn a02_bytes_after_a_websocket_request_wait_for_the_upstreams_consent() {
    // The upstream never agrees: what follows the request must not reach it as bytes of a tunnel.
    let witness = Witness::scripted(|side| {
        if side.request().is_some() {
            side.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
            while side.request().is_some() {
                side.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    let mut plain = Plain::to(witness.address());
    plain.routes = WEBSOCKET;
    let gateway = plain.start();
    let responses = ask(gateway.http(), format!("{}{INNER}", upgrade("/ws", HANDSHAKE)));
    assert_eq!(responses.first().map(|response| response.status), Some(403), "{responses:#?}");
    assert!(witness.texts().iter().all(|seen| !seen.contains("/admin")), "{:#?}", witness.texts());
}

#[test]
fn a23_an_upgrade_with_a_body_is_refused() {
    let mut site = site_with(|plain| plain.routes = WEBSOCKET);
    for request in [
        format!("POST /pub/x HTTP/1.1\r\nHost: a.test\r\n{HANDSHAKE}Content-Length: {}\r\n\r\n{INNER}", INNER.len()),
        format!("GET /ws HTTP/1.1\r\nHost: a.test\r\n{HANDSHAKE}Content-Length: {}\r\n\r\n{INNER}", INNER.len()),
        format!("GET /ws HTTP/1.1\r\nHost: a.test\r\n{HANDSHAKE}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{INNER}"),
    ] {
        site.refuses(request, 400, "upgrade_refused");
    }
    site.gateway.is_well();
    assert_eq!(site.witness.bytes(), 0);
}

#[test]
fn a25_only_the_upstreams_own_101_makes_a_tunnel() {
    for status in ["200 OK", "426 Upgrade Required", "204 No Content", "301 Moved Permanently"] {
        let length = if status.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        let witness = Witness::answering(format!("HTTP/1.1 {status}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{length}\r\n"));
        let mut plain = Plain::to(witness.address());
        plain.routes = WEBSOCKET;
        let gateway = plain.start();
        let responses = ask(gateway.http(), format!("{}{INNER}", upgrade("/ws", HANDSHAKE)));
        let first = responses.first().expect("a response");
        assert!(status.starts_with(&first.status.to_string()), "{status}: {}", first.head);
        assert_eq!(witness.texts().len(), 1, "{status}: {:#?}", witness.texts());
        assert!(!witness.texts()[0].contains("/admin"), "{status}");
    }
}

#[test]
fn a25_a_101_that_nobody_asked_for_is_the_upstreams_fault() {
    for lines in ["Connection: Upgrade\r\nUpgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: foo\r\n", ""] {
        let witness = Witness::answering(format!(
            "HTTP/1.1 101 Switching Protocols\r\n{lines}\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        ));
        let gateway = Plain::to(witness.address()).start();
        let responses = ask(gateway.http(), format!("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n{INNER}"));
        let first = responses.first().expect("a response");
        assert_eq!((first.status, responses.len()), (502, 1), "{responses:#?}");
        assert!(!first.text().contains("evil") && !witness.texts().iter().any(|seen| seen.contains("/admin")));
    }
}

#[test]
fn a25_a_101_without_a_valid_accept_is_no_consent() {
    for lines in ["Connection: Upgrade\r\nUpgrade: h2c\r\n", "Upgrade: websocket\r\n", "Connection: Upgrade\r\n", ""] {
        let witness = Witness::answering(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n"));
        let mut plain = Plain::to(witness.address());
        plain.routes = WEBSOCKET;
        let gateway = plain.start();
        let responses = ask(gateway.http(), format!("{}{INNER}", upgrade("/ws", HANDSHAKE)));
        assert_eq!(responses.first().map(|response| response.status), Some(502), "{lines:?}: {responses:#?}");
        assert!(!witness.texts().iter().any(|seen| seen.contains("/admin")), "{lines:?}");
    }
}

#[test]
fn a26_what_connection_names_beside_upgrade_does_not_arrive() {
    let witness = Witness::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let mut plain = Plain::to(witness.address());
    plain.routes = WEBSOCKET;
    let gateway = plain.start();
    let lines = HANDSHAKE.replace("Connection: Upgrade", "Connection: Upgrade, X-Secret\r\nX-Secret: 1");
    assert_eq!(ask(gateway.http(), upgrade("/ws", &lines))[0].status, 403);
    let seen = witness.sole_text();
    assert!(!seen.contains("x-secret") && seen.to_lowercase().contains("\r\nconnection: upgrade\r\n"), "{seen}");
    // A refused upgrade leaves nothing behind on a connection that another client gets.
    assert_eq!(RawClient::connect(gateway.http()).send(upgrade("/pub/x", "")).response().status, 403);
    assert_eq!(witness.texts()[1].lines().next(), Some("GET /pub/x HTTP/1.1"));
}

#[test]
fn a27_h2c_is_neither_taken_nor_forwarded() {
    let site = site();
    let lines = "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let response = site.answer(upgrade("/x", lines));
    assert_ne!(response.status, 101);
    let seen = site.witness.texts().join("");
    assert!(!seen.to_lowercase().contains("upgrade") && !seen.to_lowercase().contains("http2-settings"), "{seen}");
}

#[test]
fn an_upgrade_on_a_route_without_websocket_is_refused() {
    let mut site = site_with(|plain| plain.routes = WEBSOCKET);
    site.refuses(upgrade("/pub/x", HANDSHAKE), 400, "upgrade_refused");
    site.gateway.is_well();
    assert_eq!(site.witness.bytes(), 0);
}

#[test]
fn half_a_websocket_handshake_is_refused() {
    let mut site: Site = site_with(|plain| plain.routes = WEBSOCKET);
    for missing in ["Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"] {
        site.refuses(upgrade("/ws", &HANDSHAKE.replace(missing, "")), 400, "upgrade_refused");
    }
    site.gateway.is_well();
    assert_eq!(site.witness.bytes(), 0);
}
