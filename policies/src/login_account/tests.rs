use super::{LoginAccount, canonical_account, compile};
use crate::testing::{exchange, settings};
use portcullis_gateway_policy::{BodyBudget, HeldBody, LiveFiles, Scheme, Step, Verdict};
use portcullis_model::Reason;
use std::sync::Arc;

/// The account that is found, where the request is good.
fn found(written: &str, target: &str, fields: &str, body: &str) -> Option<String> {
    let policy = compile(&[settings::<LoginAccount>(written)], &LiveFiles::default()).unwrap();
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n");
    let mut exchange = exchange(&head, Scheme::Https);
    let passes = |step: Step<'_>| match step {
        Step::Ready(Verdict::Continue) | Step::Body(_) => true,
        Step::Ready(Verdict::Reject(rejection)) if rejection.reason == Reason::LoginFieldInvalid => false,
        _ => panic!("neither continues nor refuses"),
    };
    if !passes(policy.on_request(&mut exchange)) {
        return None;
    }
    let mut held = HeldBody::begin(&Arc::new(BodyBudget::default()));
    assert!(held.add(body.as_bytes()));
    exchange.body = Some(held);
    if !passes(policy.on_body(&mut exchange)) {
        return None;
    }
    exchange.record.login.as_ref().map(|login| login.account.to_string())
}

const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

#[test]
fn e122_one_account_has_one_name_however_it_is_spelt() {
    let domains = ["example.com".into()];
    for text in [
        "bob",
        "Bob",
        "BOB ",
        " bob\t",
        "bob@example.com",
        "Bob@EXAMPLE.com ",
        "ＢＯＢ",
        "b\u{200b}ob",
        "bo\u{ad}b",
        "ｂob＠example.com",
    ] {
        assert_eq!(canonical_account(text, &domains).as_deref(), Some("bob"), "{text:?}");
    }
    for (text, name) in [("bob@other.test", "bob@other.test"), ("Straße", "strasse"), ("STRASSE", "strasse"), ("\u{212a}im", "kim")]
    {
        assert_eq!(canonical_account(text, &domains).as_deref(), Some(name), "{text:?}");
    }
    for text in ["", " ", "\u{200b}", "@example.com", &"x".repeat(257)] {
        assert_eq!(canonical_account(text, &domains), None, "{text:?}");
    }
}

#[test]
fn the_account_is_found_where_it_is_declared() {
    let json = r#"{"json":"username"}"#;
    assert_eq!(found(json, "/", JSON, r#"{"username":"Bob","password":"x"}"#).as_deref(), Some("bob"));
    assert_eq!(found(r#"{"json":"/user/na~1me"}"#, "/", JSON, r#"{"user":{"na/me":"bob"}}"#).as_deref(), Some("bob"));
    let form = r#"{"form":"user.name","domains":["Example.com"]}"#;
    assert_eq!(found(form, "/?a=b", FORM, "password=x%26&user.name=b%6Fb%40example.com").as_deref(), Some("bob"));
    assert_eq!(found(form, "/", FORM, "user.name=J%C3%B6rg+A").as_deref(), Some("jörg a"));
}

#[test]
fn e122_a_request_that_may_name_another_account_to_the_upstream_is_refused() {
    let json = r#"{"json":"username"}"#;
    for body in [
        r#"{"username":"a","username":"b"}"#,
        r#"{"username":"a","Username":"b"}"#,
        r#"{"username":"a","u\u017fername":"b"}"#,
        r#"{"Username":"a"}"#,
        r#"{"username":["a"]}"#,
        r#"{"user":"a"}"#,
        r#"["username"]"#,
        "username=a",
        "",
    ] {
        assert_eq!(found(json, "/", JSON, body), None, "{body}");
    }
    let good = r#"{"username":"a"}"#;
    for (target, fields) in [
        ("/?username=b", JSON),
        ("/?x=1&User%6Eame=b", JSON),
        ("/?username[]=b", JSON),
        ("/", FORM),
        ("/", ""),
        ("/", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"),
        ("/", "Content-Type: application/json\r\nContent-Type: application/json\r\n"),
    ] {
        assert_eq!(found(json, target, fields, good), None, "{target} {fields}");
    }
    let form = r#"{"form":"user_name"}"#;
    for body in [
        "user_name=a&user_name=b",
        "user_name=a&User_Name=b",
        "user_name=a&user.name=b",
        "user_name=a&user_name%5B%5D=b",
        "user_name=a;user_name=b",
        "user_name=a%ff",
        "user_name=a%2",
        "user_name",
        "x=y",
    ] {
        assert_eq!(found(form, "/", FORM, body), None, "{body}");
    }
}
