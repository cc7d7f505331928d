//! Tunnels: threats A 2, 23, 24, 27.

use crate::reading::{each_is_refused, read, sent};
use portcullis_model::Reason;

const WEBSOCKET: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";

fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n")
}

#[test]
fn a02_only_a_whole_websocket_request_is_an_upgrade() {
    let head = read(get(WEBSOCKET)).unwrap();
    let sent = sent(&head);
    assert!(head.wants_websocket() && sent.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{sent}");
    each_is_refused(
        Reason::UpgradeRefused,
        [
            get("Connection: Upgrade\r\nUpgrade: foo"),
            get("Connection: Upgrade\r\nUpgrade: websocket"),
            get(&WEBSOCKET.replace("Connection: Upgrade", "Connection: close")),
            get(&WEBSOCKET.replace(": websocket", ": websocket, foo")),
            get(&format!("{WEBSOCKET}\r\nUpgrade: foo")),
            get(&format!("{WEBSOCKET}\r\nUpgrade: websocket")),
            get(WEBSOCKET).replace("GET", "POST"),
            get(WEBSOCKET).replace("HTTP/1.1", "HTTP/1.0"),
        ],
    );
}

#[test]
fn a02_a_handshake_that_two_readers_read_differently_is_refused() {
    each_is_refused(
        Reason::UpgradeRefused,
        [
            get(&WEBSOCKET.replace("13", "8")),
            get(&format!("{WEBSOCKET}\r\nSec-WebSocket-Version: 8")),
            get(&format!("{WEBSOCKET}\r\nSec-WebSocket-Version: 13")),
            get(&format!("{WEBSOCKET}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
        ],
    );
}

#[test]
fn a23_an_upgrade_has_no_body() {
    each_is_refused(
        Reason::UpgradeRefused,
        [get(&format!("{WEBSOCKET}\r\nContent-Length: 5")), get(&format!("{WEBSOCKET}\r\nTransfer-Encoding: chunked"))],
    );
}

#[test]
fn a24_connect_names_no_destination() {
    for target in ["a.test:80", "a.test", "b.test:22", "*", "http://a.test/"] {
        each_is_refused(Reason::MethodRefused, [format!("CONNECT {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")]);
    }
}

#[test]
fn a27_an_offer_of_h2c_is_not_passed_on() {
    let head = read(get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__")).unwrap();
    let sent = sent(&head);
    assert!(!head.wants_websocket() && !sent.contains("upgrade") && !sent.contains("h2c") && !sent.contains("http2"), "{sent}");
    each_is_refused(
        Reason::UpgradeRefused,
        [get("Connection: Upgrade\r\nUpgrade: h2c, websocket"), get("Upgrade: h2c\r\nUpgrade: h2c")],
    );
}
