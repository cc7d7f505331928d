//! HTTP/2 to upstreams: requests of clients of either version, by TLS and with prior knowledge, and upstreams that do not speak it.

use crate::upstream_h2_site::{h2_server, h2_site, h2_site_of};
use portcullis_testing_kit::http2::{END_STREAM, Outcome, get_fields, kind};
use portcullis_testing_kit::{Authority, Leaf, Nginx, PyServer, TempDir, Witness, free_port};
use serde_json::Value;

/// The server by TLS, which agrees on `protocol`.
fn secure_server(leaf: &Leaf, protocol: &str) -> (PyServer, TempDir) {
    let folder = TempDir::new();
    let (certificate, key) = (folder.write("s.crt", &leaf.certificate), folder.write("s.key", &leaf.key));
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    let arguments = [&*certificate, &*key, protocol];
    (PyServer::running(include_str!("../../py/h2_server.py"), &arguments), folder)
}

/// The fields that the upstream has seen, but for those that tell where the request came from.
fn fields(seen: &Value) -> Vec<(&str, &str)> {
    let pairs = seen["headers"].as_array().expect("a list").iter();
    let pairs = pairs.map(|pair| (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default()));
    pairs.filter(|(name, _)| !name.starts_with("x-forwarded-") && !["x-request-id", "traceparent"].contains(name)).collect()
}

#[test]
fn a_request_of_http1_goes_up_by_http2_in_canonical_form() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let request = "GET /a%2db?x=1 HTTP/1.1\r\nHost: A.test\r\nConnection: x-mine\r\nX-Mine: 1\r\nTE: trailers\r\nX-Kept: v\r\n\r\n";
    let response = site.http1().send(request).response();
    assert_eq!(response.status, 200, "{}", response.head);
    let seen: Value = serde_json::from_str(&response.text()).unwrap();
    let expected = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/a-b?x=1"),
        ("x-kept", "v"),
        ("via", "1.1 portcullis"),
    ];
    assert_eq!(fields(&seen), expected);
    assert!(!response.head.contains("connection:"), "{}", response.head);
}

#[test]
fn requests_of_clients_of_either_version_share_a_connection_of_their_worker() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let is_of_a_worker = |seen: &Value| assert!((1..=2).contains(&seen["connection"].as_u64().unwrap()), "{seen}");
    for _ in 0..8 {
        is_of_a_worker(&site.seen("/x"));
    }
    // Fifty at the same time by one client: none waits for another, and all go the same way.
    let mut client = site.http2();
    let streams: Vec<u32> = (0..50).map(|at| 1 + 2 * at).collect();
    for stream in &streams {
        client.get(*stream, "/late/share");
    }
    is_of_a_worker(&site.seen("/go/share"));
    let (mut bodies, mut ended) = (std::collections::BTreeMap::<u32, Vec<u8>>::new(), 0);
    while ended < streams.len() {
        let frame = client.next_frame().expect("the connection ended");
        if frame.kind == kind::DATA {
            bodies.entry(frame.stream).or_default().extend(&frame.payload);
            ended += usize::from(frame.flags & END_STREAM != 0);
        }
    }
    let seen: Vec<Value> = bodies.values().map(|body| serde_json::from_slice(body).expect("JSON")).collect();
    assert!(seen.iter().all(|one| one["connection"] == seen[0]["connection"]), "{seen:?}");
    assert_eq!(fields(&seen[0]).last(), Some(&("via", "2 portcullis")));
}

#[test]
fn by_tls_http2_is_agreed_on_and_the_certificate_verified() {
    let (ours, theirs) = (Authority::new(), Authority::named("Somebody else"));
    for (authority, works) in [(&ours, true), (&theirs, false)] {
        let (server, _folder) = secure_server(&authority.leaf(&["127.0.0.1"]), "h2");
        let site = h2_site_of(&format!("https://{}", server.address()), "tls: { trust: ca.crt }", &ours, &[]);
        if works {
            assert!(fields(&site.seen("/x")).contains(&(":scheme", "https")));
        } else {
            assert_eq!(site.get("/x").code(), "upstream_tls_failed");
        }
    }
}

#[test]
fn nginx_is_served_by_http2() {
    let port = free_port();
    let server =
        format!("server {{ listen 127.0.0.1:{port} http2; location / {{ return 200 \"$server_protocol $request_uri\"; }} }}");
    let nginx = Nginx::start_as(&server, port, &[]);
    let site = h2_site(nginx.address(), "");
    assert_eq!(site.get("/x?y=1").text(), "HTTP/2.0 /x?y=1");
    let response = site.http1().send("HEAD /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response_to("HEAD").unwrap();
    assert_eq!((response.status, response.field("content-length")), (200, Some("11")), "{}", response.head);
}

#[test]
fn an_upstream_that_does_not_speak_http2_is_never_asked_in_http1() {
    let witness = Witness::ok();
    let site = h2_site(witness.address(), "retry: { attempts: 1 }");
    let response = site.get("/x");
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_not_http2"), "{}", response.head);
    let record = site.gateway.record_of("upstream_not_http2");
    assert!(record["blame"] == "upstream" && record["detail"].as_str().unwrap().contains("settings of HTTP/2"), "{record}");
    assert!(!witness.texts().iter().any(|text| text.contains("/x")), "{:?}", witness.texts());
    let ours = Authority::new();
    for protocol in ["http/1.1", "none"] {
        let (server, _folder) = secure_server(&ours.leaf(&["127.0.0.1"]), protocol);
        let site = h2_site_of(&format!("https://{}", server.address()), "tls: { trust: ca.crt }", &ours, &[]);
        assert_eq!(site.get("/x").code(), "upstream_not_http2", "{protocol}");
    }
}

#[test]
fn heads_without_a_body_and_interim_answers_are_passed_on_as_they_are() {
    let server = h2_server();
    let site = h2_site(server.address(), "");
    let mut client = site.http1();
    let head = client.send("HEAD /length HTTP/1.1\r\nHost: a.test\r\n\r\n").response_to("HEAD").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("5")), "{}", head.head);
    let whole = client.send("GET /length HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!((whole.field("content-length"), whole.text().as_str()), (Some("5"), "hello"), "{}", whole.head);
    for (status, length) in [(204, None), (304, None), (404, Some("0"))] {
        let response = client.send(format!("GET /empty/{status} HTTP/1.1\r\nHost: a.test\r\n\r\n")).response();
        assert_eq!((response.status, response.field("content-length")), (status, length), "{}", response.head);
    }
    client.send("GET /interim HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let interim = client.response_head();
    assert_eq!((interim.status, interim.field("link")), (103, Some("</style.css>")), "{}", interim.head);
    assert_eq!(client.response().text(), "after all");
    let mut client = site.http2();
    client.headers(1, &get_fields("/interim"), true);
    assert_eq!(client.outcome(1), Outcome::Answered(103));
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    assert_eq!(client.body(1), b"after all");
}
