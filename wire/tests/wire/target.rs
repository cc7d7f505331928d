//! Where a request goes: threats A 14, 28 and B 36 to 55. Decisions are made on what is sent, so both are compared.

use crate::reading::{each_is_refused, get, read, refusal, sent};
use portcullis_model::Reason;
use portcullis_wire::query_pairs;

fn targets(targets: &[&str]) -> Vec<String> {
    targets.iter().map(|target| get(target)).collect()
}

#[test]
fn a14_b38_b39_a_fragment_is_refused_wherever_it_stands() {
    each_is_refused(Reason::PathAmbiguous, targets(&["/admin#x", "/pub#/../admin", "/#", "http://a.test/pub#x"]));
    each_is_refused(Reason::QueryAmbiguous, targets(&["/pub?a=b#/admin", "/pub?#"]));
    assert!(refusal(get("http://a.test#/admin")).is_some());
}

#[test]
fn a28_no_escape_becomes_a_line_end_upstream() {
    each_is_refused(Reason::PathAmbiguous, targets(&["/pub/%0d%0aX:%20y", "/pub/%0a", "/pub/%0D", "/pub/%00"]));
    let head = read(get("/pub?q=%0d%0aX:%20y")).unwrap();
    assert!(sent(&head).starts_with("GET /pub?q=%0D%0AX:%20y HTTP/1.1\r\n"));
}

#[test]
fn b36_b37_b40_b42_other_spellings_of_a_path_are_refused_in_every_form_of_target() {
    let paths = [
        "/pub/../admin",
        "/pub/%2e%2e/admin",
        "/pub/.%2E/admin",
        "/./admin",
        "/pub/..",
        "/pub/..%2fadmin",
        "/pub/a%2F%2Fb",
        "/pub/%2Fb",
        "/pub/a%2f/b",
        "/pub%5c..%5cadmin",
        "/pub\\admin",
        "/pub/..;/admin",
        "/admin;x=y",
        "/admin%3bx",
        "//admin",
        "/pub//admin",
        "/pub/%252e%252e/admin",
        "/pub/%25%32%65",
        "/%c0%ae%c0%ae/admin",
        "/admin%00",
        "/admin%09",
        "/%",
        "/%4",
        "/%zz",
    ];
    for path in paths {
        each_is_refused(Reason::PathAmbiguous, [get(path), get(&format!("http://a.test{path}")), get(&format!("{path}?a=b"))]);
    }
}

#[test]
fn b41_b43_what_is_decided_on_is_what_is_sent() {
    for (given, canonical) in [
        ("/%41dmin", "/Admin"),
        ("/ADMIN", "/ADMIN"),
        ("/api%2dv1/%7euser", "/api-v1/~user"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%2f", "/a%2F"),
        ("/a/", "/a/"),
        ("/a%3fb", "/a%3Fb"),
    ] {
        let head = read(get(given)).unwrap();
        assert_eq!(head.path(), canonical, "{given}");
        assert_eq!(head.path_has_encoded_slash(), canonical.contains("%2F"), "{given}");
        assert!(sent(&head).starts_with(&format!("GET {canonical} HTTP/1.1\r\n")), "{given}");
    }
}

#[test]
fn b44_b45_a_host_is_decided_on_and_sent_in_one_spelling() {
    for (given, host, port) in [
        ("A.Test", "a.test", None),
        ("a.test.", "a.test", None),
        ("a.TEST.:08443", "a.test", Some(8443)),
        ("[2001:DB8:0:0::1]:443", "[2001:db8::1]", Some(443)),
    ] {
        let head = read(format!("GET / HTTP/1.1\r\nHost: {given}\r\n\r\n")).unwrap();
        assert_eq!((head.host(), head.port()), (host, port), "{given}");
        let authority = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let sent = sent(&head);
        assert!(sent.contains(&format!("\r\nhost: {authority}\r\n")) && sent.matches("host:").count() == 1, "{sent}");
    }
}

#[test]
fn b45_there_is_exactly_one_host_and_it_is_one() {
    for lines in
        ["X: y", "Host: a.test\r\nHost: a.test", "Host: a.test\r\nhost: b.test", "Host:", "Host: a.test, b.test", "Host: a.test/x"]
    {
        for version in ["1.0", "1.1"] {
            each_is_refused(Reason::HostInvalid, [format!("GET / HTTP/{version}\r\n{lines}\r\n\r\n")]);
        }
    }
    each_is_refused(
        Reason::HostInvalid,
        targets(&[
            "http://b.test/",
            "http://a.test:80/",
            "http://a.test@b.test/",
            "http://b.test@a.test/",
            "http:///x",
            "http://a.test\\@b/",
        ]),
    );
}

#[test]
fn b49_a_target_is_a_path_or_a_uri_of_http() {
    for target in
        ["admin/x", "a.test/admin", "ftp://a.test/", "file:///etc/passwd", "http:/a.test/", "javascript:x", "?x", "*x", "a.test:80"]
    {
        assert!(refusal(get(target)).is_some(), "{target}");
    }
    each_is_refused(Reason::RequestMalformed, targets(&["*", "**"]));
    let head = read(get("*").replace("GET", "OPTIONS")).unwrap();
    assert!(head.is_asterisk() && sent(&head).starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn b49_the_absolute_form_is_the_path_behind_it() {
    for (target, path, query) in
        [("http://a.test/x?y", "/x", Some("y")), ("HTTPS://A.Test./x", "/x", None), ("http://a.test", "/", None)]
    {
        let head = read(get(target)).unwrap();
        assert_eq!((head.path(), head.query()), (path, query), "{target}");
        assert!(!sent(&head).contains("://"), "{target}");
    }
}

#[test]
fn b46_b47_a_query_is_read_in_one_way_and_sent_so() {
    let head = read(get("/p?a=1&%61=2;a=3&a[]=4&a")).unwrap();
    let query = head.query().unwrap();
    assert_eq!(query_pairs(query).collect::<Vec<_>>(), [("a", "1"), ("a", "2%3Ba=3"), ("a%5B%5D", "4"), ("a", "")]);
    assert!(sent(&head).starts_with(&format!("GET /p?{query} HTTP/1.1\r\n")));
    let question = read(get("/p?/pub?x")).unwrap();
    assert_eq!((question.path(), question.query()), ("/p", Some("/pub?x")));
    assert_eq!(read(get("/p?")).unwrap().query(), None);
}

#[test]
fn b52_a_field_that_comes_twice_has_no_sole_value() {
    let head = read("GET / HTTP/1.1\r\nHost: a.test\r\nX-Role: user\r\nx-role: admin\r\n\r\n").unwrap();
    assert_eq!(head.fields().sole_named("x-role"), None);
    let both: Vec<&[u8]> = head.fields().iter().filter(|(name, _)| *name == b"x-role").map(|(_, value)| value).collect();
    assert_eq!(both, [b"user".as_slice(), b"admin"]);
}

#[test]
fn b54_two_slashes_in_front_name_no_host() {
    each_is_refused(Reason::PathAmbiguous, targets(&["//admin/x", "//a.test/admin", "///admin", "/%2f/admin/../x"]));
}
