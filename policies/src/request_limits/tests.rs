use super::{RequestLimits, compile};
use crate::testing::exchange;
use portcullis_gateway_policy::{Exchange, LiveFiles, Scheme, Step, Verdict};
use portcullis_model::Reason;
use portcullis_model_settings::{ByteSize, Method};
use std::sync::Arc;

fn level(methods: Option<&[Method]>, uri: Option<u64>, body: Option<u64>) -> Arc<dyn std::any::Any + Send + Sync> {
    Arc::new(RequestLimits {
        methods: methods.map(|methods| methods.iter().copied().collect()),
        uri_bytes_max: uri.map(ByteSize),
        body_bytes_max: body.map(ByteSize),
    })
}

fn judged(levels: &[Arc<dyn std::any::Any + Send + Sync>], head: &str) -> (Option<Reason>, Exchange) {
    let mut exchange = exchange(head, Scheme::Https);
    let policy = compile(levels, &LiveFiles::default()).unwrap();
    let reason = match policy.on_request(&mut exchange) {
        Step::Ready(Verdict::Continue) => None,
        Step::Ready(Verdict::Reject(rejection)) => Some(rejection.reason),
        _ => panic!("neither continues nor rejects"),
    };
    (reason, exchange)
}

fn reason(levels: &[Arc<dyn std::any::Any + Send + Sync>], head: &str) -> Option<Reason> {
    judged(levels, head).0
}

#[test]
fn only_listed_methods_pass() {
    let levels = [level(Some(&[Method::Get, Method::Post]), None, None), level(Some(&[Method::Get, Method::Put]), None, None)];
    assert_eq!(reason(&levels, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    for method in ["POST", "PUT", "PURGE", "get"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(reason(&levels, &head), Some(Reason::MethodRefused), "{method}");
    }
}

#[test]
fn lengths_are_bounded_by_the_tightest_level() {
    let levels = [level(None, Some(20), Some(100)), level(None, Some(12), Some(200))];
    assert_eq!(reason(&levels, "GET /12345678901 HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    assert_eq!(reason(&levels, "GET /123456?8901x HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Reason::UriTooLong));
    assert_eq!(reason(&levels, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n"), Some(Reason::BodyTooLarge));
}

#[test]
fn a93_without_settings_a_body_still_has_a_limit() {
    assert_eq!(reason(&[], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"), Some(Reason::BodyTooLarge));
    let (reason, exchange) = judged(&[], "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!((reason, exchange.body_bytes_max()), (None, 1_048_576));
}
