//! What holds for any input.

use crate::body::decode;
use crate::reading::{read, read_within};
use portcullis_model::Reason;
use portcullis_wire::{HeadFinder, HeadLimits, RequestHead, WireError, write_chunk_head};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proptest::{prop_assert, prop_assert_eq, prop_assert_ne};

fn config() -> ProptestConfig {
    // What fails is printed in its smallest form and becomes a named test; no files of it are kept.
    ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }
}

/// Targets: mostly accepted, with all that has a canonical form.
fn target() -> impl Strategy<Value = String> {
    let segment = "([a-zA-Z0-9._~!$&'()*+,=:@-]|%[2-7][0-9a-fA-F]|%[cC]3%[aAbB][0-9a-fA-F]){1,8}";
    let query = "([a-zA-Z0-9&=+/?;|{}^`<>\"\\[\\]-]|%[0-7][0-9a-fA-F]|%[cC]3%[aAbB][0-9a-fA-F]){0,16}";
    (
        select(vec!["", "", "http://a.test", "HTTPS://A.TEST."]),
        vec(segment, 0..5),
        select(vec!["", "/"]),
        proptest::option::of(query),
    )
        .prop_map(|(scheme, segments, end, query)| {
            let end = if segments.is_empty() { "" } else { end };
            format!("{scheme}/{}{end}{}", segments.join("/"), query.map(|query| format!("?{query}")).unwrap_or_default())
        })
}

/// Field lines: those the codec knows, aliases of them, and any others.
fn line() -> impl Strategy<Value = String> {
    let names = vec![
        "X-Forwarded-For",
        "x_forwarded_user",
        "X.Real.IP",
        "Forwarded",
        "Via",
        "Connection",
        "TE",
        "Keep-Alive",
        "Proxy-Authorization",
        "Trailer",
        "X-Original-URL",
        "X-Consumer-Id",
        "Cookie",
        "Accept",
        "X-Api-Key",
        "Content_Length",
        "Content-Type",
        "Sec-WebSocket-Key",
    ];
    let name = prop_oneof![3 => select(names).prop_map(str::to_owned), 1 => "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,90}"];
    (name, "[ \\t]{0,2}", "[!-~\u{e9}]([ -~\\t\u{e9}]{0,20}[!-~])?|", "[ \\t]{0,2}")
        .prop_map(|(name, before, value, behind)| format!("{name}:{before}{value}{behind}\r\n"))
}

fn framing() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        (0_u64..1 << 40).prop_map(|length| format!("Content-Length: {length}\r\n")),
        select(vec!["chunked", "Chunked", "CHUNKED"]).prop_map(|coding| format!("Transfer-Encoding: {coding}\r\n")),
    ]
}

fn request() -> impl Strategy<Value = String> {
    let method = select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT", "get"]);
    let host = select(vec!["a.test", "A.Test.", "a.test", "a.TEST"]);
    (method, target(), select(vec!["1.0", "1.1", "1.1"]), host, vec(line(), 0..6), framing()).prop_map(
        |(method, target, version, host, lines, framing)| {
            format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n{}{framing}\r\n", lines.concat())
        },
    )
}

/// What a head means.
fn meaning(head: &RequestHead) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (head.method(), head.method_bytes().to_vec(), head.path().to_owned(), head.query().map(str::to_owned)),
        (
            head.host().to_owned(),
            head.port(),
            head.framing(),
            head.path_has_encoded_slash(),
            head.is_asterisk(),
            head.wants_websocket(),
        ),
    )
}

fn fields(head: &RequestHead) -> Vec<(Vec<u8>, Vec<u8>)> {
    let own: [&[u8]; 4] = [b"host", b"content-length", b"transfer-encoding", b"via"];
    head.fields().iter().filter(|(name, _)| !own.contains(name)).map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Finds the head of bytes that come in pieces, which end at `cuts`.
fn find_in_pieces(bytes: &[u8], limits: &HeadLimits, cuts: impl Iterator<Item = usize>) -> Result<Option<usize>, WireError> {
    let mut finder = HeadFinder::default();
    for end in cuts.chain([bytes.len()]) {
        if let Some(length) = finder.find(&bytes[..end], limits)? {
            return Ok(Some(length));
        }
    }
    Ok(None)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_head_is_found_the_same_whole_and_byte_by_byte(
        request in request(), rest in vec(any::<u8>(), 0..40), target_bytes_max in 1_usize..60, head_bytes_max in 20_usize..400,
    ) {
        let bytes = [request.as_bytes(), &rest].concat();
        let limits = HeadLimits { head_bytes_max, fields_max: 100, target_bytes_max };
        let slow = find_in_pieces(&bytes, &limits, 1..bytes.len());
        match HeadFinder::default().find(&bytes, &limits) {
            Ok(whole) => prop_assert_eq!(slow, Ok(whole)),
            Err(_) => prop_assert!(slow.is_err(), "refused whole, {:?} byte by byte", slow),
        }
    }

    #[test]
    fn any_bytes_are_refused_or_found_the_same_however_they_are_cut(
        bytes in vec(prop_oneof![any::<u8>(), select(b"\r\n\r\n: /".to_vec())], 0..120), cut in 0_usize..120,
    ) {
        let limits = HeadLimits { head_bytes_max: 100, fields_max: 10, target_bytes_max: 8 };
        let cut = find_in_pieces(&bytes, &limits, std::iter::once(cut.min(bytes.len())));
        match HeadFinder::default().find(&bytes, &limits) {
            Ok(whole) => prop_assert_eq!(cut, Ok(whole)),
            Err(_) => prop_assert!(cut.is_err(), "refused whole, {:?} when cut", cut),
        }
    }

    #[test]
    fn what_is_sent_is_read_again_as_the_same(request in request()) {
        let Ok(mut head) = read(&request) else { return Ok(()) };
        head.strip_untrusted();
        let mut once = Vec::new();
        head.write_to(&mut once);
        let limits = HeadLimits { head_bytes_max: 1 << 20, ..HeadLimits::default() };
        let again = read_within(&once, &limits);
        prop_assert!(again.is_ok(), "{:?} of {}", again.err(), String::from_utf8_lossy(&once));
        let mut again = again.unwrap();
        prop_assert_eq!(meaning(&again), meaning(&head));
        prop_assert_eq!(fields(&again), fields(&head));
        again.strip_untrusted();
        let mut twice = Vec::new();
        again.write_to(&mut twice);
        prop_assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&once));
    }

    #[test]
    fn nothing_of_the_connection_or_of_who_forwarded_survives(
        request in request(), alias in "(x[-_.]forwarded[-_.]|x[-_.]original[-_.]|x[-_.]consumer[-_.])[a-z0-9_.-]{1,120}", hop in "x-[a-z]{1,8}",
    ) {
        let spoof = format!("\r\n{alias}: spoofed\r\nConnection: {hop}\r\n{hop}: spoofed\r\n");
        let Ok(mut head) = read(request.replacen("\r\n", &spoof, 1)) else { return Ok(()) };
        head.strip_untrusted();
        for (name, value) in head.fields().iter() {
            let folded = String::from_utf8_lossy(name).replace(['_', '.'], "-");
            for bad in ["forwarded", "via", "x-real-ip", "connection", "te", "keep-alive", "trailer", "proxy-authorization", "content-length", "transfer-encoding"] {
                prop_assert_ne!(&folded, bad);
            }
            let claims = ["x-forwarded-", "x-original-", "x-consumer-"].iter().any(|prefix| folded.starts_with(prefix));
            prop_assert!(!claims && value != b"spoofed", "{}", folded);
        }
    }

    #[test]
    fn a_parser_that_is_used_again_remembers_nothing(first in request(), second in request()) {
        let limits = HeadLimits::default();
        let mut head = RequestHead::default();
        let _first = head.parse(first.as_bytes(), &limits);
        let used = head.parse(second.as_bytes(), &limits).map(|()| (meaning(&head), fields(&head), head.keep_alive()));
        let fresh = read(&second).map(|head| (meaning(&head), fields(&head), head.keep_alive()));
        prop_assert_eq!(used, fresh);
    }

    #[test]
    fn a_chunked_body_comes_out_as_it_went_in_however_it_is_cut(
        chunks in vec(vec(any::<u8>(), 1..40), 0..6), extension in "(;[a-z]{1,5}(=[a-z0-9\"]{1,5})?)?", cuts in vec(0_usize..400, 0..12),
    ) {
        let mut coded = Vec::new();
        for chunk in &chunks {
            write_chunk_head(&mut coded, chunk.len());
            coded.splice(coded.len() - 2..coded.len() - 2, extension.bytes());
            coded.extend_from_slice(chunk);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice(b"0\r\nX-Sum: 1\r\n\r\n");
        let end = coded.len();
        coded.extend_from_slice(b"GET /next");
        prop_assert_eq!(decode(&coded, &cuts), Some((chunks.concat(), Some(end), b"0\r\nx-sum: 1\r\n\r\n".to_vec())));
    }

    #[test]
    fn any_bytes_decode_the_same_however_they_are_cut(
        bytes in vec(prop_oneof![1 => any::<u8>(), 4 => select(b"0123af\r\n\r\n;:x".to_vec())], 0..60), cuts in vec(0_usize..60, 0..8),
    ) {
        prop_assert_eq!(decode(&bytes, &cuts), decode(&bytes, &[]));
    }
}

#[test]
fn a_first_line_at_the_limit_is_judged_the_same_whole_and_byte_by_byte() {
    let limits = HeadLimits { head_bytes_max: 4096, fields_max: 10, target_bytes_max: 10 };
    for length in 60..90 {
        let bytes = format!("{}\r\nHost: a\r\n\r\n", "A".repeat(length));
        let whole = HeadFinder::default().find(bytes.as_bytes(), &limits);
        assert_eq!(find_in_pieces(bytes.as_bytes(), &limits, 1..bytes.len()), whole, "a first line of {length} bytes");
        assert_eq!(whole.is_err_and(|error| error.reason == Reason::UriTooLong), length > 74, "{length}");
    }
}

#[test]
fn heads_made_by_these_strategies_are_mostly_read() {
    // Else the properties above would hold of nothing.
    let mut runner = TestRunner::deterministic();
    let made: Vec<String> = (0..256).map(|_| request().new_tree(&mut runner).unwrap().current()).collect();
    let accepted = made.iter().filter(|request| read(request).is_ok()).count();
    assert!(accepted > 64, "{accepted} of 256");
}
