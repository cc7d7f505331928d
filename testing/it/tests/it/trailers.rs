//! Trailers: what may not come behind a body does not pass, whichever way and by whichever protocol (RFC 9110 section 6.5.1).

use crate::http2_site::{SecureSite, secure_site_with};
use portcullis_testing_kit::http2::{END_HEADERS, END_STREAM, Outcome, block, kind};
use portcullis_testing_kit::{Plain, RawClient, Witness};
use std::process::Command;

/// What a rule decides on, under the names that somebody may try, and what never passes.
const GOES: &[&str] = &[
    "x-tenant",
    "x_tenant",
    "x.tenant",
    "x-debug",
    "x_debug",
    "host",
    "content-length",
    "transfer-encoding",
    "authorization",
    "cookie",
    "set-cookie",
    "set_cookie",
    "x-forwarded-for",
    "x_forwarded_for",
    "forwarded",
    "x-real-ip",
    "x-user-id",
    "x-consumer-id",
    "x-api-key",
    "x-request-id",
    "traceparent",
    "via",
    "strict-transport-security",
    "content-security-policy",
    "access-control-allow-origin",
    "permissions-policy",
    "cache-control",
    "location",
    "www-authenticate",
];

/// Rules of the same names for requests and answers.
const RULES: &str = "header_rules: { request: { set: { X-Tenant: acme }, remove: [X-Debug], add: { X-Tag: a } }, \
                     response: { set: { X-Tenant: acme }, remove: [X-Debug] } }";

/// An upstream that reads requests up to their last trailer, and answers in pieces with every trailer there is.
fn upstream() -> Witness {
    Witness::scripted(|side| {
        while let Some(mut request) = side.head() {
            if request.windows(7).any(|window| window == b"chunked") {
                request.extend(side.until(b"x-last: 1\r\n\r\n").unwrap_or_default());
            }
            side.remember(&request);
            let trailers: String = GOES.iter().map(|name| format!("{name}: evil\r\n")).collect();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            side.write(format!("{head}2\r\nok\r\n0\r\nx-sum: 1\r\n{trailers}x-tag: kept\r\nx-last: 1\r\n\r\n"));
        }
    })
}

fn site() -> SecureSite {
    secure_site_with(upstream(), "", |plain: &mut Plain| plain.api = RULES)
}

#[track_caller]
fn check_forwarded(seen: &str) {
    let (_, trailers) = seen.split_once("\r\n0\r\n").expect("a chunked body");
    assert_eq!(trailers, "x-sum: 1\r\nx-tag: kept\r\nx-last: 1\r\n\r\n", "{seen}");
    assert!(seen.contains("\r\nx-tenant: acme\r\n") && !seen.contains("evil"), "{seen}");
}

#[test]
fn c57_a_rule_cannot_be_passed_behind_the_body() {
    let site = site();
    let trailers: String = GOES.iter().map(|name| format!("{name}: evil\r\n")).collect();
    let body = format!("2\r\nhi\r\n0\r\nx-sum: 1\r\n{trailers}x-tag: kept\r\nx-last: 1\r\n\r\n");
    let mut client = RawClient::connect(site.gateway.http());
    let response = client.send(format!("POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).response();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    check_forwarded(&site.witness.texts()[0]);
    let back: Vec<_> = response.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(back, [("x-sum", "1"), ("x-tag", "kept"), ("x-last", "1")]);
}

#[test]
fn c57_a_rule_cannot_be_passed_behind_the_body_of_a_stream() {
    let site = site();
    let mut client = site.client();
    client.headers(1, &[(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x")], false);
    client.frame(kind::DATA, 0, 1, b"hi");
    // What belongs to a connection alone is malformed in HTTP/2 already, and refused as a whole.
    let mut trailers = vec![("x-sum", "1")];
    trailers.extend(GOES.iter().filter(|name| **name != "transfer-encoding").map(|name| (*name, "evil")));
    trailers.extend([("x-tag", "kept"), ("x-last", "1")]);
    client.frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers));
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    check_forwarded(&site.witness.texts()[0]);
}

#[test]
fn c57_an_upstream_cannot_pass_a_rule_behind_its_body() {
    let site = site();
    let authority = site.gateway.folder().join("ca.crt");
    let address = site.gateway.address("tls");
    let mut curl = Command::new("curl");
    curl.args(["-sSv", "--http2", "--connect-to", &format!("a.test:443:{address}"), "--cacert"]).arg(authority);
    let output = curl.arg("https://a.test/x").output().expect("curl runs");
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(output.status.success(), "{told}");
    for line in ["< x-tenant: acme", "< x-sum: 1", "< x-tag: kept", "< x-last: 1"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("evil"), "{told}");
}
