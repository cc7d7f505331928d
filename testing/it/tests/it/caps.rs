//! Every cap of a listener has a rejection and a metric of its own, and raises no other.

use crate::site::{get_with, post_with};
use portcullis_testing_kit::{Authority, Gateway, Plain, RawClient, Witness, eventually, get};
use std::collections::BTreeMap;

/// Tight caps. The listener `narrow` has two places, `plain` twelve for one client.
const NARROW: &str = "  narrow:
    address: 127.0.0.1:@other@
    danger_plaintext: { reason: test, owner: test, expires: 2099-01-01 }
    limits: { connections: 2, connections_per_client: 2 }
  secure:
    address: 127.0.0.1:@tls@
    tls: { certificates: [ { hosts: [a.test], files: { certificate: a.crt, key: a.key } } ] }
    limits: { handshake_deadline: 300ms }
";

fn start() -> (Gateway, Witness) {
    // Every answer is much larger than all the buffers between upstream and client.
    let witness = Witness::scripted(|side| {
        if side.request().is_some() && side.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n") {
            let block = vec![b'x'; 100_000];
            while side.write(&block) {}
        }
    });
    let mut plain = Plain::to(witness.address());
    plain.listener = "limits: { connections_per_client: 12, header_deadline: 500ms, body_stall: 500ms, headers_max: 8, headers_bytes_max: 4KiB, uri_bytes_max: 1KiB }";
    plain.sections = "defaults: { request_limits: { body_bytes_max: 1KiB } }";
    let leaf = Authority::new().leaf(&["a.test"]);
    let yaml = plain.yaml().replacen("listeners:\n", &format!("listeners:\n{NARROW}"), 1);
    (Gateway::start_with(&[("a.crt", &leaf.certificate), ("a.key", &leaf.key)], &yaml), witness)
}

/// Every count of something refused, by metric and labels.
fn counts(gateway: &Gateway) -> BTreeMap<String, u64> {
    const COUNTED: [&str; 3] =
        ["portcullis_rejections_total{", "portcullis_connections_refused_total{", "portcullis_handshakes_failed_total{"];
    let text = get(gateway.address("probes"), "localhost", "/metrics").text();
    let lines = text.lines().filter(|line| COUNTED.iter().any(|name| line.starts_with(name)));
    let pairs = lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.parse().unwrap_or(0)));
    pairs.filter(|(_, value)| *value > 0).collect()
}

/// What `provoke` does raises exactly this count, by one.
#[track_caller]
fn raises(gateway: &Gateway, metric: &str, provoke: impl FnOnce(&Gateway)) {
    let before = counts(gateway);
    provoke(gateway);
    let mut expected = before.clone();
    *expected.entry(metric.to_owned()).or_default() += 1;
    let after = eventually(metric, || Some(counts(gateway)).filter(|after| *after != before));
    assert_eq!(after, expected, "{metric}");
}

/// A request on the plain listener is answered with this status and code, and counted under that code alone.
#[track_caller]
fn refuses(gateway: &Gateway, request: &str, status: u16, code: &str) {
    raises(gateway, &format!("portcullis_rejections_total{{reason=\"{code}\",blame=\"downstream\"}}"), |gateway| {
        let response = RawClient::connect(gateway.http()).send(request).response();
        assert_eq!((response.status, response.code().as_str()), (status, code));
    });
}

#[test]
fn every_cap_has_its_own_rejection_and_its_own_metric() {
    let (mut gateway, _witness) = start();
    refuses(&gateway, &get_with(&"A: 1\r\n".repeat(9)), 431, "headers_too_many");
    refuses(&gateway, &get_with(&format!("A: {}\r\n", "x".repeat(5000))), 431, "headers_too_large");
    let target = "x".repeat(1100);
    refuses(&gateway, &format!("GET /{target} HTTP/1.1\r\nHost: a.test\r\n\r\n"), 414, "uri_too_long");
    refuses(&gateway, &post_with("Content-Length: 1025\r\n", ""), 413, "body_too_large");
    refuses(&gateway, "GET /x HTTP/1.1\r\nHost: a.te", 408, "header_timeout");
    refuses(&gateway, &post_with("Content-Length: 100\r\n", "hello"), 408, "body_timeout");
    // It is kept until it has been counted: a client that leaves would be another matter.
    let mut slow = RawClient::connect(gateway.http());
    slow.receive_little(4096);
    raises(&gateway, "portcullis_rejections_total{reason=\"client_too_slow\",blame=\"downstream\"}", |_| {
        slow.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    });
    let silent = RawClient::connect(gateway.address("tls"));
    raises(&gateway, "portcullis_handshakes_failed_total{listener=\"secure\",reason=\"handshake_timeout\"}", |_| {});
    drop(silent);
    let held: Vec<RawClient> = (0..2).map(|_| RawClient::connect(gateway.address("other"))).collect();
    raises(&gateway, "portcullis_connections_refused_total{listener=\"narrow\",reason=\"connections_exhausted\"}", |gateway| {
        assert_eq!(RawClient::connect(gateway.address("other")).rest(), b"");
    });
    drop(held);
    let metric = "portcullis_connections_open{listener=\"plain\"}";
    eventually("every place to be free", || (gateway.metric(metric) == 0.0).then_some(()));
    let held: Vec<RawClient> = (0..12).map(|_| RawClient::connect(gateway.http())).collect();
    raises(
        &gateway,
        "portcullis_connections_refused_total{listener=\"plain\",reason=\"client_connections_exhausted\"}",
        |gateway| {
            assert_eq!(RawClient::connect(gateway.http()).rest(), b"");
        },
    );
    drop(held);
    gateway.is_well();
}
