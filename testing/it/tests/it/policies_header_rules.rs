//! The policy `header_rules`: fields that the gateway sets cannot be forged, and what is removed is gone under every name.

use crate::site::{get_with, site_with};
use portcullis_testing_kit::{Plain, Witness};

fn line<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let prefix = format!("{name}: ");
    request.split("\r\n").filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
}

#[test]
fn c57_what_the_gateway_sets_cannot_be_forged_under_any_alias() {
    let site = site_with(|plain| {
        plain.api =
            "header_rules: { request: { set: { X-Tenant: acme, X-Where: \"{api}/{route} {client.ip}\" }, remove: [X-Debug] } }";
    });
    let seen = site.forwarded(get_with(
        "X-Tenant: evil\r\nX_Tenant: evil\r\nx.tenant: evil\r\nX-Debug: evil\r\nX_DEBUG: evil\r\nx-where: evil\r\nX-Kept: yes\r\n",
    ));
    assert!(!seen.contains("evil"), "{seen}");
    assert_eq!((line(&seen, "x-tenant"), line(&seen, "x-where")), (vec!["acme"], vec!["a/all 127.0.0.1"]), "{seen}");
    assert_eq!(line(&seen, "x-kept"), ["yes"]);
}

#[test]
fn levels_add_up() {
    let site = site_with(|plain| {
        plain.sections = "defaults: { header_rules: { request: { set: { X-One: \"1\" } }, response: { remove: [X-Internal] } } }";
        plain.api = "header_rules: { request: { set: { X-Two: \"2\" } } }";
    });
    let seen = site.forwarded(get_with(""));
    assert_eq!((line(&seen, "x-one"), line(&seen, "x-two")), (vec!["1"], vec!["2"]), "{seen}");
}

#[test]
fn answers_lose_and_gain_fields_also_when_the_gateway_answers_itself() {
    let witness = Witness::answering("HTTP/1.1 200 OK\r\nX-Internal: secret\r\nx_internal: secret\r\nContent-Length: 2\r\n\r\nok");
    let mut plain = Plain::to(witness.address());
    plain.sections = "defaults: { header_rules: { response: { remove: [X-Internal], set: { X-Id: \"{request.id}\" } } } }";
    let gateway = plain.start();
    let response = gateway.get("/x");
    assert!(response.status == 200 && !response.head.contains("secret"), "{}", response.head);
    assert_eq!(response.field("x-id"), response.field("x-request-id").or(response.field("x-id")));
    assert_eq!(response.field("x-id").map(str::len), Some(32), "{}", response.head);
    let refused = gateway.get("/%00");
    assert_eq!((refused.status, refused.field("x-id").map(str::len)), (400, Some(32)), "{}", refused.head);
}
