//! Threats B: a path, host or method has one spelling; every other is refused or brought to it before anything is decided.

use crate::site::{Site, site_with};
use portcullis_testing_kit::{Plain, RawClient, Witness, get};

/// `/pub/…` and nothing else.
const PUBLIC: &str = "- { name: pub, methods: [GET], path: \"/pub/{*rest}\", access: { public: true } }";

fn public() -> Site {
    site_with(|plain| plain.routes = PUBLIC)
}

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
}

/// Each target is refused as ambiguous, and nothing reaches the upstream.
fn refuses_each(targets: &[&str]) {
    let mut site = public();
    for target in targets {
        let response = site.answer(request(target));
        assert_eq!((response.status, response.code().as_str()), (400, "path_ambiguous"), "{target}: {}", response.text());
    }
    assert_eq!(site.witness.bytes(), 0);
    site.gateway.is_well();
}

#[test]
fn b36_dot_segments_in_every_spelling_are_refused() {
    refuses_each(&[
        "/pub/../admin",
        "/pub/./../admin",
        "/pub/..",
        "/pub/.",
        "/pub/%2e%2e/admin",
        "/pub/%2E%2E/admin",
        "/pub/.%2e/admin",
        "/pub/%2e./admin",
        "/pub/%2e/admin",
        "/pub/x/../../admin",
        "/pub/..%2fadmin",
        "/pub/%2e%2e%2fadmin",
        "/pub/..%5cadmin",
        "/pub/..\\admin",
        "/pub/%252e%252e/admin",
        "/pub/..;/admin",
        "/pub/..;x=y/admin",
        "/pub/%2e%2e;/admin",
        "/pub//../admin",
        "/pub/...//../admin",
        "/../pub/x",
        "/./pub/x",
    ]);
}

#[test]
fn b37_encoded_separators_are_refused() {
    refuses_each(&["/pub/x%2fy", "/pub/x%2Fy", "/pub/x%5cy", "/pub/x%5Cy", "/pub/x\\y", "/pub/%2f", "/pub/x%252fy"]);
}

#[test]
fn b37_a_route_may_keep_encoded_slashes_and_nothing_else() {
    let site = site_with(|plain| {
        plain.routes = "- { name: keep, methods: [GET], path: \"/pub/{id}\", access: { public: true }, encoded_slash: keep }";
    });
    let seen = site.forwarded(request("/pub/a%2fb"));
    assert!(seen.starts_with("GET /pub/a%2Fb HTTP/1.1\r\n"), "{seen}");
    // Still one segment for the route, so a dot segment inside of it would be hidden.
    // And an empty one would be `//` to whoever decodes it.
    for target in [
        "/pub/..%2fadmin",
        "/pub/a%2f..%2fb",
        "/pub/a%2f%2e%2e",
        "/pub/a%5cb",
        "/pub/a%2F%2Fb",
        "/pub/%2fadmin",
        "/pub/a%2f/b",
        "/pub/%2f%2fa.test",
    ] {
        let answer = site.answer(request(target));
        assert_eq!((answer.status, answer.code().as_str()), (400, "path_ambiguous"), "{target}");
    }
    assert_eq!(site.answer(request("/pub/a/b")).status, 404);
}

#[test]
fn b38_b39_fragments_are_refused() {
    let site = public();
    for target in ["/admin#x", "/pub#/../admin", "/pub/x#", "/pub/x?q#y"] {
        assert_eq!(site.answer(request(target)).status, 400, "{target}");
    }
    assert_eq!(site.witness.bytes(), 0);
}

#[test]
fn b40_escapes_that_other_readers_decode_are_refused() {
    refuses_each(&[
        "/pub/%00",
        "/pub/x%0a",
        "/pub/x%0d%0aX:y",
        "/pub/%7f",
        "/pub/x;y",
        "/pub/x%3by",
        "/pub/%c0%af",
        "/pub/%c0%ae%c0%ae/admin",
        "/pub/%e0%80%af",
        "/pub/%ed%a0%80",
        "/pub/%ff",
        "/pub/%",
        "/pub/%2",
        "/pub/%zz",
        "/pub/%u002e",
        "/pub/%25%32%65",
        "/pub/x%2523",
    ]);
}

#[test]
fn a28_line_ends_in_a_path_are_refused() {
    refuses_each(&["/pub/%0d%0aX:%20y", "/pub/%0aX:%20y", "/pub/%0d", "/pub/%0D%0A%0D%0AGET%20/admin"]);
}

#[test]
fn b41_what_was_decided_is_what_is_sent() {
    let site = public();
    for (written, canonical) in [
        ("/pub/x", "/pub/x"),
        ("/p%75b/x", "/pub/x"),
        ("/pub/%7euser", "/pub/~user"),
        ("/pub/%41dmin", "/pub/Admin"),
        ("/pub/a%20b", "/pub/a%20b"),
        ("/pub/%c3%a4", "/pub/%C3%A4"),
        ("/pub/a%3fb", "/pub/a%3Fb"),
        ("/pub/a%23b", "/pub/a%23b"),
        ("/pub/x/", "/pub/x/"),
        ("/pub/api..x", "/pub/api..x"),
        ("/pub/...", "/pub/..."),
        ("/pub/x?", "/pub/x"),
        ("http://a.test/pub/x", "/pub/x"),
    ] {
        let seen = site.forwarded(request(written));
        assert!(seen.starts_with(&format!("GET {canonical} HTTP/1.1\r\n")), "{written}: {seen}");
    }
    let count = site.witness.requests().len();
    for record in site.gateway.records_when(count) {
        let (id, logged) = (record["request_id"].as_str().expect("an id"), record["path"].as_str().expect("a path"));
        let sent = site.witness.texts().into_iter().find(|sent| sent.contains(&format!("x-request-id: {id}"))).expect("sent");
        assert!(sent.starts_with(&format!("GET {logged} HTTP/1.1")), "logged {logged}, sent {sent}");
    }
}

#[test]
fn b41_what_lies_beside_a_base_path_is_not_below_it() {
    let witness = Witness::ok();
    let plain = Plain::to(witness.address());
    let yaml = plain.yaml().replace("base_path: /", "base_path: /api");
    let gateway = portcullis_testing_kit::Gateway::start(&yaml);
    for target in ["/apix", "/api%2e/admin/x", "/api..%2fadmin", "/api//admin", "/api/../admin", "/api/%2e%2e/admin", "/ap%69./x"] {
        let status = get(gateway.http(), "a.test", target).status;
        assert!(matches!(status, 400 | 404), "{target}: {status}");
    }
    assert_eq!(witness.bytes(), 0);
    assert_eq!(get(gateway.http(), "a.test", "/ap%69/x").status, 200);
    assert!(witness.sole_text().starts_with("GET /api/x HTTP/1.1\r\n"));
}

#[test]
fn b42_a_permissive_route_does_not_lead_out_of_itself() {
    refuses_each(&["/pub/../admin", "/pub/%2e%2e/admin", "/pub/x/..%2f..%2fadmin"]);
}

#[test]
fn b43_paths_are_matched_by_their_case_and_decoded_once() {
    let site = site_with(|plain| plain.routes = "- { name: admin, methods: [GET], path: \"/admin\", access: { public: true } }");
    for target in ["/ADMIN", "/Admin", "/%41dmin", "/admin/", "/adm%2569n"] {
        let status = site.answer(request(target)).status;
        assert!(matches!(status, 400 | 404), "{target}: {status}");
    }
    assert_eq!(site.witness.bytes(), 0);
    let seen = site.forwarded(request("/%61dmin"));
    assert!(seen.starts_with("GET /admin HTTP/1.1\r\n"), "{seen}");
}

#[test]
fn b44_hosts_are_matched_without_case_however_many_there_are() {
    let witness = Witness::ok();
    let hosts: Vec<String> = (0..150).map(|number| format!("h{number}.test")).collect();
    let yaml = Plain::to(witness.address()).yaml().replace("hosts: [\"*\"]", &format!("hosts: [{}]", hosts.join(", ")));
    let gateway = portcullis_testing_kit::Gateway::start(&yaml);
    for host in ["h0.test", "H0.TEST", "h149.test", "H149.Test"] {
        assert_eq!(get(gateway.http(), host, "/x").status, 200, "{host}");
    }
    for host in ["h150.test", "H150.TEST", "xh0.test", "h0.test.evil"] {
        assert_eq!(get(gateway.http(), host, "/x").status, 404, "{host}");
    }
}

#[test]
fn b45_every_spelling_of_a_host_gets_the_same_decision() {
    let witness = Witness::ok();
    let yaml = Plain::to(witness.address()).yaml().replace("hosts: [\"*\"]", "hosts: [a.test, \"*.w.test\"]");
    let gateway = portcullis_testing_kit::Gateway::start(&yaml);
    for host in ["a.test", "A.TEST", "a.test.", "a.test:80", "A.test.:8080", "x.w.test", "X.W.TEST.", "x.y.w.test"] {
        assert_eq!(get(gateway.http(), host, "/x").status, 200, "{host}");
    }
    for host in ["b.test", "w.test", "xw.test", "a.test.evil.test", "127.0.0.1", "[::1]"] {
        assert_eq!(get(gateway.http(), host, "/x").status, 404, "{host}");
    }
    for host in [
        "",
        "a.test..",
        "a..test",
        ".a.test",
        "a.test:",
        "a.test:0",
        "a.test:99999",
        "a.test:x",
        "u@a.test",
        "a.test/x",
        "a.test, b.test",
        "a test",
        "[::1",
        "[fe80::1%25eth0]",
        "a.test\\x",
        "ä.test",
    ] {
        let response = get(gateway.http(), host, "/x");
        assert_eq!((response.status, response.code().as_str()), (400, "host_invalid"), "{host:?}");
    }
}

#[test]
fn b45_a_request_has_exactly_one_host() {
    let mut site = public();
    site.refuses("GET /pub/x HTTP/1.1\r\n\r\n", 400, "host_invalid");
    site.refuses("GET /pub/x HTTP/1.0\r\n\r\n", 400, "host_invalid");
    site.refuses("GET /pub/x HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", 400, "host_invalid");
    site.refuses("GET /pub/x HTTP/1.1\r\nHost: a.test\r\nhost: b.test\r\n\r\n", 400, "host_invalid");
    site.refuses("GET http://b.test/pub/x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "host_invalid");
    site.refuses("GET http://a.test:81/pub/x HTTP/1.1\r\nHost: a.test:82\r\n\r\n", 400, "host_invalid");
    for target in ["ftp://a.test/pub/x", "//a.test/pub/x", "http:/pub/x", "http://", "http://u:p@a.test/pub/x"] {
        assert_eq!(site.answer(request(target)).status, 400, "{target}");
    }
    assert_eq!(site.witness.bytes(), 0);
    site.gateway.is_well();
}

#[test]
fn b46_queries_are_sent_as_they_were_read() {
    let site = public();
    for (written, canonical) in [
        ("a=1&a=2", "a=1&a=2"),
        ("a=1;b=2", "a=1%3Bb=2"),
        ("%61=%31", "a=1"),
        ("a=%2f", "a=%2F"),
        ("a=b+c", "a=b+c"),
        ("a[]=1", "a%5B%5D=1"),
        ("a=?x", "a=?x"),
        ("a=%0d%0ab", "a=%0D%0Ab"),
    ] {
        let seen = site.forwarded(request(&format!("/pub/x?{written}")));
        assert!(seen.starts_with(&format!("GET /pub/x?{canonical} HTTP/1.1\r\n")), "{written}: {seen}");
    }
    let before = site.witness.requests().len();
    let many = vec!["a=1"; 300].join("&");
    for written in ["a=%00", "a=%", "a=%zz", "a=\u{e4}", "a=%ff", many.as_str()] {
        let response = site.answer(request(&format!("/pub/x?{written}")));
        assert_eq!((response.status, response.code().as_str()), (400, "query_ambiguous"), "{written}: {}", response.text());
    }
    assert_eq!(site.witness.requests().len(), before);
}

#[test]
fn b47_nothing_a_client_claims_about_its_path_counts() {
    let site = public();
    for line in [
        "X-Forwarded-Uri: /pub/x",
        "X-Original-URL: /pub/x",
        "X-Rewrite-URL: /pub/x",
        "User-Agent: GoogleHC/1.0",
        "X-Forwarded-Prefix: /pub",
    ] {
        let response = site.answer(format!("GET /admin?/pub/x HTTP/1.1\r\nHost: a.test\r\n{line}\r\nConnection: close\r\n\r\n"));
        assert_eq!((response.status, response.code().as_str()), (404, "route_unknown"), "{line}");
    }
    assert_eq!(site.witness.bytes(), 0);
}

#[test]
fn b49_a_target_without_its_slash_is_refused() {
    let site = public();
    for target in ["pub/x", "admin/x", "*", "?x", "pub", ":80", "a.test:80"] {
        let status = site.answer(request(target)).status;
        assert_eq!(status, 400, "{target}");
    }
    let asterisk = site.answer("OPTIONS * HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert!(matches!(asterisk.status, 400 | 404 | 405), "{}", asterisk.head);
    assert_eq!(site.witness.bytes(), 0);
}

#[test]
fn b52_a_header_that_selects_a_route_counts_only_alone() {
    let site = site_with(|plain| {
        plain.routes = "- { name: two, methods: [GET], path: \"/x\", headers: { X-Version: \"2\" }, access: { public: true } }";
    });
    let with = |lines: &str| site.answer(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}Connection: close\r\n\r\n")).status;
    assert_eq!(with("X-Version: 2\r\n"), 200);
    let before = site.witness.requests().len();
    for lines in [
        "",
        "X-Version: 1\r\n",
        "X-Version: 2\r\nX-Version: 1\r\n",
        "X-Version: 1\r\nX-Version: 2\r\n",
        "X-Version: 2, 1\r\n",
        "X-Version: 2\r\nX-Version: 2\r\n",
    ] {
        assert!(matches!(with(lines), 404 | 405), "{lines:?}");
    }
    assert_eq!(site.witness.requests().len(), before);
}

#[test]
fn b53_a_body_is_measured_however_it_is_framed() {
    let site = site_with(|plain| plain.api = "request_limits: { methods: [GET, POST], body_bytes_max: 1KiB }");
    let large = "x".repeat(2000);
    let chunk = format!("7d0\r\n{large}\r\n0\r\n\r\n");
    let many: String = (0..200).map(|_| "a\r\n0123456789\r\n".to_owned()).collect::<String>() + "0\r\n\r\n";
    for (lines, body) in [
        ("Content-Length: 2000\r\n", &large),
        ("Transfer-Encoding: chunked\r\n", &chunk),
        ("Transfer-Encoding: chunked\r\n", &many),
    ] {
        site.refuses(crate::site::post_with(lines, body), 413, "body_too_large");
    }
    assert_eq!(site.witness.requests().len(), 0);
    let fits = format!("400\r\n{}\r\n0\r\n\r\n", "x".repeat(1024));
    assert_eq!(site.answer(crate::site::post_with("Transfer-Encoding: chunked\r\nConnection: close\r\n", &fits)).status, 200);
}

#[test]
fn b54_empty_segments_are_refused() {
    refuses_each(&["//admin/x", "//pub/x", "/pub//x", "/pub/x//", "///", "/pub/%2f/x"]);
}

#[test]
fn b55_headers_that_override_path_or_method_do_not_arrive() {
    let site = public();
    let names = [
        "X-Original-URL",
        "X-Rewrite-URL",
        "X_Original_URL",
        "X.Rewrite.Url",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x-http-method-override",
    ];
    let lines: String = names.iter().map(|name| format!("{name}: /admin\r\n")).collect();
    let seen = site.forwarded(format!("GET /pub/x HTTP/1.1\r\nHost: a.test\r\n{lines}Connection: close\r\n\r\n"));
    assert!(!seen.contains("/admin"), "{seen}");
}

#[test]
fn unknown_methods_and_paths_say_what_there_is() {
    let site = public();
    let mut client = RawClient::connect(site.http());
    let response = client.send("POST /pub/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n").response();
    assert_eq!((response.status, response.code().as_str(), response.field("allow")), (405, "method_unknown", Some("GET")));
    let response = client.send("GET /none HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!((response.status, response.code().as_str()), (404, "route_unknown"));
    assert!(!response.text().contains("none"), "input in an answer: {}", response.text());
    assert_eq!(client.send(request("/pub/x")).response().status, 200, "the connection goes on after 404 and 405");
}
