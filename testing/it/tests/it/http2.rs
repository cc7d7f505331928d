//! HTTP/2 by real clients (curl, nghttp, h2load) and by frames: the same answers, rules and records as over HTTP/1.

use crate::http2_site::{SecureSite, secure_site, secure_site_with};
use portcullis_testing_kit::http2::{END_HEADERS, END_STREAM, Outcome, block, get_fields, kind};
use portcullis_testing_kit::{Nginx, Witness, output_of};
use std::process::Command;

fn curl(site: &SecureSite, arguments: &[&str], path: &str) -> String {
    let port = site.gateway.address("tls").port();
    let mut command = Command::new("curl");
    command.args(["-sS", "--http2", "--connect-to", &format!("::127.0.0.1:{port}"), "--cacert"]);
    command.arg(site.gateway.folder().join("ca.crt")).args(arguments);
    let output = output_of(command.arg(format!("https://a.test:{port}{path}")));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn curl_is_answered_and_the_upstream_sees_a_canonical_request() {
    let site = secure_site();
    let text = curl(&site, &["-i", "-H", "X-Forwarded-For: 1.2.3.4", "-H", "X-Kept: v", "-b", "a=1; b=2"], "/a/./b%7E?q=%41#part");
    assert!(text.starts_with("HTTP/2 200") && text.ends_with("ok"), "{text}");
    assert!(text.contains("x-content-type-options: nosniff"), "{text}");
    assert!(!text.contains("connection:") && !text.contains("transfer-encoding:"), "{text}");
    let seen = site.witness.sole_text();
    assert!(seen.starts_with("GET /a/b~?q=A HTTP/1.1\r\nhost: a.test:"), "{seen}");
    for line in ["x-kept: v", "cookie: a=1; b=2", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: https", "via: 2 portcullis"] {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line}: {seen}");
    }
    assert!(!seen.contains("1.2.3.4"), "{seen}");
    let record = &site.gateway.records_when(1)[0];
    assert_eq!((record["protocol"].as_str(), record["path"].as_str()), (Some("HTTP/2"), Some("/a/b~")), "{record}");
    assert_eq!((record["status"].as_u64(), record["bytes"]["response_body"].as_u64()), (Some(200), Some(2)), "{record}");
}

#[test]
fn bodies_go_up_with_their_length_or_chunked() {
    let witness = Witness::scripted(|side| {
        let Some(mut request) = side.head() else { return };
        let has_length = request.windows(14).any(|window| window == b"content-length");
        let body = if has_length { side.exactly(300_000) } else { side.until(b"x-sum: 1\r\n\r\n") };
        request.extend(body.unwrap_or_default());
        side.remember(&request);
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    });
    let site = secure_site_with(witness, "", |_| {});
    let big = "x".repeat(300_000);
    site.gateway.write("big", &big);
    let file = site.gateway.folder().join("big");
    let text = curl(&site, &["--data-binary", &format!("@{}", file.display())], "/length");
    assert_eq!(text, "ok");
    assert!(site.witness.texts()[0].contains("\r\ncontent-length: 300000\r\n") && site.witness.texts()[0].ends_with(&big));
    let mut client = site.client();
    client.headers(1, &[(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/chunked")], false);
    client.frame(kind::DATA, 0, 1, b"hello ").frame(kind::DATA, 0, 1, b"world");
    client.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "1"), ("host", "evil"), ("x-real-ip", "1.1.1.1")]));
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    let seen = site.witness.texts()[1].clone();
    assert!(seen.contains("\r\ntransfer-encoding: chunked\r\n") && seen.contains("\r\n0\r\nx-sum: 1\r\n\r\n"), "{seen}");
    assert!(!seen.contains("evil") && !seen.contains("x-real-ip"), "{seen}");
}

#[test]
fn answers_come_with_their_length_or_in_pieces_with_trailers() {
    let chunks =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n";
    let site = secure_site_with(Witness::answering(chunks), "", |_| {});
    let mut client = site.client();
    client.get(1, "/x");
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    let mut body = Vec::new();
    let trailers = loop {
        let frame = client.next_frame().expect("a frame");
        match frame.kind {
            kind::DATA => body.extend(frame.payload),
            kind::HEADERS => break frame,
            _ => {}
        }
    };
    assert_eq!(
        (body.as_slice(), trailers.flags, trailers.payload.is_empty()),
        (&b"hello world"[..], END_HEADERS | END_STREAM, false)
    );
    assert!(curl(&site, &["-v"], "/x").contains("< x-sum: 7"), "curl shows trailers as it gets them");
}

#[test]
fn refusals_are_the_same_as_over_http_1() {
    let site = secure_site_with(Witness::ok(), "", |plain| {
        plain.api = "request_limits: { body_bytes_max: 10B }";
    });
    let ask = |fields: &[(&str, &str)]| site.client().headers(1, fields, true).outcome(1);
    let with = |name: &'static str, value: &'static str| {
        get_fields("/x").into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect::<Vec<_>>()
    };
    assert_eq!(ask(&with(":path", "/a%2fb")), Outcome::Answered(400));
    assert_eq!(ask(&with(":method", "PATCH")), Outcome::Answered(405));
    assert_eq!(ask(&with(":method", "TRACE")), Outcome::Answered(405));
    assert_eq!(ask(&with(":authority", "b.test")), Outcome::Answered(421));
    let long: &'static str = "/".repeat(9000).leak();
    assert_eq!(ask(&with(":path", long)), Outcome::Answered(414));
    let text = curl(&site, &["-i", "-d", "more than ten bytes"], "/x");
    assert!(text.starts_with("HTTP/2 413") && text.contains("\"code\":\"body_too_large\""), "{text}");
    assert_eq!(site.witness.requests().len(), 0);
    // A refusal costs its stream alone.
    let mut client = site.client();
    for (stream, path, status) in [(1, "/a%2fb", 400), (3, "/x", 200), (5, "/..%2f", 400), (7, "/x", 200)] {
        assert_eq!(client.get(stream, path).outcome(stream), Outcome::Answered(status));
    }
}

#[test]
fn who_does_not_ask_for_h2_gets_h1_and_a_listener_may_speak_one_alone() {
    let site = secure_site();
    assert!(curl(&site, &["-i", "--http1.1"], "/x").starts_with("HTTP/1.1 200"));
    let only_h2 = secure_site_with(Witness::ok(), "protocols: [h2]", |_| {});
    assert!(curl(&only_h2, &["-i"], "/x").starts_with("HTTP/2 200"));
    assert!(!curl(&only_h2, &["-i", "--http1.1"], "/x").contains("200 OK"));
    assert!(!curl(&only_h2, &["-i", "--no-alpn"], "/x").contains("200 OK"));
    let only_h1 = secure_site_with(Witness::ok(), "protocols: [h1]", |_| {});
    assert!(curl(&only_h1, &["-i"], "/x").starts_with("HTTP/1.1 200"));
}

#[test]
fn thousands_of_requests_on_many_streams_are_all_answered() {
    let nginx = Nginx::start(&[("small", &[b'a'; 100]), ("large", &[b'b'; 200_000])]);
    let site = secure_site_with(Witness::ok(), "", |plain| plain.upstream = nginx.address());
    let address = site.gateway.address("tls").to_string();
    for (path, count) in [("/small", "20000"), ("/large", "500")] {
        let mut command = Command::new("h2load");
        command.args(["-n", count, "-c", "8", "-m", "20", "--connect-to", &address]);
        let output = output_of(command.arg(format!("https://a.test{path}")));
        let text = String::from_utf8_lossy(&output.stdout);
        let all = format!("{count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(text.contains(&all) && text.contains(&format!("status codes: {count} 2xx")), "{text}");
    }
}

#[test]
fn nghttp_gets_the_same_bytes() {
    let body: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    let nginx = Nginx::start(&[("file", &body)]);
    let site = secure_site_with(Witness::ok(), "", |plain| plain.upstream = nginx.address());
    let mut command = Command::new("nghttp");
    let output = output_of(command.args(["-H", ":authority: a.test", &format!("https://{}/file", site.gateway.address("tls"))]));
    // The name in the certificate is not the address, so there is none to be sent, and the host is the certificate's.
    assert_eq!(output.stdout, body, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_connection_takes_so_many_requests_and_says_goodbye() {
    let site = secure_site_with(Witness::ok(), "limits: { requests_per_connection: 3 }", |_| {});
    let mut client = site.client();
    for stream in [1, 3] {
        assert_eq!(client.get(stream, "/x").outcome(stream), Outcome::Answered(200));
    }
    client.get(5, "/x");
    assert_eq!(client.next_of(kind::GOAWAY).payload[4..8], [0; 4]);
    let ping = client.next_of(kind::PING);
    client.frame(kind::PING, 1, 0, &ping.payload);
    assert_eq!(client.end(), Outcome::GoAway(0));
    // One that does not hear is ended all the same.
    let mut deaf = site.client();
    for number in 0..1000 {
        deaf.get(2 * number + 1, "/x");
    }
    deaf.end();
    assert!(site.reached("/x") < 500, "{} requests on a connection that may have 3", site.reached("/x"));
}

#[test]
fn an_idle_connection_is_ended_with_goodbye() {
    let site = secure_site_with(Witness::ok(), "limits: { idle_timeout: 1s }", |_| {});
    let mut client = site.client();
    assert_eq!(client.get(1, "/x").outcome(1), Outcome::Answered(200));
    assert_eq!(client.end(), Outcome::GoAway(0));
}

#[test]
fn a_stream_that_is_reset_ends_what_it_began_upstream() {
    let witness = Witness::scripted(|side| {
        side.head();
        side.drain();
    });
    let site = secure_site_with(witness, "", |_| {});
    let mut client = site.client();
    client.get(1, "/slow");
    portcullis_testing_kit::holds("the request to arrive", || site.witness.bytes() > 0);
    client.frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    site.witness.all_ended();
    assert_eq!(site.gateway.record_of("client_gone")["path"], "/slow");
}

#[test]
fn a_stop_says_goodbye_and_lets_streams_finish() {
    let go = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let wait = std::sync::Arc::clone(&go);
    let witness = Witness::scripted(move |side| {
        side.request();
        portcullis_testing_kit::holds("the stop to begin", || wait.load(std::sync::atomic::Ordering::Acquire));
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let mut site = secure_site_with(witness, "", |_| {});
    let mut client = site.client();
    client.get(1, "/slow");
    portcullis_testing_kit::holds("the request to arrive", || site.witness.requests().len() == 1);
    site.gateway.process().signal("TERM");
    assert_eq!(client.next_of(kind::GOAWAY).payload[4..8], [0; 4]);
    go.store(true, std::sync::atomic::Ordering::Release);
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    assert_eq!(client.body(1), b"ok");
    client.end();
    assert!(site.gateway.process().wait().success());
}
