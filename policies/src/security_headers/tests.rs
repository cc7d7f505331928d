use super::{SecurityHeaders, compile};
use crate::testing::exchange;
use portcullis_gateway_policy::LiveFiles;
use portcullis_gateway_policy::Scheme;
use portcullis_wire::{HeadLimits, Method, ResponseHead};
use std::sync::Arc;
use std::time::Duration;

const HEAD: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: Apache/2.4.1\r\nX-Powered-By: PHP/5\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 0\r\n\r\n";

fn answered(scheme: Scheme, hsts: &[Option<u64>]) -> String {
    let levels: Vec<Arc<dyn std::any::Any + Send + Sync>> =
        hsts.iter().map(|s| Arc::new(SecurityHeaders { hsts: s.map(Duration::from_secs) }) as _).collect();
    let mut response = ResponseHead::default();
    response.parse(ANSWER, &HeadLimits::default(), Method::Get).unwrap();
    compile(&levels, &LiveFiles::default()).unwrap().on_response(&exchange(HEAD, scheme), &mut response);
    let mut out = Vec::new();
    response.write_to(&mut out, response.framing(), None, false);
    String::from_utf8(out).unwrap()
}

#[test]
fn browsers_are_told_and_versions_are_not() {
    let answer = answered(Scheme::Https, &[]);
    assert!(answer.contains("strict-transport-security: max-age=31536000; includeSubDomains\r\n"), "{answer}");
    assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
    assert!(answer.contains("x-frame-options: SAMEORIGIN\r\n") && !answer.contains("DENY"), "the upstream knows better: {answer}");
    assert!(!answer.contains("Apache") && !answer.contains("PHP"), "{answer}");
}

#[test]
fn plain_text_never_carries_hsts() {
    assert!(!answered(Scheme::Http, &[]).contains("strict-transport-security"));
}

#[test]
fn the_longest_hsts_of_all_levels_holds() {
    assert!(answered(Scheme::Https, &[Some(100), None, Some(300)]).contains("max-age=300;"));
}
