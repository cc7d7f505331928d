//! HTTP/2 to upstreams: bodies and trailers in both directions, and what becomes of those that break off.

use crate::upstream_h2_site::{H2Site, configuration, h2_server, h2_site};
use portcullis_testing_kit::http2::{END_HEADERS, END_STREAM, Outcome, block, kind};
use portcullis_testing_kit::{Authority, Gateway, eventually, holds};
use serde_json::{Value, json};

/// A POST by HTTP/1.1 with these lines after the Host and what follows the head; what the upstream has seen of it.
fn posted(site: &H2Site, lines: &str, body: &[u8]) -> Value {
    let mut client = site.http1();
    client.send(format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")).send(body);
    let response = client.response();
    assert_eq!(response.status, 200, "{}{}", response.head, response.text());
    serde_json::from_str(&response.text()).expect("the server answers JSON")
}

fn field<'s>(seen: &'s Value, name: &str) -> Option<&'s str> {
    seen["headers"].as_array()?.iter().find(|pair| pair[0] == name)?[1].as_str()
}

/// The fields of a POST by HTTP/2.
fn post_fields(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", path)]
}

#[test]
fn bodies_of_http1_become_data_and_their_trailers_fields() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let seen = posted(&site, "Content-Length: 5\r\n", b"hello");
    assert_eq!((field(&seen, "content-length"), &seen["body"]), (Some("5"), &json!("hello")));
    let seen =
        posted(&site, "Transfer-Encoding: chunked\r\n", b"3;x=y\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 6\r\nHost: b.test\r\n\r\n");
    assert_eq!((field(&seen, "content-length"), field(&seen, "transfer-encoding")), (None, None));
    assert_eq!((&seen["body"], &seen["trailers"]), (&json!("onetwo"), &json!([["x-sum", "6"]])));
    // Far more than any window.
    let large = vec![b'a'; 1_000_000];
    let seen = posted(&site, "Content-Length: 1000000\r\n", &large);
    assert_eq!(seen["body"].as_str().map(str::len), Some(1_000_000));
    let mut client = site.http1();
    client.send("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response_head().status, 100);
    assert!(client.send("abc").response().text().contains("\"body\": \"abc\""));
}

#[test]
fn a_body_and_trailers_of_http2_go_up_as_they_are() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let mut client = site.http2();
    client.headers(1, &post_fields("/x"), false);
    client.frame(kind::DATA, 0, 1, b"one").frame(kind::DATA, 0, 1, b"two");
    client.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "6")]));
    let seen: Value = serde_json::from_slice(&client.body(1)).unwrap();
    assert_eq!((&seen["body"], &seen["trailers"]), (&json!("onetwo"), &json!([["x-sum", "6"]])));
}

#[test]
fn c57_a_rule_cannot_be_passed_between_streams() {
    let server = h2_server();
    let rules = "header_rules: { request: { remove: [X-Debug] } }\n    request_limits:";
    let yaml = configuration(&format!("http://{}", server.address()), "").replacen("request_limits:", rules, 1);
    let authority = Authority::new();
    let leaf = authority.leaf(&["a.test"]);
    let files = [("a.crt", leaf.certificate.as_str()), ("a.key", leaf.key.as_str()), ("ca.crt", authority.certificate.as_str())];
    let site = H2Site { gateway: Gateway::start_with(&files, &yaml), authority: authority.certificate.clone() };
    let mut client = site.http2();
    client.headers(1, &post_fields("/x"), false).frame(kind::DATA, 0, 1, b"one");
    let trailers = block(&[("x_debug", "evil"), ("x-sum", "3"), ("x-debug", "evil")]);
    client.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
    let seen: Value = serde_json::from_slice(&client.body(1)).unwrap();
    assert_eq!((&seen["body"], &seen["trailers"]), (&json!("one"), &json!([["x-sum", "3"]])));
}

#[test]
fn answers_stream_down_with_their_trailers() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let mut client = site.http1();
    let response = client.send("GET /chunks/3000 HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!((response.field("transfer-encoding"), response.body.len()), (Some("chunked"), 3_000_000), "{}", response.head);
    client.send("GET /trailers HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let text = String::from_utf8(client.rest()).unwrap();
    assert!(text.ends_with("4\r\nbody\r\n0\r\nx-sum: 4\r\nx-late: yes\r\n\r\n"), "{text}");
    let mut client = site.http2();
    assert_eq!(client.get(1, "/trailers").body(1), b"body");
}

#[test]
fn an_answer_before_the_end_of_the_body_is_passed_on() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let mut client = site.http1();
    client.send("POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n").send(vec![b'a'; 1000]);
    assert_eq!(client.response_head().status, 403);
    let mut client = site.http2();
    client.headers(1, &post_fields("/early"), false).frame(kind::DATA, 0, 1, b"one");
    assert_eq!(client.outcome(1), Outcome::Answered(403));
}

#[test]
fn what_an_upstream_breaks_off_is_never_taken_for_complete() {
    let server = h2_server();
    let site = h2_site(server.address(), "retry: { attempts: 1 }");
    let response = site.get("/reset");
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_reset"), "{}", response.head);
    let mut client = site.http1();
    client.send("GET /cut HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let text = String::from_utf8(client.rest()).unwrap();
    assert!(text.contains("a part") && !text.ends_with("0\r\n\r\n"), "{text}");
    let mut client = site.http2();
    client.get(1, "/cut");
    // Where it is reset at once, nothing of it may have come down.
    let broken_off = std::iter::from_fn(|| Some(client.outcome(1))).find(|outcome| *outcome != Outcome::Answered(200));
    assert!(matches!(broken_off, Some(Outcome::Reset(_))), "the client's stream is reset too: {broken_off:?}");
    holds("both are recorded", || site.gateway.records().iter().filter(|record| record["reason"] == "upstream_reset").count() == 3);
}

#[test]
fn a_client_that_gives_up_cancels_its_stream_to_the_upstream() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let cancelled = |count: usize| {
        eventually("the upstream to hear of it", || {
            let seen = site.get("/resets").text();
            (seen == format!("[{}]", vec!["8"; count].join(", "))).then_some(())
        });
    };
    let mut client = site.http2();
    client.get(1, "/forever");
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    client.frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    cancelled(1);
    // One that goes away in the middle of its own body, over HTTP/1 as well: it never looks complete to the upstream.
    client.headers(3, &post_fields("/begun/one"), false).frame(kind::DATA, 0, 3, b"one");
    site.seen("/late/one");
    client.frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    cancelled(2);
    let mut client = site.http1();
    client.send("POST /begun/two HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nhalf");
    site.seen("/late/two");
    client.reset();
    cancelled(3);
}

#[test]
fn clients_that_do_not_read_hold_up_nobody_else() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let mut slow: Vec<_> = (0..20).map(|_| site.http1()).collect();
    for client in &mut slow {
        client.send("GET /chunks/8000 HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response_head().status, 200);
    }
    for _ in 0..8 {
        assert_eq!(site.seen("/x")["body"], "");
    }
    assert!(site.gateway.resident_kib() < 200 * 1024, "{} KiB", site.gateway.resident_kib());
}
