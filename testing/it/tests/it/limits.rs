//! Everything has an end: bytes, fields, connections, patience.

use crate::site::{get_with, post_with, site, site_with};
use portcullis_testing_kit::{Plain, RawClient, Witness, get, holds};
use std::time::{Duration, Instant};

#[test]
fn d85_a_huge_length_is_refused_at_once() {
    let mut site = site();
    for length in ["4611686018427387904", "9223372036854775807", "1048577"] {
        // Nothing of the body is ever sent: the announcement is enough.
        let response = RawClient::connect(site.http()).send(post_with(&format!("Content-Length: {length}\r\n"), "")).response();
        assert_eq!((response.status, response.code().as_str()), (413, "body_too_large"), "{length}");
    }
    site.nothing_reached_upstream();
}

#[test]
fn d93_there_is_a_body_limit_by_default_for_every_framing() {
    let site = site();
    let large = vec![b'x'; 1_048_577];
    let mut chunked = post_with("Transfer-Encoding: chunked\r\n", "100001\r\n").into_bytes();
    chunked.extend(&large);
    chunked.extend(b"\r\n0\r\n\r\n");
    let mut client = RawClient::connect(site.http());
    let response = client.send(chunked).response();
    assert_eq!((response.status, response.code().as_str()), (413, "body_too_large"));
    assert!(site.witness.requests().is_empty(), "a body that was too large was taken for a whole one");
}

#[test]
fn too_many_or_too_large_headers_are_refused() {
    let mut site = site();
    let many: String = (0..101).map(|number| format!("X-{number}: 1\r\n")).collect();
    site.refuses(get_with(&many), 431, "headers_too_many");
    site.refuses(get_with(&format!("X-Large: {}\r\n", "x".repeat(40_000))), 431, "headers_too_large");
    let cookies: String = (0..200).map(|number| format!("Cookie: c{number}=1\r\n")).collect();
    site.refuses(get_with(&cookies), 431, "headers_too_many");
    // Without an end: cut while it still comes, however much more there is.
    let mut client = RawClient::connect(site.http());
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nX-Endless: ");
    let block = vec![b'x'; 65_536];
    let mut sent = 0;
    while client.try_send(&block) {
        sent += block.len();
        assert!(sent < 64 << 20, "an endless head is read for ever");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let mut site = site();
    for target in [format!("/{}", "x".repeat(9000)), format!("/x?{}", "y".repeat(9000)), format!("/{}", "a/".repeat(6000))] {
        site.refuses(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"), 414, "uri_too_long");
    }
    site.nothing_reached_upstream();
}

#[test]
fn a_policy_can_only_make_limits_tighter() {
    let site = site_with(|plain| plain.api = "request_limits: { methods: [GET, POST], uri_bytes_max: 64B, body_bytes_max: 10B }");
    assert_eq!(site.answer(get_with("")).status, 200);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", "x".repeat(100));
    assert_eq!(site.answer(long).status, 414);
    assert_eq!(RawClient::connect(site.http()).send(post_with("Content-Length: 11\r\n", "12345678901")).response().status, 413);
    assert_eq!(site.answer(post_with("Content-Length: 10\r\nConnection: close\r\n", "1234567890")).status, 200);
    let put = "PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(site.answer(put).status, 405);
}

#[test]
fn d86_a_client_that_is_slow_with_its_head_is_gone() {
    let mut site = site_with(|plain| plain.listener = "limits: { header_deadline: 1s, idle_timeout: 2s, handshake_deadline: 1s }");
    // Nothing at all; half a request line; a head that grows by a byte now and then.
    let mut silent = RawClient::connect(site.http());
    let mut half = RawClient::connect(site.http());
    half.send("GET /x HT");
    let mut dribbling = RawClient::connect(site.http());
    dribbling.send("GET /x HTTP/1.1\r\nHost: a.test\r\nX: ");
    let begin = Instant::now();
    while !dribbling.ends_within(Duration::from_millis(50)) {
        dribbling.send("y");
        assert!(begin.elapsed() < Duration::from_secs(20), "a slow head holds its place for ever");
    }
    assert!(half.ends_within(Duration::from_secs(20)), "half a request line holds its place for ever");
    assert!(silent.ends_within(Duration::from_secs(20)), "silence holds its place for ever");
    site.gateway.record_of("header_timeout");
    site.nothing_reached_upstream();
}

#[test]
fn d86_a_client_that_is_slow_with_its_head_is_gone_by_default_within_20_seconds() {
    let site = site();
    let mut clients: Vec<RawClient> = (0..4).map(|_| RawClient::connect(site.http())).collect();
    for (client, bytes) in clients.iter_mut().zip(["", "G", "GET /x HTTP/1.1\r\n", "GET /x HTTP/1.1\r\nHost: a.test\r\nX: y"]) {
        client.send(bytes);
    }
    let begin = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        let left = Duration::from_secs(20).saturating_sub(begin.elapsed());
        assert!(client.ends_within(left), "slow client {number} is still there after {:?}", begin.elapsed());
    }
}

#[test]
fn d86_a_client_that_is_slow_with_its_body_is_gone() {
    let site = site_with(|plain| plain.listener = "limits: { body_stall: 1s }");
    for lines in ["Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = RawClient::connect(site.http());
        client.send(post_with(lines, "5\r\nhello\r\n"));
        assert!(client.ends_within(Duration::from_secs(20)), "{lines}: a body that stalls holds its place for ever");
    }
    assert_eq!(site.gateway.record_of("body_timeout")["status"], 408);
    assert!(site.witness.requests().is_empty());
    site.witness.all_ended();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let site = site_with(|plain| plain.listener = "limits: { idle_timeout: 1s }");
    let mut client = RawClient::connect(site.http());
    assert_eq!(client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    assert_eq!(client.rest(), b"", "no answer to a request that was not made");
}

#[test]
fn a_client_has_only_its_share_of_connections() {
    let mut site = site_with(|plain| plain.listener = "limits: { connections: 50, connections_per_client: 10 }");
    let mut held: Vec<RawClient> = (0..10).map(|_| RawClient::connect(site.http())).collect();
    for client in &mut held {
        assert_eq!(client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response().status, 200);
    }
    for _ in 0..30 {
        let mut over = RawClient::connect(site.http());
        over.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(over.response_to("GET"), None, "an eleventh connection was served");
    }
    let metric = "portcullis_connections_refused_total{listener=\"plain\",reason=\"client_connections_exhausted\"}";
    holds("thirty refused connections in the metrics", || site.gateway.metric(metric) >= 30.0);
    // The places come back.
    drop(held);
    holds("a place for a new connection", || {
        let mut client = RawClient::connect(site.http());
        client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response_to("GET").is_some_and(|response| response.status == 200)
    });
    site.gateway.is_well();
}

#[test]
fn a_connection_serves_only_so_many_requests_if_told() {
    let site = site_with(|plain| plain.listener = "limits: { requests_per_connection: 3 }");
    let mut client = RawClient::connect(site.http());
    let responses = client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(5)).responses();
    assert_eq!(responses.len(), 3);
    assert_eq!(responses[2].field("connection"), Some("close"));
}

#[test]
fn d84_chunks_of_one_byte_with_long_extensions_are_bounded() {
    let mut site = site();
    let before = site.gateway.process().resident_kib();
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(250));
    let mut client = RawClient::connect(site.http());
    client.send("POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut sent = 0;
    while client.try_send(chunk.repeat(100).as_bytes()) {
        sent += 100;
        assert!(sent < 100_000, "extensions without end are read for ever");
    }
    assert!(client.ends_within(Duration::from_secs(20)));
    assert!(site.witness.requests().is_empty());
    assert!(site.gateway.process().resident_kib() < before + 16 * 1024);
    site.gateway.is_well();
}

#[test]
fn d98_paths_hosts_and_methods_of_clients_make_no_metrics() {
    let witness = Witness::ok();
    let gateway = Plain::to(witness.address()).start();
    let series = || {
        let text = get(gateway.address("probes"), "localhost", "/metrics").text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<std::collections::BTreeSet<_>>()
    };
    let ask = |round: usize| {
        let mut client = RawClient::connect(gateway.http());
        for number in 0..250 {
            let host = format!("h{round}-{number}.test");
            for line in [format!("GET /p{round}/{number} HTTP/1.1"), format!("M{round}X{number} /x HTTP/1.1")] {
                let response = client.send(format!("{line}\r\nHost: {host}\r\n\r\n")).response();
                assert!(matches!(response.status, 200 | 405), "{}", response.head);
            }
        }
    };
    ask(0);
    gateway.records_when(500);
    // The workers are looked at from time to time; that has nothing to do with what clients send.
    holds("figures of the workers", || series().iter().any(|name| name.starts_with("portcullis_worker_connections")));
    let first = series();
    for round in 1..5 {
        ask(round);
    }
    gateway.records_when(2500);
    let new: Vec<_> = series().difference(&first).cloned().collect();
    assert!(new.is_empty(), "{new:?}");
}

#[test]
fn a_flood_of_connections_that_come_and_go_leaves_nothing_behind() {
    let mut site = site();
    let before = site.gateway.process().resident_kib();
    for _ in 0..2000 {
        RawClient::connect(site.http()).reset();
    }
    holds("every place to come back", || site.gateway.metric("portcullis_connections_open{listener=\"plain\"}") == 0.0);
    assert!(site.gateway.process().resident_kib() < before + 24 * 1024);
    site.nothing_reached_upstream();
}
