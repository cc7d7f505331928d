//! How long a request is: threats A 1 to 22.

use crate::reading::{each_is_refused, post, read, sent};
use portcullis_model::Reason;
use portcullis_wire::BodyFraming;

fn posts(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|lines| post(lines)).collect()
}

#[test]
fn a01_no_transfer_encoding_is_read_in_http_1_0() {
    for lines in [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 5",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    ] {
        each_is_refused(Reason::FramingAmbiguous, [post(lines).replace("HTTP/1.1", "HTTP/1.0")]);
    }
}

#[test]
fn a01_an_http_1_0_request_without_a_length_has_no_body() {
    let head = read("POST /x HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\nGET /admin").unwrap();
    assert_eq!((head.framing(), head.keep_alive()), (BodyFraming::None, false));
}

#[test]
fn a04_length_beside_coding_is_refused_in_either_order() {
    each_is_refused(
        Reason::FramingAmbiguous,
        posts(&[
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 0\r\nX: y\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nTransfer-Encoding: identity",
        ]),
    );
}

#[test]
fn a05_tab_after_chunked_beside_a_length_is_refused() {
    for space in ["\t", " ", " \t "] {
        let lines = format!("Transfer-Encoding: chunked{space}\r\nContent-Length: 5");
        each_is_refused(Reason::FramingAmbiguous, [post(&lines)]);
    }
}

#[test]
fn a05_tab_after_chunked_is_refused_or_ended_here() {
    for value in ["\tchunked", "chunked\t", "chunked ", " \t chunked \t "] {
        // Whitespace around a value is no part of it (RFC 9110 section 5.5), but must never reach another reader.
        match read(post(&format!("Transfer-Encoding:{value}"))) {
            Err(refused) => assert_eq!(refused.reason, Reason::FramingAmbiguous, "{value:?}"),
            Ok(head) => {
                assert_eq!(head.framing(), BodyFraming::Chunked, "{value:?}");
                assert!(sent(&head).contains("\r\ntransfer-encoding: chunked\r\n"), "{value:?}");
            }
        }
    }
    for control in ['\u{b}', '\u{c}', '\0'] {
        assert!(read(post(&format!("Transfer-Encoding: chunked{control}"))).is_err(), "{control:?}");
    }
}

#[test]
fn a06_a20_several_codings_are_refused_however_they_are_listed() {
    each_is_refused(
        Reason::FramingAmbiguous,
        posts(&[
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
        ]),
    );
}

#[test]
fn a07_a13_a_length_is_digits_and_nothing_else() {
    let bad = ["+5", "-5", "0x5", "5 5", "5.0", "5,5", "5, 5", "5;", "\"5\"", "", " ", "5a", "1e3", "\u{665}", "5\u{b}"];
    for value in bad {
        assert!(read(post(&format!("Content-Length: {value}"))).is_err(), "{value:?}");
    }
    each_is_refused(
        Reason::FramingAmbiguous,
        posts(&["Content-Length: 5\r\nContent-Length: 5", "Content-Length:\r\nContent-Length: 5"]),
    );
}

#[test]
fn a07_a_length_that_no_number_holds_is_refused() {
    for value in ["4611686018427387904", "9223372036854775808", "18446744073709551616", "100000000000000000000000000000"] {
        each_is_refused(Reason::BodyTooLarge, [post(&format!("Content-Length: {value}"))]);
    }
    assert_eq!(read(post("Content-Length: 4611686018427387903")).unwrap().framing(), BodyFraming::Length((1 << 62) - 1));
}

#[test]
fn a09_the_body_of_a_get_is_framed_as_any_other() {
    let head = read("GET /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 24\r\n\r\nGET /admin HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(head.framing(), BodyFraming::Length(24));
    assert!(sent(&head).contains("\r\ncontent-length: 24\r\n"));
}

#[test]
fn a10_one_framing_field_is_written_and_it_is_ours() {
    for (lines, framing, written) in [
        ("Content-Length: 007", BodyFraming::Length(7), "content-length: 7\r\n"),
        ("Content-Length: 0", BodyFraming::None, "content-length: 0\r\n"),
        ("X: y", BodyFraming::None, "content-length: 0\r\n"),
        ("Transfer-Encoding: CHUNKED", BodyFraming::Chunked, "transfer-encoding: chunked\r\n"),
    ] {
        let head = read(post(lines)).unwrap();
        assert_eq!(head.framing(), framing, "{lines}");
        let sent = sent(&head);
        assert!(sent.contains(&format!("\r\n{written}")), "{sent}");
        assert_eq!(sent.matches("content-length").count() + sent.matches("transfer-encoding").count(), 1, "{sent}");
    }
}

#[test]
fn a11_a_long_name_hides_no_length() {
    for length in [200, 255, 256, 257, 270, 65_536 / 4] {
        let name = format!("Content-Length0{}", "a".repeat(length));
        let head = read(post(&format!("{name}:\r\nContent-Length: 5"))).unwrap();
        assert_eq!(head.framing(), BodyFraming::Length(5), "{length}");
    }
}

#[test]
fn a19_a21_a_coding_that_is_not_exactly_chunked_never_falls_back_to_the_length() {
    let codings =
        ["xchunked", "chunkedx", ", chunked", "chunked,", ",", "", "chunked;q=1", "\"chunked\"", "chun ked", "identity", "gzip"];
    for coding in codings {
        each_is_refused(Reason::FramingAmbiguous, [post(&format!("Transfer-Encoding: {coding}\r\nContent-Length: 5"))]);
    }
    for coding in ["xchunked", "chunkedx", ", chunked", "chunked,", ",", "", "chunked;q=1", "\"chunked\"", "chun ked"] {
        each_is_refused(Reason::FramingAmbiguous, [post(&format!("Transfer-Encoding: {coding}"))]);
    }
    each_is_refused(Reason::CodingUnsupported, posts(&["Transfer-Encoding: gzip", "Transfer-Encoding: identity"]));
}

#[test]
fn a22_connection_takes_no_field_away_that_the_request_needs() {
    for name in
        ["Content-Length", "content-length", "close, Content-Length", "Host", "Transfer-Encoding", "Authorization", "\tCookie "]
    {
        each_is_refused(Reason::RequestMalformed, [post(&format!("Connection: {name}\r\nContent-Length: 5"))]);
    }
    each_is_refused(Reason::RequestMalformed, posts(&["Connection: close\r\nConnection: content-length\r\nContent-Length: 5"]));
}

#[test]
fn a32_an_expectation_is_exactly_100_continue() {
    for value in ["y 100-continue", "100-continue, 100-continue", "100-continue;x", "100 continue", "x", ""] {
        each_is_refused(Reason::ExpectationUnknown, [post(&format!("Expect: {value}\r\nContent-Length: 5"))]);
    }
    each_is_refused(Reason::ExpectationUnknown, posts(&["Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5"]));
    let head = read(post("Expect: 100-Continue\r\nContent-Length: 5")).unwrap();
    assert!(head.expects_continue() && !sent(&head).contains("expect"));
    assert!(!read(post("Expect: 100-continue")).unwrap().expects_continue());
}
