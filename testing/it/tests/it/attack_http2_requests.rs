//! What HTTP/2 adds to threats A and B: heads that HTTP/1 cannot say, and lengths that are not true.

use crate::http2_site::{SecureSite, secure_site};
use portcullis_testing_kit::http2::{END_STREAM, Outcome, get_fields, kind};

/// A request with one field more or one thing else is refused: reset, or answered with 400, and never forwarded.
fn refuses(site: &SecureSite, fields: &[(&str, &str)]) {
    let outcome = site.client().headers(1, fields, true).outcome(1);
    let refused = matches!(outcome, Outcome::Reset(_) | Outcome::GoAway(_) | Outcome::Answered(400 | 405 | 421 | 501));
    assert!(refused, "{outcome:?} to {fields:?}");
}

#[test]
fn a30_names_and_values_that_http_1_does_not_have_are_refused() {
    let site = secure_site();
    for (name, value) in [
        ("x-a", "b\r\nx-evil: 1"),
        ("x-a", "b\nc"),
        ("x-a", "b\rc"),
        ("x-a", "b\0c"),
        ("x-a", " b"),
        ("x-a", "b "),
        ("x-a\r\nx-evil", "b"),
        ("x-a:", "b"),
        ("x a", "b"),
        ("X-A", "b"),
        ("", "b"),
        ("x-\u{e9}", "b"),
        (":evil", "b"),
        ("cookie", "a=1\r\nx: y"),
    ] {
        refuses(&site, &[get_fields("/bad"), vec![(name, value)]].concat());
    }
    for (name, value) in [
        (":path", "/a\r\nx-evil: 1"),
        (":path", "/a b"),
        (":path", "/a\0"),
        (":path", ""),
        (":method", "GET / HTTP/1.1\r\nx-evil: 1"),
        (":method", "GE T"),
        (":method", ""),
        (":authority", "a.test\r\nx-evil: 1"),
        (":authority", "a.test@b.test"),
        (":authority", "a.test b"),
        (":authority", ""),
        (":scheme", "http"),
        (":scheme", "https://evil/"),
        (":scheme", "ht tps"),
    ] {
        let fields: Vec<_> =
            get_fields("/bad").into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect();
        refuses(&site, &fields);
    }
    assert_eq!(site.witness.bytes(), 0);
    site.serves();
}

#[test]
fn a30_pseudo_fields_come_first_once_and_are_known() {
    let site = secure_site();
    let without = |name: &str| get_fields("/bad").into_iter().filter(|field| field.0 != name).collect::<Vec<_>>();
    for name in [":method", ":scheme", ":path", ":authority"] {
        refuses(&site, &without(name));
        refuses(
            &site,
            &[get_fields("/bad"), vec![("x-a", "b")], get_fields("/bad").into_iter().filter(|f| f.0 == name).collect()].concat(),
        );
        refuses(
            &site,
            &[without(name), vec![("x-a", "b")], get_fields("/bad").into_iter().filter(|f| f.0 == name).collect()].concat(),
        );
    }
    refuses(&site, &[get_fields("/bad"), vec![(":status", "200")]].concat());
    refuses(&site, &[get_fields("/bad"), vec![("host", "b.test")]].concat());
    refuses(&site, &[get_fields("/bad"), vec![("host", "a.test"), ("host", "a.test")]].concat());
    assert_eq!(site.witness.bytes(), 0);
    let both = [get_fields("/both"), vec![("host", "A.test")]].concat();
    assert_eq!(site.client().headers(1, &both, true).outcome(1), Outcome::Answered(200));
    assert_eq!(site.witness.sole_text().matches("host: a.test\r\n").count(), 2, "one is x-forwarded-host");
}

#[test]
fn a31_a_content_length_that_is_not_the_contents_reaches_nobody() {
    let site = secure_site();
    for (declared, data) in [("2", "abc"), ("4", "abc"), ("+3", "abc"), ("3, 3", "abc"), ("", "abc"), ("3", ""), ("0", "abc")] {
        let mut client = site.client();
        // A head that announces no content may go on before what contradicts it has come.
        let path = if declared == "0" { "/none" } else { "/length" };
        client.headers(1, &[get_fields(path), vec![("content-length", declared)]].concat(), false);
        client.frame(kind::DATA, END_STREAM, 1, data.as_bytes());
        let outcome = client.outcome(1);
        assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Answered(400)), "{declared:?} for {data:?}: {outcome:?}");
    }
    assert!(site.witness.texts().iter().all(|text| !text.contains("abc")), "{:#?}", site.witness.texts());
    refuses(&site, &[get_fields("/length"), vec![("content-length", "3"), ("content-length", "3")]].concat());
    refuses(&site, &[get_fields("/length"), vec![("content-length", "5")]].concat());
    // Whatever was begun upstream was never completed.
    assert_eq!(site.reached("/length"), 0, "{:#?}", site.witness.texts());
}

#[test]
fn a31_fields_of_a_connection_and_other_methods_smuggle_nothing() {
    let site = secure_site();
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=1"),
        ("proxy-connection", "close"),
        ("upgrade", "websocket"),
        ("te", "chunked"),
        ("te", "trailers, chunked"),
    ] {
        refuses(&site, &[get_fields("/hop"), vec![(name, value)]].concat());
    }
    refuses(&site, &[(":method", "CONNECT"), (":authority", "a.test:443")]);
    assert_eq!(site.witness.bytes(), 0);
    let trailers = [get_fields("/hop"), vec![("te", "trailers")]].concat();
    assert_eq!(site.client().headers(1, &trailers, true).outcome(1), Outcome::Answered(200));
    assert!(!site.witness.sole_text().contains("\r\nte:"));
}

#[test]
fn b49_a_path_without_its_slash_is_refused() {
    let site = secure_site();
    for path in ["admin/x", "http://a.test/admin", "*", "?a", "%2fadmin"] {
        refuses(&site, &get_fields(path));
    }
    assert_eq!(site.witness.bytes(), 0);
}
