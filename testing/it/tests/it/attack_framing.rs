//! Threats A: framing and smuggling, by raw sockets. What is ambiguous is refused, its connection ends, and nothing reaches the upstream.

use crate::site::{Site, get_with, post_with, site};
use portcullis_testing_kit::{RawClient, holds};

const INNER: &str = "GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// Each of these lines before a body that holds a request is refused with 400, and neither request reaches the upstream.
fn refuses_each(lines: &[&str]) {
    let mut site = site();
    for lines in lines {
        site.refuses(post_with(lines, &format!("0\r\n\r\n{INNER}")), 400, "framing_ambiguous");
    }
    site.nothing_reached_upstream();
}

/// Each of these chunked bodies is refused with 400; no whole request reaches the upstream.
fn refuses_each_body(bodies: &[&str]) {
    let mut site = site();
    for body in bodies {
        site.refuses(post_with("Transfer-Encoding: chunked\r\n", &format!("{body}{INNER}")), 400, "chunk_malformed");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a01_transfer_encoding_in_http_1_0_is_refused() {
    let mut site = site();
    for lines in [
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        site.refuses(format!("POST / HTTP/1.0\r\nHost: a.test\r\n{lines}\r\n0\r\n\r\n{INNER}"), 400, "framing_ambiguous");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a03_a_body_that_holds_a_request_stays_a_body_twice_on_one_connection() {
    let site = site();
    let request = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{INNER}", INNER.len());
    let mut client = RawClient::connect(site.http());
    for _ in 0..2 {
        assert_eq!(client.send(&request).response().status, 200);
    }
    let seen = site.witness.texts();
    assert_eq!(seen.len(), 2, "{seen:#?}");
    assert!(seen.iter().all(|request| request.starts_with("GET /x ") && request.ends_with(INNER)), "{seen:#?}");
}

#[test]
fn a04_content_length_beside_transfer_encoding_is_refused() {
    refuses_each(&[
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ]);
}

#[test]
fn a05_whitespace_around_chunked_never_hides_it() {
    let site = site();
    for value in ["chunked\t", "\tchunked", "chunked ", "\u{b}chunked", "chunked\u{c}"] {
        let request = post_with(&format!("Transfer-Encoding: {value}\r\nContent-Length: 5\r\n"), &format!("0\r\n\r\n{INNER}"));
        let response = site.answer(request);
        assert_eq!(response.status, 400, "{value:?}: {}", response.text());
    }
    assert_eq!(site.witness.bytes(), 0);
}

#[test]
fn a06_two_transfer_encoding_lines_are_refused() {
    refuses_each(&[
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    ]);
}

#[test]
fn a07_a_content_length_that_is_not_a_plain_number_is_refused() {
    let lines = ["+5", "-5", "0x5", "5 5", "5.0", "5,5", "5, 5", "5;5", "1e1", "９", "5_0"]
        .map(|value| format!("Content-Length: {value}\r\n"));
    refuses_each(&lines.each_ref().map(String::as_str));
}

#[test]
fn a07_a_content_length_that_no_number_holds_is_refused() {
    let mut site = site();
    for value in ["99999999999999999999", "18446744073709551616", "9223372036854775808", "100000000000000000000000000000000000005"]
    {
        let response = site.answer(post_with(&format!("Content-Length: {value}\r\n"), INNER));
        assert!(matches!(response.status, 400 | 413), "{value}: {}", response.head);
    }
    site.nothing_reached_upstream();
}

#[test]
fn a07_two_content_lengths_are_refused_even_if_equal() {
    refuses_each(&["Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n"]);
}

#[test]
fn a08_a_chunk_size_that_overflows_is_refused() {
    refuses_each_body(&[
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffd\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
    ]);
}

#[test]
fn a09_the_body_of_a_get_is_never_a_request() {
    let site = site();
    let request = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{INNER}", INNER.len());
    let seen = site.forwarded(request);
    assert!(seen.starts_with("GET /x ") && seen.ends_with(&format!("\r\n\r\n{INNER}")), "{seen}");
}

#[test]
fn a09_a_refused_request_with_a_body_takes_the_body_with_it() {
    let mut site = site();
    // DELETE has a route, TRACE has none: its body must not be read as the next request.
    let request = format!("TRACE /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{INNER}", INNER.len());
    let mut client = RawClient::connect(site.http());
    client.send(request).finish();
    let responses = client.responses();
    assert_eq!(responses.iter().map(|response| response.status).collect::<Vec<_>>(), [405]);
    site.nothing_reached_upstream();
}

#[test]
fn a11_a_name_of_any_length_hides_no_content_length() {
    let site = site();
    for length in [255, 256, 257, 511, 4096] {
        let name = format!("Content-Length0{}", "a".repeat(length));
        let request = post_with(&format!("{name}:\r\nContent-Length: {}\r\nConnection: close\r\n", INNER.len()), INNER);
        let seen = site.forwarded(request);
        assert!(seen.contains(&format!("\r\ncontent-length: {}\r\n", INNER.len())) && seen.ends_with(INNER), "{length}: {seen}");
    }
}

#[test]
fn a12_an_empty_field_name_is_refused() {
    let mut site = site();
    for line in [": x\r\n", ":\r\n", " : x\r\n"] {
        site.refuses(get_with(line), 400, "request_malformed");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a13_an_empty_content_length_is_refused() {
    refuses_each(&[
        "Content-Length: \r\n",
        "Content-Length:\r\n",
        "Content-Length: \r\nContent-Length: 5\r\n",
        "Content-Length: ,5\r\n",
    ]);
}

#[test]
fn a14_a_fragment_in_the_target_is_refused() {
    let mut site = site();
    for target in ["/pub#/../admin", "/admin#x", "/#", "/x?y#z", "http://a.test/x#y"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        assert_eq!(site.answer(request).status, 400, "{target}");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a15_a_bare_line_feed_after_a_chunk_size_is_refused() {
    refuses_each_body(&[
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
        "3\rabc\r\n0\r\n\r\n",
    ]);
}

#[test]
fn a15_bare_line_ends_in_a_head_are_refused() {
    let mut site = site();
    for request in [
        "GET /x HTTP/1.1\nHost: a.test\n\n",
        "GET /x HTTP/1.1\r\nHost: a.test\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test\r\nX: a\nY: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test\r\nX: a\rY: b\r\n\r\n",
        "GET /x HTTP/1.1\rHost: a.test\r\n\r\n",
        "\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /x HTTP/1.1\r\n Host: a.test\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\n\r\n",
    ] {
        site.refuses(request, 400, "request_malformed");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a16_a_line_feed_in_a_chunk_extension_is_refused() {
    refuses_each_body(&["5;\nxxxxx\r\n0\r\n\r\n", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "5;a\rb\r\nhello\r\n0\r\n\r\n"]);
}

#[test]
fn a16_chunk_extensions_are_not_forwarded() {
    let site = site();
    let body = "5;name=value\r\nhello\r\n4;x\r\n you\r\n0;last\r\n\r\n";
    let seen = site.forwarded(post_with("Transfer-Encoding: chunked\r\nConnection: close\r\n", body));
    assert!(!seen.contains("name") && !seen.contains(";x") && !seen.contains("last"), "{seen}");
    assert!(seen.contains("hello") && seen.contains(" you"), "{seen}");
}

#[test]
fn a17_a_line_feed_after_the_last_chunk_is_refused() {
    refuses_each_body(&["0;\n\r\n", "0;a\n\r\n", "3\r\nabc\r\n0;\n\r\n\r\n"]);
}

#[test]
fn a18_a_chunk_ends_with_its_line_end_and_nothing_else() {
    refuses_each_body(&["3\r\nabcXX0\r\n\r\n", "3\r\nabc0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n"]);
}

#[test]
fn a19_another_coding_never_falls_back_to_content_length() {
    let mut site = site();
    for value in
        ["xchunked", "chunkedx", "gzip", "identity", "gzip, chunked", "chunked, gzip", "deflate", "chunked;q=1", "\"chunked\""]
    {
        let lines = format!("Transfer-Encoding: {value}\r\nContent-Length: 5\r\n");
        let response = site.answer(post_with(&lines, &format!("0\r\n\r\n{INNER}")));
        assert!(matches!(response.status, 400 | 501), "{value}: {}", response.head);
        let response = site.answer(post_with(&format!("Transfer-Encoding: {value}\r\n"), &format!("0\r\n\r\n{INNER}")));
        assert!(matches!(response.status, 400 | 501), "{value} alone: {}", response.head);
    }
    site.nothing_reached_upstream();
}

#[test]
fn a20_chunked_in_any_case_is_chunked() {
    let site = site();
    for value in ["chunked", "Chunked", "CHUNKED"] {
        let lines = format!("Transfer-Encoding: {value}\r\nConnection: close\r\n");
        let seen = site.forwarded(post_with(&lines, "5\r\nhello\r\n0\r\n\r\n"));
        assert!(seen.contains("\r\ntransfer-encoding: chunked\r\n") && !seen.contains("content-length"), "{seen}");
    }
}

#[test]
fn a21_whitespace_before_the_colon_and_empty_elements_are_refused() {
    let mut site = site();
    for lines in
        ["Transfer-Encoding : chunked\r\n", "Transfer-Encoding\t: chunked\r\n", "Content-Length : 5\r\n", "Host : b.test\r\n"]
    {
        site.refuses(post_with(lines, "0\r\n\r\n"), 400, "request_malformed");
    }
    for value in [", chunked", "chunked,", ",chunked,", "chunked, ", ","] {
        site.refuses(post_with(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n"), 400, "framing_ambiguous");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a22_connection_cannot_strip_what_frames_or_routes() {
    let mut site = site();
    for name in ["Content-Length", "content-length", "Transfer-Encoding", "Host"] {
        let lines = format!("Connection: {name}\r\nContent-Length: {}\r\n", INNER.len());
        site.refuses(post_with(&lines, INNER), 400, "request_malformed");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a24_connect_is_refused_and_what_follows_is_no_tunnel() {
    let mut site = site();
    for request in [
        "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n",
        "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "CONNECT /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let responses = portcullis_testing_kit::ask(site.http(), format!("{request}{}", get_with("")));
        let first = responses.first().map(|response| response.status);
        assert!(matches!(first, Some(400 | 405 | 501)), "{responses:#?}");
        // If the connection went on, what followed was a request of its own; never bytes of a tunnel.
        assert!(site.witness.texts().iter().all(|seen| seen.starts_with("GET /x HTTP/1.1\r\n")), "{:#?}", site.witness.texts());
    }
    site.gateway.is_well();
}

#[test]
fn a29_a_body_of_any_bytes_arrives_as_it_was() {
    let site = site();
    let mut body = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    body.extend((0..=255).cycle().take(100_000));
    let mut request =
        format!("POST /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend(&body);
    assert_eq!(site.answer(request).status, 200);
    assert!(site.witness.requests()[0].ends_with(&body));
}

#[test]
fn a31_an_http_2_preface_is_refused() {
    let mut site = site();
    let response = site.answer("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0");
    assert!(matches!(response.status, 400 | 505), "{}", response.head);
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/11", "http/1.1", "HTTP/1.1x", "HTTX/1.1"] {
        let response = site.answer(format!("GET /x {version}\r\nHost: a.test\r\n\r\n"));
        assert!(matches!(response.status, 400 | 505), "{version}: {}", response.head);
    }
    site.nothing_reached_upstream();
}

#[test]
fn a32_an_obfuscated_expectation_is_refused() {
    let mut site = site();
    for value in ["y 100-continue", "100-continue, x", "100-continu", "100-continue;q=1", "\"100-continue\"", "x"] {
        let lines = format!("Expect: {value}\r\nContent-Length: {}\r\n", INNER.len());
        site.refuses(post_with(&lines, INNER), 417, "expectation_unknown");
    }
    let twice = format!("Expect: 100-continue\r\nExpect: x\r\nContent-Length: {}\r\n", INNER.len());
    site.refuses(post_with(&twice, INNER), 417, "expectation_unknown");
    site.nothing_reached_upstream();
}

#[test]
fn a33_control_bytes_in_field_values_are_refused() {
    let mut site = site();
    for byte in [0_u8, 1, 7, 8, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f] {
        let mut request = b"GET /x HTTP/1.1\r\nHost: a.test\r\nX-A: b".to_vec();
        request.push(byte);
        request.extend(b"c\r\n\r\n");
        site.refuses(request, 400, "request_malformed");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a33_odd_bytes_in_field_names_and_request_lines_are_refused() {
    let mut site = site();
    for name in ["X A", "X\tA", "X\u{0}A", "X(A", "X,A", "X;A", "X\"A", "X/A", "X@A", "X[A", "Xä", "X{A}"] {
        site.refuses(get_with(&format!("{name}: 1\r\n")), 400, "request_malformed");
    }
    for line in [
        "GET  /x HTTP/1.1",
        "GET\t/x\tHTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET /x HTTP/1.1 ",
        " GET /x HTTP/1.1",
        "G(T /x HTTP/1.1",
        "GET /x",
        "GET HTTP/1.1",
    ] {
        let response = site.answer(format!("{line}\r\nHost: a.test\r\n\r\n"));
        assert!(matches!(response.status, 400 | 505), "{line}: {}", response.head);
    }
    site.nothing_reached_upstream();
}

#[test]
fn a35_a_proxy_protocol_header_is_no_request() {
    let mut site = site();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x10\0\0\x50".to_vec();
    v2.extend(get_with("").as_bytes());
    assert_eq!(site.answer(v2).status, 400);
    let v1 = format!("PROXY TCP4 127.0.0.1 127.0.0.1 1000 80\r\n{}", get_with(""));
    assert!(matches!(site.answer(v1).status, 400 | 505));
    site.nothing_reached_upstream();
}

#[test]
fn pipelined_requests_after_a_refusal_are_not_answered() {
    let mut site = site();
    let Site { gateway, .. } = &mut site;
    let responses =
        portcullis_testing_kit::ask(gateway.http(), format!("GET /x HTTP/1.1\r\nHost: a.test\r\nX Y: z\r\n\r\n{INNER}{INNER}"));
    assert_eq!(responses.len(), 1, "{responses:#?}");
    site.nothing_reached_upstream();
}

#[test]
fn a_refused_request_leaves_one_record_and_no_memory() {
    let mut site = site();
    let before = site.gateway.process().resident_kib();
    for _ in 0..500 {
        site.refuses(post_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", INNER), 400, "framing_ambiguous");
    }
    let records = site.gateway.records_when(500);
    assert_eq!(records.len(), 500);
    assert!(records.iter().all(|record| record["reason"] == "framing_ambiguous" && record["status"] == 400), "{}", records[0]);
    holds("memory to stay where it was", || site.gateway.process().resident_kib() < before + 16 * 1024);
}
