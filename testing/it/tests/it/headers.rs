//! Threats C: what a client says of itself does not pass for what the gateway says of it.

use crate::site::{get_with, site, site_with};
use portcullis_testing_kit::{Plain, RawClient, Witness, get};

fn line<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let prefix = format!("{name}: ");
    request.split("\r\n").filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
}

#[test]
fn c56_connection_does_not_remove_what_the_gateway_says() {
    let site = site();
    for name in [
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Proto",
        "X-Request-Id",
        "X-Real-Ip",
        "traceparent",
        "Cookie",
        "Authorization",
    ] {
        let request = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close, {name}\r\n\r\n");
        let response = site.answer(&request);
        if response.status == 200 {
            let seen = site.witness.texts().pop().unwrap_or_default();
            assert_eq!(line(&seen, "x-forwarded-for"), ["127.0.0.1"], "{name}: {seen}");
            assert_eq!(line(&seen, "x-forwarded-host"), ["a.test"], "{name}: {seen}");
            assert_eq!(line(&seen, "x-forwarded-proto"), ["http"], "{name}: {seen}");
            assert_eq!(line(&seen, "x-request-id").len(), 1, "{name}: {seen}");
        } else {
            assert_eq!(response.status, 400, "{name}: {}", response.head);
        }
    }
}

#[test]
fn c57_identity_headers_are_removed_under_every_alias() {
    let site = site();
    let names = [
        "X-Forwarded-User",
        "X_Forwarded_User",
        "x.forwarded.user",
        "X-Forwarded_User",
        "X-FORWARDED-EMAIL",
        "X-Forwarded-Groups",
        "Remote-User",
        "Remote_User",
        "X-Remote-User",
        "X_Remote.User",
        "X-User-Id",
        "X-Authenticated-User",
        "X-Consumer-Id",
        "X-Consumer-Username",
        "X_Consumer_Groups",
        "X-Client-Cert",
        "X-SSL-Client-Cert",
        "X-SSL-Client-Verify",
        "SSL-Client-Cert",
        "X-Portcullis-Principal",
        "X_Portcullis_Principal",
        "X-Forwarded-Access-Token",
        "X-Forwarded-Client-Cert",
    ];
    let lines: String = names.iter().map(|name| format!("{name}: forged\r\n")).collect();
    let seen = site.forwarded(get_with(&lines));
    let left: Vec<&str> = seen.split("\r\n").filter(|line| line.contains("forged")).collect();
    assert_eq!(left, Vec::<&str>::new());
}

#[test]
fn c61_c63_an_untrusted_peer_cannot_say_where_it_comes_from() {
    let site = site();
    let names = [
        "X-Forwarded-For",
        "X_Forwarded_For",
        "x.forwarded.for",
        "X-Real-IP",
        "X_Real_IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "Fastly-Client-IP",
        "Forwarded",
        "X-Envoy-External-Address",
        "X-Forwarded-By",
        "X-Forwarded-Server",
    ];
    let lines: String = names.iter().map(|name| format!("{name}: 6.6.6.6\r\n")).collect();
    let seen = site.forwarded(get_with(&lines));
    assert!(!seen.contains("6.6.6.6"), "{seen}");
    assert_eq!(line(&seen, "x-forwarded-for"), ["127.0.0.1"], "a fresh, correct value is there: {seen}");
    let record = &site.gateway.records_when(1)[0];
    assert!(record.to_string().contains("127.0.0.1") && !record.to_string().contains("6.6.6.6"), "{record}");
}

#[test]
fn c61_behind_a_trusted_proxy_the_last_address_that_is_not_trusted_counts() {
    let site = site_with(|plain| {
        plain.sections = "defend: { client_ip: { trusted_proxies: [127.0.0.1/32, 10.0.0.0/8], header: x-forwarded-for } }"
    });
    for (said, client) in [
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("6.6.6.6,203.0.113.9,::ffff:10.1.2.3", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("203.0.113.9, junk", "127.0.0.1"),
        ("", "127.0.0.1"),
    ] {
        let seen = site.forwarded(get_with(&format!("X-Forwarded-For: {said}\r\n")));
        assert_eq!(line(&seen, "x-forwarded-for"), [client], "{said}: {seen}");
    }
    let seen = site.forwarded(get_with("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\n"));
    assert_eq!(line(&seen, "x-forwarded-for"), ["203.0.113.9"], "{seen}");
}

#[test]
fn c62_b48_forwarded_scheme_host_prefix_and_port_are_our_own() {
    let site = site();
    let seen = site.forwarded(get_with(
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 666\r\n\
         X-Forwarded-Scheme: https\r\nX-Forwarded-Ssl: on\r\nFront-End-Https: on\r\nX-Url-Scheme: https\r\nX-Forwarded-Uri: /evil\r\n\
         X-Host: evil.test\r\nX-Forwarded-Method: DELETE\r\n",
    ));
    assert!(!seen.contains("evil") && !seen.contains("666") && !seen.contains("https") && !seen.contains("DELETE"), "{seen}");
    assert_eq!((line(&seen, "x-forwarded-proto"), line(&seen, "x-forwarded-host")), (vec!["http"], vec!["a.test"]));
}

#[test]
fn c66_the_proxy_header_does_not_arrive() {
    let site = site();
    let seen =
        site.forwarded(get_with("Proxy: http://evil.test\r\nproxy-connection: keep-alive\r\nProxy-Authorization: Basic x\r\n"));
    assert!(!seen.to_lowercase().contains("\r\nproxy"), "{seen}");
}

#[test]
fn hop_by_hop_fields_of_a_request_end_here() {
    let site = site();
    let seen = site.forwarded(
        "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
         Trailer: X-Sum\r\nUpgrade-Insecure-Requests: 1\r\nX-Kept: yes\r\n\r\n",
    );
    for gone in ["x-private", "keep-alive", "te:", "trailer", "connection:"] {
        assert!(!seen.contains(&format!("\r\n{gone}")), "{gone}: {seen}");
    }
    assert!(seen.contains("\r\nx-kept: yes\r\n") && seen.contains("\r\nupgrade-insecure-requests: 1\r\n"), "{seen}");
}

#[test]
fn hop_by_hop_fields_of_a_response_end_here() {
    let witness = Witness::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Internal\r\nX-Internal: secret\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Upgrade: h2c\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = Plain::to(witness.address()).start();
    let response = gateway.get("/x");
    for gone in ["x-internal", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(response.field(gone), None, "{}", response.head);
    }
    assert_eq!((response.field("x-kept"), response.body.as_slice()), (Some("yes"), &b"ok"[..]));
}

#[test]
fn other_fields_arrive_in_their_order_with_their_duplicates() {
    let site = site();
    let seen = site.forwarded(get_with("X-B: 1\r\nX-A: 2\r\nX-B: 3\r\nAccept: a\r\nAccept: b\r\nCookie: k=v\r\nX-Empty:\r\n"));
    assert_eq!(line(&seen, "x-b"), ["1", "3"]);
    assert_eq!(line(&seen, "accept"), ["a", "b"]);
    assert_eq!(line(&seen, "cookie"), ["k=v"]);
    assert!(seen.find("x-b: 1") < seen.find("x-a: 2") && seen.find("x-a: 2") < seen.find("x-b: 3"), "{seen}");
}

#[test]
fn the_trace_is_continued_and_the_request_id_is_everywhere_the_same() {
    let site = site();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut client = RawClient::connect(site.http());
    let request = get_with(&format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\nX-Request-Id: forged\r\n"));
    let response = client.send(request).response();
    let seen = site.witness.sole_text();
    assert!(line(&seen, "traceparent")[0].starts_with(&format!("00-{trace}-")) && !seen.contains("00f067aa0ba902b7"), "{seen}");
    let id = line(&seen, "x-request-id")[0].to_owned();
    assert_ne!(id, "forged");
    let record = &site.gateway.records_when(1)[0];
    assert_eq!(record["request_id"], id.as_str(), "{record}");
    if let Some(told) = response.field("x-request-id") {
        assert_eq!(told, id);
    }
}

#[test]
fn answers_carry_security_headers_also_when_they_refuse() {
    let site = site();
    for (path, status) in [("/x", 200), ("/%00", 400)] {
        let response = get(site.http(), "a.test", path);
        assert_eq!(response.status, status);
        assert_eq!(response.field("x-content-type-options"), Some("nosniff"), "{}", response.head);
        assert_eq!(response.field("strict-transport-security"), None, "never over plain text (RFC 6797 section 7.2)");
    }
}
