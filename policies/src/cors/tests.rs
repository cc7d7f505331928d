use super::config::Cors;
use super::{compile, origin::Origin};
use crate::testing::{exchange, settings};
use portcullis_gateway_policy::{Exchange, LiveFiles, Others, Policy, Scheme, Step, Verdict};
use portcullis_model::Reason;
use portcullis_model_settings::{Decode, Diagnostics, FileId, TreeBuilder};
use portcullis_wire::{HeadLimits, Method, ResponseHead};
use std::sync::Arc;

const APP: &str =
    "{\"origins\":[\"https://app.test\"],\"headers\":[\"X-One\",\"x-two\"],\"exposed_headers\":[\"X-Seen\"],\"credentials\":true}";

fn policy(levels: &[&str]) -> Arc<dyn Policy> {
    compile(&levels.iter().map(|level| settings::<Cors>(level)).collect::<Vec<_>>(), &LiveFiles::default()).unwrap()
}

fn judged(policy: &Arc<dyn Policy>, request: &str, preflight: bool) -> (Option<u16>, Option<Reason>, Vec<(&'static str, String)>) {
    let mut exchange = exchange(&format!("{request}\r\n\r\n"), Scheme::Https);
    if preflight {
        exchange.mark_preflight(Others::None);
    }
    match policy.on_request(&mut exchange) {
        Step::Ready(Verdict::Continue) => (None, None, Vec::new()),
        Step::Ready(Verdict::Reject(rejection)) => (None, Some(rejection.reason), Vec::new()),
        Step::Ready(Verdict::Respond(answer)) => {
            let fields = answer.fields.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap()));
            (Some(answer.status), None, fields.collect())
        }
        Step::Later(_) | Step::Body(_) => panic!("waits"),
    }
}

fn refused(policy: &Arc<dyn Policy>, request: &str) -> bool {
    judged(policy, request, false).1 == Some(Reason::CrossOriginRefused)
}

/// The lines of an answer of the upstream's after the policy has seen it.
fn answered(policy: &Arc<dyn Policy>, request: &str, answer: &str) -> String {
    let mut response = ResponseHead::default();
    response
        .parse(format!("HTTP/1.1 200 OK\r\n{answer}Content-Length: 0\r\n\r\n").as_bytes(), &HeadLimits::default(), Method::Get)
        .unwrap();
    let exchange: Exchange = exchange(&format!("{request}\r\n\r\n"), Scheme::Https);
    policy.on_response(&exchange, &mut response);
    let mut out = Vec::new();
    response.write_to(&mut out, response.framing(), None, false);
    String::from_utf8(out).unwrap()
}

fn preflight(policy: &Arc<dyn Policy>, lines: &str) -> (Option<u16>, Option<Reason>, Vec<(&'static str, String)>) {
    judged(policy, &format!("OPTIONS / HTTP/1.1\r\nHost: api.test\r\n{lines}"), true)
}

#[test]
fn a_preflight_is_granted_exactly_what_it_asks_for() {
    let policy = policy(&[APP]);
    let asked = "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-two, X-ONE";
    let (status, _, fields) = preflight(&policy, asked);
    assert_eq!(status, Some(204));
    let of = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    assert_eq!(of("access-control-allow-origin"), Some("https://app.test"));
    assert_eq!(of("access-control-allow-methods"), Some("PUT"));
    assert_eq!(of("access-control-allow-headers"), Some("x-two, x-one"));
    assert_eq!(of("access-control-allow-credentials"), Some("true"));
    assert_eq!(of("access-control-max-age"), Some("600"));
    assert!(of("vary").is_some_and(|vary| vary.contains("origin")));
}

#[test]
fn a_preflight_for_more_than_is_listed_is_refused() {
    let rules = APP.replace("\"headers\"", "\"methods\":[\"GET\",\"PUT\"],\"headers\"");
    let policy = policy(&[&rules]);
    for lines in [
        "Origin: https://evil.test\r\nAccess-Control-Request-Method: PUT",
        "Origin: http://app.test\r\nAccess-Control-Request-Method: PUT",
        "Origin: https://app.test:444\r\nAccess-Control-Request-Method: PUT",
        "Origin: https://APP.test\r\nAccess-Control-Request-Method: PUT",
        "Origin: https://app.test.evil.test\r\nAccess-Control-Request-Method: PUT",
        "Origin: null\r\nAccess-Control-Request-Method: PUT",
        "Origin: https://app.test\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: PUT",
        "Origin: https://app.test\r\nAccess-Control-Request-Method: DELETE",
        "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-one, x-three",
        "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: *",
    ] {
        assert_eq!(preflight(&policy, lines).1, Some(Reason::CrossOriginRefused), "{lines}");
    }
}

#[test]
fn what_changes_something_comes_from_pages_that_are_listed_or_the_hosts_own() {
    let policy = policy(&[APP]);
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: api.test\r\n{lines}Content-Length: 0");
    for origin in [
        "https://evil.test",
        "null",
        "https://api.test.evil.test",
        "https://api.test:8443",
        "file://",
        "https://app.test, https://evil.test",
    ] {
        assert!(refused(&policy, &post(&format!("Origin: {origin}\r\n"))), "{origin}");
        assert!(!refused(&policy, &format!("GET / HTTP/1.1\r\nHost: api.test\r\nOrigin: {origin}")), "{origin}");
    }
    assert!(refused(&policy, &post("Origin: https://app.test\r\nOrigin: https://evil.test\r\n")));
    for lines in ["", "Origin: https://app.test\r\n", "Origin: https://api.test\r\n", "Origin: http://api.test\r\n"] {
        assert!(!refused(&policy, &post(lines)), "{lines}");
    }
    let upgrade = "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: ";
    assert!(refused(&policy, &format!("{upgrade}https://evil.test")) && !refused(&policy, &format!("{upgrade}https://app.test")));
}

#[test]
fn answers_say_who_may_read_them_whatever_the_upstream_says() {
    let policy = policy(&[APP]);
    let upstream =
        "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-Secret\r\n";
    let listed = answered(&policy, "GET / HTTP/1.1\r\nHost: api.test\r\nOrigin: https://app.test", upstream);
    assert!(listed.contains("\r\naccess-control-allow-origin: https://app.test\r\n") && !listed.contains(": *"), "{listed}");
    assert!(
        listed.contains("\r\naccess-control-allow-credentials: true\r\n")
            && listed.contains("\r\naccess-control-expose-headers: x-seen\r\n")
    );
    for origin in ["Origin: https://evil.test", "Origin: null", "X-None: 1"] {
        let other = answered(&policy, &format!("GET / HTTP/1.1\r\nHost: api.test\r\n{origin}"), upstream);
        assert!(!other.contains("access-control") && other.contains("\r\nvary: origin\r\n"), "{origin}: {other}");
    }
    let varied = answered(&policy, "GET / HTTP/1.1\r\nHost: api.test", "Vary: Accept, Origin\r\n");
    assert_eq!(varied.matches("rigin").count(), 1, "{varied}");
}

#[test]
fn every_origin_is_a_star_without_credentials() {
    let policy = policy(&["{\"origins\":[\"*\"]}"]);
    let answer = answered(&policy, "GET / HTTP/1.1\r\nHost: api.test\r\nOrigin: https://any.test", "");
    assert!(
        answer.contains("access-control-allow-origin: *\r\n") && !answer.contains("credentials") && !answer.contains("vary"),
        "{answer}"
    );
}

#[test]
fn the_innermost_off_is_off_and_levels_only_narrow() {
    let off = policy(&[APP, "\"off\""]);
    assert!(off.grant_preflight(&exchange("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https).request).is_none());
    assert!(
        answered(&off, "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://app.test", "Access-Control-Allow-Origin: *\r\n")
            .contains(": *")
    );
    let narrowed = policy(&[APP, "{\"origins\":[\"https://app.test\"],\"headers\":[\"x-one\"],\"max_age\":\"5s\"}"]);
    let (_, _, fields) = preflight(&narrowed, "Origin: https://app.test\r\nAccess-Control-Request-Method: GET");
    assert!(!fields.iter().any(|(name, _)| *name == "access-control-allow-credentials"), "{fields:?}");
    assert!(fields.contains(&("access-control-max-age", "5".to_owned())), "{fields:?}");
}

#[test]
fn only_what_browsers_send_is_an_origin() {
    let read = |text: &str| {
        let mut builder = TreeBuilder::new(FileId(0), 1, 1);
        builder.scalar(text, false, 1, 1).unwrap();
        Origin::decode(&builder.finish().unwrap().root(), &mut Diagnostics::default()).is_some()
    };
    for right in ["https://app.test", "http://localhost:3000", "https://[::1]:8443", "https://10.0.0.1", "*"] {
        assert!(read(right), "{right}");
    }
    for wrong in [
        "null",
        "app.test",
        "https://app.test/",
        "https://app.test:443",
        "http://app.test:80",
        "https://*.app.test",
        "https://App.test",
        "https://u@app.test",
        "https://app.test:0443",
        "https://app.test:",
        "https://",
        "ftp://app.test",
        "https://[0::1]",
    ] {
        assert!(!read(wrong), "{wrong}");
    }
}
