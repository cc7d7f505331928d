//! WebSocket over HTTP/2 (RFC 8441): an extended CONNECT becomes the upgrade of HTTP/1 that upstreams know.

use crate::http2_site::secure_site_with;
use portcullis_testing_kit::http2::{END_STREAM, Http2Client, Outcome, kind};
use portcullis_testing_kit::{PyServer, Witness};

const ROUTES: &str = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }
- { name: rest, methods: [GET], path: \"/plain\", access: { public: true } }";

pub fn connect(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ]
}

/// A message of a client: final, masked, shorter than 126 bytes.
pub fn message(kind: u8, text: &[u8]) -> Vec<u8> {
    let mask = [7, 77, 177, 27];
    let mut bytes = vec![0x80 | kind, 0x80 | text.len() as u8];
    bytes.extend(mask);
    bytes.extend(text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Reads so many bytes of a stream's body.
pub fn exactly(client: &mut Http2Client, stream: u32, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let frame = client.next_of(kind::DATA);
        assert_eq!(frame.stream, stream);
        bytes.extend(frame.payload);
    }
    bytes
}

#[test]
fn messages_come_through_both_ways_on_streams_of_one_connection() {
    let server = PyServer::start();
    let site = secure_site_with(Witness::ok(), "", |plain| (plain.upstream, plain.routes) = (server.address(), ROUTES));
    let mut client = site.client();
    let settings = client.next_of(kind::SETTINGS);
    // SETTINGS_ENABLE_CONNECT_PROTOCOL (section 3).
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{settings:?}");
    for stream in [1, 3] {
        assert_eq!(client.headers(stream, &connect("/ws"), false).outcome(stream), Outcome::Answered(200));
    }
    for round in 0..10 {
        for stream in [1, 3] {
            let text = format!("message {round} of stream {stream}");
            client.frame(kind::DATA, 0, stream, &message(1, text.as_bytes()));
            let echo = exactly(&mut client, stream, text.len() + 2);
            assert_eq!(echo, [&[0x81, text.len() as u8], text.as_bytes()].concat());
        }
    }
    for stream in [1, 3] {
        client.frame(kind::DATA, END_STREAM, stream, &message(8, b""));
        client.body(stream);
    }
    let records = site.gateway.records_when(2);
    assert!(records.iter().all(|record| record["status"] == 200 && record["protocol"] == "HTTP/2"), "{records:#?}");
}

#[test]
fn a25_only_the_upstreams_answer_to_the_gateways_key_makes_a_tunnel() {
    for accept in ["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""] {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{accept}\r\n");
        let site = secure_site_with(Witness::answering(head), "", |plain| plain.routes = ROUTES);
        let mut client = site.client();
        client.headers(1, &connect("/ws"), false).frame(kind::DATA, 0, 1, b"GET /admin HTTP/1.1\r\n\r\n");
        assert_eq!(client.outcome(1), Outcome::Answered(502), "{accept}");
        let seen = site.witness.sole_text();
        assert!(seen.contains("\r\nsec-websocket-key: ") && seen.contains("\r\nupgrade: websocket\r\n"), "{seen}");
        assert!(!seen.contains("/admin"), "{seen}");
    }
}

#[test]
fn a24_other_connects_are_refused() {
    let site = secure_site_with(Witness::ok(), "", |plain| plain.routes = ROUTES);
    let without = |name: &str| connect("/ws").into_iter().filter(|field| field.0 != name).collect::<Vec<_>>();
    let with = |name, value| [without(name), vec![(name, value)]].concat();
    let cases = [
        (connect("/plain"), false),
        (connect("/ws"), true),
        (without("sec-websocket-version"), false),
        (with("sec-websocket-version", "8"), false),
        ([connect("/ws"), vec![("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]].concat(), false),
        ([connect("/ws"), vec![("content-length", "5")]].concat(), false),
        (without(":protocol"), false),
        (without(":path"), false),
    ];
    for (fields, ends) in &cases {
        // Pseudo-fields first, whatever was replaced.
        let (pseudo, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field.0.starts_with(':'));
        let outcome = site.client().headers(1, &[pseudo, rest].concat(), *ends).outcome(1);
        assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Answered(400 | 405)), "{outcome:?} to {fields:?}");
    }
    for protocol in ["connect-udp", "h2c", "WebSocket", ""] {
        let fields: Vec<_> =
            connect("/ws").into_iter().map(|field| if field.0 == ":protocol" { (":protocol", protocol) } else { field }).collect();
        let outcome = site.client().headers(1, &fields, false).outcome(1);
        assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Answered(400)), "{outcome:?} to {protocol:?}");
    }
    assert_eq!(site.witness.bytes(), 0);
}
