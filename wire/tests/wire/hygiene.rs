//! What of a client's fields goes upstream: threats A 26, B 47, 48, 55, C 56, 57, 61, 62, 66.

use crate::reading::{read, sent};

const REMOVED: &[&str] = &[
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "HTTP2-Settings",
    "Proxy-Authorization",
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-Request-Id",
    "Proxy",
    "Remote-User",
    "X-Consumer-Name",
    "X-SSL-Client-Verify",
    "X-Skipper-Proxy",
    "X-Envoy-Original-Path",
];

fn sent_with(line: &str) -> String {
    sent(&read(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Kept: kept\r\n{line}\r\n\r\n")).unwrap())
}

#[test]
fn b47_b48_b55_c57_c61_c62_c66_no_claim_of_the_clients_goes_upstream_under_any_alias() {
    for name in REMOVED {
        for alias in [(*name).to_owned(), name.to_lowercase(), name.to_uppercase(), name.replace('-', "_"), name.replace('-', ".")]
        {
            let sent = sent_with(&format!("{alias}: spoofed"));
            assert!(!sent.contains("spoofed") && sent.contains("x-kept: kept\r\n"), "{alias}: {sent}");
        }
    }
}

#[test]
fn c57_a_long_name_is_no_way_past_the_hygiene() {
    for prefix in ["X-Forwarded-", "X_Forwarded_", "x.consumer.", "X-SSL-Client-", "X-User_"] {
        for length in [1, 40, 63, 64, 65, 200, 1000] {
            let sent = sent_with(&format!("{prefix}{}: spoofed", "a".repeat(length)));
            assert!(!sent.contains("spoofed"), "{prefix} with {length} bytes behind it");
        }
    }
}

#[test]
fn c57_names_that_only_look_alike_once_folded_are_removed() {
    for name in ["Content_Length", "Content.Length", "Transfer_Encoding", "Content_Type", "If_None_Match"] {
        assert!(!sent_with(&format!("{name}: spoofed")).contains("spoofed"), "{name}");
    }
}

#[test]
fn what_an_application_needs_is_kept() {
    for name in ["Authorization", "Cookie", "X-Api-Key", "X_Api_Key", "Accept", "Origin", "traceparent", "Idempotency-Key"] {
        assert!(sent_with(&format!("{name}: a=b")).contains(&format!("{}: a=b\r\n", name.to_lowercase())), "{name}");
    }
    let long = "x-a".repeat(60);
    assert!(sent_with(&format!("{long}: v")).contains(&format!("{long}: v\r\n")));
}

#[test]
fn a26_c56_fields_that_connection_names_go_and_those_set_after_stay() {
    let mut head =
        read("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, X-Forwarded-Host, x-mine\r\nX-Mine: 1\r\nX-Kept: 2\r\n\r\n")
            .unwrap();
    head.strip_untrusted();
    head.append_forwarded_host();
    head.fields_mut().set_named("x-forwarded-proto", b"https").unwrap();
    let mut out = Vec::new();
    head.write_to(&mut out);
    let sent = String::from_utf8(out).unwrap();
    assert!(sent.contains("x-forwarded-host: a.test\r\nx-forwarded-proto: https\r\n"), "{sent}");
    assert!(!sent.contains("x-mine") && !sent.contains("connection") && sent.contains("x-kept: 2\r\n"), "{sent}");
}
