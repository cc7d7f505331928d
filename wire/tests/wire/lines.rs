//! Lines of a head: threats A 12, 15, 21, 31, 33, and bounds.

use crate::reading::{each_is_refused, get, post, read, read_within};
use portcullis_model::Reason;
use portcullis_wire::HeadLimits;

#[test]
fn a12_a21_a_field_line_is_a_name_a_colon_and_a_value() {
    for line in [
        ": x",
        " : x",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "no colon",
        "X(y): z",
        "X y: z",
        "\u{e9}: z",
        "X\0: z",
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
        " X: leading",
    ] {
        each_is_refused(Reason::RequestMalformed, [post(line)]);
    }
    each_is_refused(Reason::RequestMalformed, ["GET / HTTP/1.1\r\n Host: a\r\n\r\n"]);
}

#[test]
fn a15_a33_bare_line_ends_and_control_bytes_are_refused() {
    for head in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        each_is_refused(Reason::RequestMalformed, [head]);
    }
}

#[test]
fn a31_a33_a_request_line_is_three_parts_and_two_spaces() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /",
        "GET",
        "/ HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET / http/1.1",
        "GET / XTTP/1.1",
    ] {
        assert!(read(format!("{line}\r\nHost: a\r\n\r\n")).is_err(), "{line:?}");
    }
}

#[test]
fn a31_other_versions_are_refused() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/1.10", "HTTP/3", "HTTP/01.1"] {
        assert!(read(get("/").replace("HTTP/1.1", version)).is_err(), "{version}");
    }
    assert!(read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").is_err());
}

#[test]
fn fields_are_bounded_in_number_and_bytes() {
    let limits = HeadLimits { head_bytes_max: 2000, fields_max: 5, target_bytes_max: 100 };
    let reason = |bytes: &str| read_within(bytes.as_bytes(), &limits).err().map(|error| error.reason);
    assert_eq!(reason(&post("A: 1\r\nB: 2\r\nC: 3\r\nD: 4")), None);
    assert_eq!(reason(&post("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5")), Some(Reason::HeadersTooMany));
    assert_eq!(reason(&post(&format!("A: {}", "x".repeat(3000)))), Some(Reason::HeadersTooLarge));
    assert_eq!(reason(&get(&format!("/{}", "a".repeat(99)))), None);
    assert_eq!(reason(&get(&format!("/{}", "a".repeat(100)))), Some(Reason::UriTooLong));
}

#[test]
fn d84_the_work_that_connection_asks_for_is_bounded() {
    // Each name is looked for among all fields: without a bound, one head of 32 KiB asks for a million comparisons.
    let many = vec!["x"; 5000].join(",");
    each_is_refused(Reason::RequestMalformed, [post(&format!("Connection: {many}"))]);
    each_is_refused(Reason::RequestMalformed, [post(&format!("Connection: {}", ",".repeat(5000)))]);
    each_is_refused(Reason::RequestMalformed, [post("Connection: a, b, c\r\n".repeat(40).trim_end())]);
    assert!(read(post("Connection: keep-alive, x-a, x-b, x-c\r\nConnection: x-d")).is_ok());
}
