use super::config::HeaderRules;
use super::{compile, template::Template};
use crate::testing::{exchange, settings};
use portcullis_gateway_policy::{Exchange, LiveFiles, Policy, Scheme, Step, Verdict};
use portcullis_wire::{HeadLimits, Method, ResponseHead};
use std::sync::Arc;

fn policy(levels: &[&str]) -> Arc<dyn Policy> {
    compile(&levels.iter().map(|level| settings::<HeaderRules>(level)).collect::<Vec<_>>(), &LiveFiles::default()).unwrap()
}

fn routed(head: &str) -> Exchange {
    let mut exchange = exchange(head, Scheme::Https);
    exchange.record.route = Some("list".into());
    exchange.record.api = Some("orders".into());
    exchange
}

fn forwarded(policy: &Arc<dyn Policy>, lines: &str) -> String {
    let mut exchange = routed(&format!("GET / HTTP/1.1\r\nHost: api.test\r\n{lines}\r\n"));
    assert!(matches!(policy.on_request(&mut exchange), Step::Ready(Verdict::Continue)));
    let mut out = Vec::new();
    exchange.request.write_to(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn fields_of_requests_are_set_added_and_removed() {
    let policy = policy(&[
        "{\"request\":{\"set\":{\"X-Tenant\":\"acme\"},\"remove\":[\"X-Debug\"]}}",
        "{\"request\":{\"add\":{\"X-Tag\":\"b\"}}}",
    ]);
    let seen = forwarded(&policy, "X-Tag: a\r\nX-Debug: 1\r\nX-Tenant: evil\r\n");
    assert!(seen.contains("\r\nx-tag: a\r\n") && seen.contains("\r\nx-tag: b\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-tenant: acme\r\n") && !seen.contains("evil") && !seen.contains("x-debug"), "{seen}");
}

#[test]
fn c57_a_client_cannot_slip_an_alias_past_a_rule() {
    let policy = policy(&["{\"request\":{\"set\":{\"X-Tenant\":\"acme\"},\"remove\":[\"X_Debug\"]}}"]);
    for lines in
        ["X_Tenant: evil\r\n", "x.tenant: evil\r\n", "X-TENANT: evil\r\nX_tenant: evil\r\n", "X-Debug: evil\r\nx.debug: evil\r\n"]
    {
        let seen = forwarded(&policy, lines);
        assert!(!seen.contains("evil") && seen.contains("\r\nx-tenant: acme\r\n"), "{lines}: {seen}");
    }
}

#[test]
fn variables_stand_for_what_the_gateway_knows() {
    let policy = policy(&[
        "{\"request\":{\"set\":{\"X-A\":\"{api}/{route} {{{client.ip}}} on {host} by {listener}\",\"X-Id\":\"{request.id}\"}}}",
    ]);
    let seen = forwarded(&policy, "");
    assert!(seen.contains("\r\nx-a: orders/list {192.0.2.1} on api.test by l\r\n"), "{seen}");
    let id = seen.split("x-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[test]
fn fields_of_answers_are_changed_too() {
    let policy =
        policy(&["{\"response\":{\"set\":{\"X-Api\":\"{api}\"},\"remove\":[\"X-Internal\"],\"add\":{\"Link\":\"</docs>\"}}}"]);
    let mut response = ResponseHead::default();
    let head =
        b"HTTP/1.1 200 OK\r\nX_Internal: secret\r\nx-internal: secret\r\nX-Api: other\r\nLink: </a>\r\nContent-Length: 0\r\n\r\n";
    response.parse(head, &HeadLimits::default(), Method::Get).unwrap();
    policy.on_response(&routed("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &mut response);
    let mut out = Vec::new();
    response.write_to(&mut out, response.framing(), None, false);
    let seen = String::from_utf8(out).unwrap();
    assert!(!seen.contains("secret") && !seen.contains("other") && seen.contains("\r\nx-api: orders\r\n"), "{seen}");
    assert_eq!(seen.matches("\r\nlink: ").count(), 2, "{seen}");
}

#[test]
fn values_with_line_ends_or_unknown_variables_are_no_templates() {
    for text in [
        "a\r\nX: y",
        "a\nb",
        "\u{1b}[0m",
        "caf\u{e9}",
        " a",
        "a ",
        "",
        "{",
        "}",
        "{client.ip",
        "{nobody}",
        "{principal.tenant}",
        "{consumer.name}",
        "a{}b",
    ] {
        let refused = Template::new(text).is_err();
        assert!(refused, "{text:?}");
    }
    assert!(Template::new("{principal.tenant}").unwrap_err().0.contains("not available in this version"));
    assert!(Template::new(&"a".repeat(1025)).is_err());
}

#[test]
fn who_is_calling_is_told_in_one_spelling_and_only_by_the_gateway() {
    let principal = |subject: &str, client: Option<&str>| portcullis_model::Principal {
        provider: "corp".into(),
        subject: subject.into(),
        client: client.map(Into::into),
        consumer: None,
        grants: portcullis_model::Grants::none(0),
        expires_unix_seconds: 0,
        ends_unix_seconds: 0,
        issued_unix_seconds: 0,
        marks: Box::default(),
    };
    let value = |who: Option<portcullis_model::Principal>| {
        let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https);
        if let Some(who) = who {
            exchange.identify(std::sync::Arc::new(who));
        }
        let mut out = Vec::new();
        Template::new("{principal.provider}:{principal.subject}:{principal.client}").unwrap().write(&mut out, &exchange);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(value(Some(principal("alice@a.test", Some("shop")))), "corp:alice@a.test:shop");
    assert_eq!(value(Some(principal(" %\u{e9}, b", None))), "corp:%20%25%C3%A9,%20b:-");
    assert_eq!(value(None), "-:-:-");
}
