//! Answers of an upstream: threats A 4 to 8, 25, 26, 33; upstreams are not trusted either.

use portcullis_model::Reason;
use portcullis_wire::{HeadFinder, HeadLimits, Method, ResponseFraming, ResponseHead, WireError};

fn read_for(method: Method, text: impl AsRef<[u8]>) -> Result<ResponseHead, WireError> {
    let limits = HeadLimits::default();
    let Some(length) = HeadFinder::default().find(text.as_ref(), &limits)? else { panic!("no whole head") };
    let mut head = ResponseHead::default();
    head.parse(&text.as_ref()[..length], &limits, method)?;
    Ok(head)
}

fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")
}

fn sent(head: &ResponseHead) -> String {
    let mut head = head.clone();
    head.strip_hop_by_hop();
    let mut out = Vec::new();
    head.write_to(&mut out, head.framing(), None, false);
    String::from_utf8(out).unwrap()
}

#[test]
fn a04_to_a08_an_answer_whose_length_is_in_doubt_is_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: ",
        "Content-Length: 4611686018427387904",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
    ] {
        let refused = read_for(Method::Get, ok(lines)).unwrap_err();
        assert_eq!(refused.reason, Reason::UpstreamMalformed, "{lines}");
    }
    assert!(read_for(Method::Get, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
}

#[test]
fn a33_lines_of_an_answer_are_exact() {
    for head in [
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\nX: a\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        assert!(read_for(Method::Get, head).is_err(), "{head:?}");
    }
}

#[test]
fn where_no_body_can_be_none_is_read() {
    for (method, text, framing, declared) in [
        (Method::Head, ok("Content-Length: 5"), ResponseFraming::None, Some(5)),
        (Method::Head, ok("Transfer-Encoding: chunked"), ResponseFraming::None, None),
        (Method::Get, "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n".to_owned(), ResponseFraming::None, Some(5)),
        (Method::Get, "HTTP/1.1 204 x\r\n\r\n".to_owned(), ResponseFraming::None, None),
        (Method::Get, ok("Content-Length: 5"), ResponseFraming::Length(5), Some(5)),
        (Method::Get, ok("Content-Length: 0"), ResponseFraming::None, Some(0)),
        (Method::Get, ok("Transfer-Encoding: chunked"), ResponseFraming::Chunked, None),
        (Method::Get, ok("X: y"), ResponseFraming::UntilClose, None),
    ] {
        let head = read_for(method, &text).unwrap();
        assert_eq!((head.framing(), head.declared_length()), (framing, declared), "{text}");
        assert_eq!(head.keep_alive(), framing != ResponseFraming::UntilClose, "{text}");
    }
    for text in ["HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 100 x\r\nTransfer-Encoding: chunked\r\n\r\n"] {
        assert!(read_for(Method::Get, text).is_err(), "{text}");
    }
}

#[test]
fn a25_only_a_101_that_says_websocket_opens_a_tunnel() {
    let accept = "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert!(read_for(Method::Get, accept).unwrap().is_websocket_accept());
    for text in [
        accept.replace("101", "200"),
        accept.replace("101", "426"),
        accept.replace("Connection: Upgrade\r\n", ""),
        accept.replace("Upgrade: websocket\r\n", ""),
        accept.replace("websocket", "h2c"),
        accept.replace("websocket\r\n", "websocket\r\nUpgrade: h2c\r\n"),
    ] {
        assert!(!read_for(Method::Get, &text).unwrap().is_websocket_accept(), "{text}");
    }
}

#[test]
fn a26_fields_of_the_upstreams_connection_end_here() {
    let lines = "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nTrailer: x\r\nUpgrade: h2c\r\n\
                 Content-Length: 5\r\nSet-Cookie: a=b\r\nX-Kept: 2";
    let head = read_for(Method::Get, ok(lines)).unwrap();
    assert_eq!(sent(&head), "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nx-kept: 2\r\ncontent-length: 5\r\n\r\n");
    assert!(!head.keep_alive());
}

#[test]
fn a26_connection_cannot_take_away_what_protects_the_client() {
    let head = read_for(
        Method::Get,
        ok("Connection: set-cookie, strict-transport-security\r\nSet-Cookie: a=b\r\nStrict-Transport-Security: x"),
    );
    let sent = sent(&head.unwrap());
    assert!(sent.contains("set-cookie: a=b\r\n") && sent.contains("strict-transport-security: x\r\n"), "{sent}");
}

#[test]
fn d84_the_work_that_an_upstreams_connection_asks_for_is_bounded() {
    let refused = read_for(Method::Get, ok(&format!("Connection: {}", vec!["x"; 5000].join(",")))).err();
    assert_eq!(refused.map(|error| error.reason), Some(Reason::UpstreamMalformed));
}
