use super::config::Disabled;
use super::{compile, pattern::Pattern};
use crate::testing::{exchange, settings};
use portcullis_gateway_policy::{LiveFiles, Policy, Scheme, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use std::sync::Arc;

fn policy(levels: &[&str]) -> Arc<dyn Policy> {
    compile(&levels.iter().map(|level| settings::<Disabled>(level)).collect::<Vec<_>>(), &LiveFiles::default()).unwrap()
}

fn refused(policy: &Arc<dyn Policy>, head: &str) -> Option<Rejection> {
    let mut exchange = exchange(head, Scheme::Https);
    exchange.record.route = Some("export".into());
    match policy.on_request(&mut exchange) {
        Step::Ready(Verdict::Continue) => None,
        Step::Ready(Verdict::Reject(rejection)) => Some(rejection),
        _ => panic!("neither continues nor rejects"),
    }
}

/// Whether a rule with these conditions refuses a GET of this target with these field lines.
fn refuses(conditions: &str, target: &str, lines: &str) -> bool {
    let policy = policy(&[&format!("{{\"refuse\":[{{{conditions},\"reason\":\"INC-1\",\"expires\":\"2099-01-01\"}}]}}")]);
    let refused = refused(&policy, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    assert!(refused.as_ref().is_none_or(|why| why.reason == Reason::RequestRefused && why.detail.contains("INC-1")));
    refused.is_some()
}

#[test]
fn what_is_off_is_off_at_whatever_level_it_was_turned_off() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for levels in [
        &["{\"all\":true,\"reason\":\"INC-1\"}"][..],
        &["{\"all\":true,\"reason\":\"INC-1\"}", "{\"refuse\":[]}"],
        &["{\"routes\":[\"list\",\"export\"],\"reason\":\"INC-1\"}"],
        &["{\"routes\":[\"list\"],\"reason\":\"other\"}", "{\"reason\":\"INC-1\"}"],
    ] {
        let rejection = refused(&policy(levels), head).unwrap();
        assert_eq!((rejection.reason, rejection.status()), (Reason::Disabled, 503), "{levels:?}");
        assert_eq!(rejection.detail, "disabled: INC-1", "{levels:?}");
        assert!(!rejection.reason.public().contains("INC-1"));
    }
    assert!(refused(&policy(&["{\"routes\":[\"list\"],\"reason\":\"x\"}"]), head).is_none());
}

#[test]
fn a_route_that_is_not_known_does_not_get_past_a_switch() {
    let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https);
    let policy = policy(&["{\"routes\":[\"list\"],\"reason\":\"x\"}"]);
    assert!(matches!(policy.on_request(&mut exchange), Step::Ready(Verdict::Reject(_))));
}

#[test]
fn a_rule_refuses_only_what_everything_in_it_applies_to() {
    let rule = "\"methods\":[\"GET\"],\"path\":\"^/orders/\",\"header\":{\"X-Kind\":\"^bulk$\"},\"query\":{\"format\":\"xml\"}";
    assert!(refuses(rule, "/orders/1?format=xml", "X-Kind: bulk\r\n"));
    assert!(!refuses(rule, "/orders?format=xml", "X-Kind: bulk\r\n"));
    assert!(!refuses(rule, "/orders/1?format=json", "X-Kind: bulk\r\n"));
    assert!(!refuses(rule, "/orders/1", "X-Kind: bulk\r\n"), "an absent parameter does not match");
    assert!(!refuses(rule, "/orders/1?format=xml", ""), "an absent field does not match");
    assert!(!refuses("\"methods\":[\"POST\"]", "/", ""));
}

#[test]
fn patterns_are_looked_for_anywhere_unless_they_are_anchored() {
    assert!(refuses("\"path\":\"admin\"", "/x/administration", ""));
    assert!(!refuses("\"path\":\"^/admin$\"", "/x/admin", ""));
    assert!(!refuses("\"path\":\"ADMIN\"", "/admin", "") && refuses("\"path\":\"(?i)ADMIN\"", "/admin", ""));
}

#[test]
fn b52_every_value_of_a_repeated_header_is_looked_at() {
    let rule = "\"header\":{\"x\":\"^evil$\"}";
    for lines in [
        "x: evil\r\n",
        "x: good\r\nx: evil\r\n",
        "x: evil\r\nx: good\r\n",
        "x: good, evil\r\n",
        "x: evil ,good\r\n",
        "X: good\r\nX: other, evil, more\r\n",
    ] {
        assert!(refuses(rule, "/", lines), "{lines:?}");
    }
    assert!(!refuses(rule, "/", "x: good\r\nx: evils\r\n"));
    assert!(refuses("\"header\":{\"x\":\"a, b\"}", "/", "x: a\r\nx: b\r\n"), "the values joined");
    assert!(refuses("\"header\":{\"x-kind\":\"evil\"}", "/", "X_Kind: evil\r\n"), "an alias of the name");
}

#[test]
fn every_value_and_spelling_of_a_parameter_is_looked_at() {
    let rule = "\"query\":{\"q\":\"^union select$\"}";
    for query in [
        "q=union%20select",
        "q=union+select",
        "q=a&q=union+select",
        "%71=union%20select",
        "Q=%75nion+select",
        "a=1&q=union%20select",
    ] {
        assert!(refuses(rule, &format!("/?{query}"), ""), "{query}");
    }
    assert!(!refuses(rule, "/?q=union", "") && !refuses(rule, "/?p=union+select", ""));
    assert!(refuses("\"query\":{\"a[b]\":\"1\"}", "/?a%5Bb%5D=1", ""));
    assert!(refuses("\"path\":\"/caf\u{e9}\"", "/caf%c3%a9", "") && refuses("\"path\":\"/caf%C3%A9\"", "/caf%c3%a9", ""));
}

#[test]
fn a_byte_that_is_no_text_hides_nothing() {
    let policy = policy(&["{\"refuse\":[{\"header\":{\"x\":\"^a.*b$\"},\"reason\":\"r\",\"expires\":\"2099-01-01\"}]}"]);
    let mut request = Box::<portcullis_wire::RequestHead>::default();
    let limits = portcullis_wire::HeadLimits::default();
    request.parse(b"GET / HTTP/1.1\r\nHost: a\r\nx: a\xff\xfeb\r\n\r\n", &limits).unwrap();
    let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https);
    exchange.request = request;
    assert!(matches!(policy.on_request(&mut exchange), Step::Ready(Verdict::Reject(_))));
}

#[test]
fn d99_a_pattern_that_would_backtrack_answers_on_a_mebibyte() {
    let pattern = Pattern::new(".*.*=.*").unwrap();
    let mut text = vec![b'x'; 1 << 20];
    assert!(!pattern.occurs_in(&text));
    text.push(b'=');
    assert!(pattern.occurs_in(&text));
    let nested = Pattern::new("(x+x+)+y").unwrap();
    assert!(!nested.occurs_in(&text));
}

#[test]
fn d100_patterns_that_are_too_large_are_refused_with_what_to_do() {
    for pattern in ["a{70000}", "(a{200}){200}", "((a{50}){50}){50}", "((((x{9}){9}){9}){9}){9}"] {
        let (what, help) = Pattern::new(pattern).unwrap_err();
        assert!(!what.is_empty() && !help.is_empty() && !what.contains('\n'), "{pattern}: {what}: {help}");
    }
    // Nothing, repeated without end, is nothing (CVE-2022-24713).
    for pattern in ["(?:){4294967295}", "(?:){64}{64}{64}{64}{64}{64}{64}"] {
        assert!(Pattern::new(pattern).is_ok_and(|pattern| pattern.occurs_in(b"")), "{pattern}");
    }
    let (what, _) = Pattern::new("(a{200}){200}").unwrap_err();
    assert!(what.contains("65536 bytes"), "{what}");
    assert!(Pattern::new(&"a".repeat(1025)).unwrap_err().0.contains("1025 bytes"));
    assert!(Pattern::new(&format!("{}a{}", "(".repeat(200), ")".repeat(200))).is_err());
    assert!(Pattern::new("(?=a)").unwrap_err().1.contains("linear time"));
    assert!(Pattern::new("(a)\\1").is_err());
}
