//! The policy `disabled`: what is turned off or refused never reaches the upstream, and only the log says why.

use crate::site::{Site, get_with, site_with};
use portcullis_testing_kit::{Plain, Response, Witness, ask, binary, get};
use std::process::Command;

fn site(api: &'static str) -> Site {
    site_with(|plain| {
        plain.api = api;
        plain.routes = "- { name: list, methods: [GET, HEAD], path: \"/list\", access: { public: true } }\n\
                        - { name: export, methods: [GET, POST], path: \"/export\", access: { public: true } }\n\
                        - { name: all, methods: [GET, POST], path: \"/{*rest}\", access: { public: true } }";
    })
}

#[track_caller]
fn is_refused(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status, response.code().as_str()), (status, code), "{}{}", response.head, response.text());
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
    assert_eq!(response.field("x-content-type-options"), Some("nosniff"), "a refusal passes the policies' answers");
}

#[test]
fn a_route_that_is_turned_off_answers_503_and_only_the_log_says_why() {
    let site = site("disabled: { routes: [export], reason: INC-17 takes the database down }");
    let response = site.gateway.get("/export");
    is_refused(&response, 503, "disabled");
    assert!(!response.text().contains("INC-17") && !response.head.contains("INC-17"), "{}", response.text());
    assert_eq!(site.gateway.get("/list").status, 200);
    assert_eq!(site.witness.texts().len(), 1, "what is off did not arrive");
    let record = site.gateway.record_of("disabled");
    assert_eq!((record["route"].as_str(), record["status"].as_u64()), (Some("export"), Some(503)));
    assert!(record["detail"].as_str().is_some_and(|detail| detail.contains("INC-17 takes the database down")), "{record}");
    assert_eq!(record["verdicts"]["disabled"], "reject", "{record}");
}

#[test]
fn a_switch_is_thrown_by_a_reload_and_taken_back_by_another() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    let gateway = plain.start();
    assert_eq!(gateway.get("/x").status, 200);
    plain.api = "disabled: { all: true, reason: maintenance }";
    gateway.configure(&plain.yaml());
    gateway.reaches_generation(2);
    is_refused(&gateway.get("/x"), 503, "disabled");
    plain.api = "";
    gateway.configure(&plain.yaml());
    gateway.reaches_generation(3);
    assert_eq!(gateway.get("/x").status, 200);
}

#[test]
fn a_request_with_a_body_is_refused_without_its_body_and_the_connection_goes_on_in_order() {
    let site = site("disabled: { all: true, reason: maintenance }");
    let request = "POST /export HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello\
                   GET /list HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let responses = ask(site.http(), request);
    assert_eq!(responses.iter().map(|response| response.status).collect::<Vec<_>>(), [503, 503]);
    assert_eq!(site.witness.texts(), Vec::<String>::new());
}

const PATCH: &str = "disabled: { refuse: [ { methods: [GET], path: ^/(list|export), header: { x-kind: ^evil$ }, reason: INC-18, owner: ops, expires: 2099-01-01 } ] }";

#[test]
fn a_virtual_patch_refuses_what_it_describes_and_nothing_else() {
    let site = site(PATCH);
    is_refused(
        &site.answer("GET /list HTTP/1.1\r\nHost: a.test\r\nX-Kind: evil\r\nConnection: close\r\n\r\n"),
        403,
        "request_refused",
    );
    assert_eq!(site.witness.texts(), Vec::<String>::new());
    assert!(site.gateway.record_of("request_refused")["detail"].as_str().is_some_and(|detail| detail.contains("INC-18")));
    for request in [
        "GET /list HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        "GET /list HTTP/1.1\r\nHost: a.test\r\nX-Kind: good\r\nConnection: close\r\n\r\n",
        "POST /export HTTP/1.1\r\nHost: a.test\r\nX-Kind: evil\r\nConnection: close\r\n\r\n",
        "GET /other HTTP/1.1\r\nHost: a.test\r\nX-Kind: evil\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(site.answer(request).status, 200, "{request}");
    }
}

#[test]
fn b52_a_patch_looks_at_every_value_of_a_header() {
    let site = site("disabled: { refuse: [ { header: { x: ^evil$ }, reason: r, expires: 2099-01-01 } ] }");
    for lines in ["X: good\r\nX: evil\r\n", "X: evil\r\nX: good\r\n", "X: good, evil\r\n", "x: evil\r\n", "X: good,evil,good\r\n"] {
        is_refused(&site.answer(get_with(lines)), 403, "request_refused");
    }
    assert_eq!(site.witness.texts(), Vec::<String>::new());
    assert_eq!(site.answer(get_with("X: good\r\nX: evils\r\n")).status, 200);
}

#[test]
fn b46_a_patch_by_the_query_sees_every_spelling_of_it() {
    let site = site("disabled: { refuse: [ { query: { q: union select }, reason: r, expires: 2099-01-01 } ] }");
    for query in ["q=union+select", "q=union%20select", "%71=unio%6e+select", "a=1&q=x&q=1+union+select"] {
        is_refused(&get(site.http(), "a.test", &format!("/x?{query}")), 403, "request_refused");
    }
    assert_eq!(site.witness.texts(), Vec::<String>::new());
    assert_eq!(get(site.http(), "a.test", "/x?q=union").status, 200);
}

#[test]
fn b36_a_patch_by_the_path_cannot_be_spelt_around() {
    let site = site("disabled: { refuse: [ { path: ^/admin, reason: r, expires: 2099-01-01 } ] }");
    for path in ["/admin", "/%61dmin/x", "/a%64min"] {
        is_refused(&get(site.http(), "a.test", path), 403, "request_refused");
    }
    for path in ["//admin", "/x/../admin", "/./admin"] {
        assert_eq!(get(site.http(), "a.test", path).status, 400, "{path}");
    }
    assert_eq!(site.witness.texts(), Vec::<String>::new());
}

#[test]
fn d99_the_longest_head_against_a_pattern_that_would_backtrack_is_served_beside_others() {
    let site = site_with(|plain| {
        plain.listener = "limits: { headers_bytes_max: 1MiB }";
        plain.api = "disabled: { refuse: [ { header: { x: \".*.*=.*\" }, reason: r, expires: 2099-01-01 }, \
                     { header: { x: \"(x+x+)+y\" }, reason: r, expires: 2099-01-01 } ] }";
    });
    let long = "x".repeat((1 << 20) - 1024);
    for _ in 0..8 {
        assert_eq!(site.answer(get_with(&format!("X: {long}\r\n"))).status, 200);
    }
    is_refused(&site.answer(get_with(&format!("X: {long}=\r\n"))), 403, "request_refused");
}

#[test]
fn a_patch_whose_day_has_come_stays_in_force_and_everybody_is_told() {
    let site = site("disabled: { refuse: [ { path: ^/list, reason: INC-18, owner: ops, expires: 2020-01-31 } ] }");
    is_refused(&site.gateway.get("/list"), 403, "request_refused");
    assert!(site.gateway.stderr().contains("INC-18") && site.gateway.stderr().contains("2020-01-31"), "{}", site.gateway.stderr());
    let run = |args: &[&str]| {
        let output = Command::new(binary()).args(args).current_dir(site.gateway.folder()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = run(&["check", "--format", "text", "--config", "portcullis.yaml"]);
    assert!(told.contains("the rule `INC-18` was to be looked at on `2020-01-31`, and is still in force"), "{told}");
    let told = run(&["status", "--format", "text", "--socket", "run/portcullis.sock"]);
    assert!(told.contains("/apis/a/disabled/refuse/0/expires") && told.contains("overdue and still in force"), "{told}");
}
