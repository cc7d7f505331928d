//! The PROXY protocol before a listener: by raw sockets, and by HAProxy.

use crate::site::{Site, get_with, site_with};
use portcullis_testing_kit::{Authority, Gateway, Haproxy, Plain, RawClient, Response, Witness, get, output_of};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

/// Where the listed balancers are; clients of tests that are none connect from 127.0.0.1.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &str = "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n";

fn listed(plain: &mut Plain) {
    plain.listener = "limits: { header_deadline: 2s }\n    proxy_protocol: { from: [127.0.0.2/32] }";
}

fn behind() -> Site {
    site_with(listed)
}

fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// A header for 203.0.113.9:56324 with these extensions.
fn block(extensions: &[u8]) -> Vec<u8> {
    version_2(0x21, 0x11, &[&[203, 0, 113, 9, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb], extensions].concat())
}

impl Site {
    fn balancer(&self) -> RawClient {
        RawClient::connect_from(BALANCER, self.http())
    }

    /// The answer to a request behind a header.
    fn through(&self, header: impl AsRef<[u8]>) -> Response {
        self.balancer().send([header.as_ref(), get_with("").as_bytes()].concat()).response()
    }

    fn refused(&self, reason: &str) -> u64 {
        self.gateway.metric(&format!("portcullis_connections_refused_total{{listener=\"plain\",reason=\"{reason}\"}}")) as u64
    }
}

#[test]
fn the_address_that_a_balancer_tells_is_the_clients() {
    let site = behind();
    let mut ipv6 = [0_u8; 36];
    ipv6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    ipv6[15] = 9;
    let told = [
        (LINE.as_bytes().to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 ::1 7 443\r\n".to_vec(), "2001:db8::9"),
        (block(b""), "203.0.113.9"),
        (version_2(0x21, 0x21, &ipv6), "2001:db8::9"),
        // Whoever tells nobody is itself the client.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.2"),
        (version_2(0x20, 0, b""), "127.0.0.2"),
        (version_2(0x21, 0, b""), "127.0.0.2"),
        (version_2(0x21, 0x31, &[b'/'; 216]), "127.0.0.2"),
    ];
    for (number, (header, client)) in told.iter().enumerate() {
        assert_eq!(site.through(header).status, 200, "{client}");
        let seen = site.witness.texts().remove(number);
        assert!(seen.starts_with("GET /x HTTP/1.1\r\n"), "{seen}");
        assert!(seen.to_ascii_lowercase().contains(&format!("\r\nx-forwarded-for: {client}\r\n")), "{client}: {seen}");
        assert!(!seen.contains("PROXY") && !seen.contains("QUIT"), "{seen}");
    }
    let records = site.gateway.records_when(told.len());
    // Each worker's records come in order, but not those of all.
    let of = |client: &str| records.iter().find(|record| record["client"] == client).expect("a record of each client");
    let told = of("203.0.113.9");
    assert_eq!(told["peer"], "203.0.113.9:56324");
    assert!(told["balancer"].as_str().is_some_and(|balancer| balancer.starts_with("127.0.0.2:")), "{told}");
    let own = of("127.0.0.2");
    assert!(own["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.2:")) && own["balancer"].is_null(), "{own}");
}

#[test]
fn the_addresses_told_are_held_against_the_trusted_proxies() {
    let site = site_with(|plain| {
        listed(plain);
        plain.sections = "defend: { client_ip: { trusted_proxies: [203.0.113.9/32] } }";
    });
    let ask = |header: &str| {
        let request = [header, &get_with("X-Forwarded-For: 198.51.100.7\r\n")].concat();
        assert_eq!(site.balancer().send(request).response().status, 200);
    };
    ask(LINE);
    ask("PROXY TCP4 203.0.113.10 10.0.0.1 56324 443\r\n");
    let records = site.gateway.records_when(2);
    let mut clients: Vec<&str> = records.iter().filter_map(|record| record["client"].as_str()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["198.51.100.7", "203.0.113.10"]);
}

#[test]
fn the_bytes_behind_a_header_are_the_first_of_the_request_however_they_come() {
    let site = behind();
    let long: Vec<u8> = [&[4, 0x0f, 0][..], &[0; 0x0f00]].concat();
    let headers = [LINE.as_bytes().to_vec(), block(b""), block(&long)];
    let body = "x".repeat(100_000);
    let post = format!("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    for header in &headers {
        let whole = [header.as_slice(), post.as_bytes()].concat();
        assert_eq!(site.balancer().send(&whole).response().status, 200);
        // In two pieces, cut around the end of the header; and the header byte by byte.
        for cut in [1, 6, 12, 16, header.len() - 1, header.len(), header.len() + 1] {
            let (first, second) = whole.split_at(cut);
            let mut client = site.balancer();
            client.send(first);
            // Nothing tells that the first piece has been read; sent at once, both would mostly be one.
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(client.send(second).response().status, 200, "cut at {cut}");
        }
        let mut client = site.balancer();
        for byte in header.iter().take(300) {
            client.send([*byte]);
        }
        assert_eq!(client.send(whole.get(300.min(header.len())..).unwrap_or_default()).response().status, 200);
    }
    for seen in site.witness.texts() {
        assert!(seen.starts_with("POST /x HTTP/1.1\r\n") && seen.ends_with(&format!("\r\n\r\n{body}")), "{}", seen.len());
    }
}

#[test]
fn a35_what_is_no_header_from_a_balancer_is_closed_with_a_reason_of_its_own() {
    let mut site = behind();
    let wrong: Vec<Vec<u8>> = vec![
        Vec::new(),
        LINE.replace("203", "303").into_bytes(),
        LINE.replace("TCP4", "TCP6").into_bytes(),
        LINE.replace("\r\n", "\n").into_bytes(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(200)).into_bytes(),
        [LINE, LINE].concat().to_lowercase().into_bytes(),
        version_2(0x31, 0x11, &[1; 12]),
        version_2(0x21, 0x12, &[1; 12]),
        version_2(0x21, 0x11, &[1; 11]),
        version_2(0x21, 0x21, &[1; 12]),
        version_2(0x21, 0x00, &[0; 4081]),
        // Extensions that reach beyond the header: their "rest" must not be taken from what the client sends.
        block(&[4, 0xff, 0xff]),
        block(&[4, 0, 9, 0]),
        block(&[4]),
        block(&[3, 0, 4, 1, 2, 3, 4]),
    ];
    for (number, header) in wrong.iter().enumerate() {
        let mut client = site.balancer();
        let answer = client.send([header, get_with("").as_bytes()].concat()).rest();
        assert!(answer.is_empty(), "{header:?}: {}", String::from_utf8_lossy(&answer));
        portcullis_testing_kit::holds("the refusal to be counted", || site.refused("proxy_header_invalid") > number as u64);
    }
    assert_eq!(site.refused("proxy_header_invalid"), wrong.len() as u64);
    // Two headers: the second is the client's, and no request.
    let twice = site.balancer().send([LINE, LINE, &get_with("")].concat()).response();
    assert!(matches!(twice.status, 400 | 505), "{}", twice.head);
    // Whoever only looks whether somebody listens is no alarm.
    site.balancer().finish().rest();
    assert_eq!(site.refused("proxy_header_invalid"), wrong.len() as u64);
    assert_eq!(site.witness.bytes(), 0);
    site.nothing_reached_upstream();
}

#[test]
fn a_header_that_is_late_ends_the_connection() {
    let mut site = behind();
    for begin in [&b""[..], b"PROXY TCP4", &SIGNATURE[..5], &block(b"")[..20]] {
        let mut client = site.balancer();
        client.send(begin);
        assert!(client.ends_within(Duration::from_secs(20)), "{begin:?} holds a place for ever");
    }
    portcullis_testing_kit::holds("every one to be counted", || site.refused("proxy_header_timeout") == 4);
    site.nothing_reached_upstream();
}

#[test]
fn a35_from_anybody_else_a_header_is_no_request() {
    let mut site = behind();
    for header in [LINE.as_bytes().to_vec(), block(b"")] {
        let response = site.answer([header, get_with("").into_bytes()].concat());
        assert!(matches!(response.status, 400 | 505), "{}", response.head);
    }
    // And without one there is nothing special about them.
    site.nothing_reached_upstream();
}

#[test]
fn connections_are_counted_for_the_client_that_is_told() {
    let site = site_with(|plain| {
        plain.listener = "limits: { connections: 20, connections_per_client: 2 }\n    proxy_protocol: { from: [127.0.0.2/32] }";
    });
    let line = |client: u8| format!("PROXY TCP4 203.0.113.{client} 10.0.0.1 56324 443\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut held = Vec::new();
    // More from the balancer than one client may have.
    for client in [1, 1, 2, 2, 3, 3] {
        let mut one = site.balancer();
        assert_eq!(one.send(line(client)).response().status, 200);
        held.push(one);
    }
    let answer = site.balancer().send(line(1)).rest();
    assert!(answer.is_empty(), "a third connection of one client was served");
    assert_eq!(site.refused("client_connections_exhausted"), 1);
    held.remove(0).finish().rest();
    portcullis_testing_kit::holds("its place to be given back", || {
        site.balancer().send(line(1)).response_to("GET").is_some_and(|response| response.status == 200)
    });
}

#[test]
fn balancers_are_listed_anew_while_it_serves() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    let gateway = plain.start();
    let balancer = |bytes: String| RawClient::connect_from(BALANCER, gateway.http()).send(bytes).response_to("GET");
    assert_eq!(balancer(get_with("")).map(|response| response.status), Some(200));
    listed(&mut plain);
    gateway.configure(&plain.yaml());
    gateway.reaches_generation(2);
    assert!(balancer(get_with("")).is_none(), "served without the header that is required now");
    assert_eq!(balancer(format!("{LINE}{}", get_with(""))).map(|response| response.status), Some(200));
    assert_eq!(get(gateway.http(), "a.test", "/x").status, 200);
}

fn secured(witness: &Witness) -> Gateway {
    let authority = Authority::new();
    let leaf = authority.leaf(&["a.test"]);
    let files = [("a.crt", &leaf.certificate), ("a.key", &leaf.key), ("ca.crt", &authority.certificate)];
    let files = files.map(|(name, text)| (name, text.as_str()));
    let tls = "listeners:
  secure:
    address: 127.0.0.1:@tls@
    proxy_protocol: { from: [127.0.0.2/32] }
    limits: { handshake_deadline: 2s }
    tls: { certificates: [ { hosts: [a.test], files: { certificate: a.crt, key: a.key } } ] }
";
    Gateway::start_with(&files, &Plain::to(witness.address()).yaml().replacen("listeners:\n", tls, 1))
}

/// Asks by curl over TLS, through whatever listens there.
fn curl(gateway: &Gateway, through: SocketAddr, version: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--http1.1", version, "--connect-to", &format!("::127.0.0.1:{}", through.port()), "--cacert"]);
    let output = output_of(command.arg(gateway.folder().join("ca.crt")).arg("https://a.test/x"));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn haproxy_tells_of_its_clients_before_tls_in_both_versions() {
    let witness = Witness::ok();
    let gateway = secured(&witness);
    let versions = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"];
    for (number, version) in versions.iter().enumerate() {
        let haproxy = Haproxy::before(gateway.address("tls"), &format!("source 127.0.0.2 {version}"));
        for tls in ["--tlsv1.2", "--tlsv1.3"] {
            let shown = curl(&gateway, haproxy.address(), tls);
            assert!(shown.starts_with("HTTP/1.1 200") && shown.ends_with("ok"), "{version}: {shown}");
        }
        for record in gateway.records_when(2 * number + 2) {
            assert_eq!(record["client"], "127.0.0.1", "{version}: {record}");
            assert!(record["balancer"].as_str().is_some_and(|balancer| balancer.starts_with("127.0.0.2:")), "{record}");
            assert!(record["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{record}");
        }
    }
    // Without the header from a listed address, and with it from one that is not.
    let silent = Haproxy::before(gateway.address("tls"), "source 127.0.0.2");
    assert!(!curl(&gateway, silent.address(), "--tlsv1.2").contains("HTTP/1.1 200"));
    let unlisted = Haproxy::before(gateway.address("tls"), "send-proxy-v2");
    assert!(!curl(&gateway, unlisted.address(), "--tlsv1.2").contains("HTTP/1.1 200"));
    assert_eq!(witness.requests().len(), 6);
}

#[test]
fn health_checks_of_haproxy_are_taken_and_alarm_nobody() {
    let witness = Witness::ok();
    let gateway = secured(&witness);
    let options = "source 127.0.0.2 send-proxy-v2 check inter 50ms fall 1 rise 1";
    let haproxy = Haproxy::before(gateway.address("tls"), options);
    let opened = || gateway.metric("portcullis_connections_total{listener=\"secure\"}");
    portcullis_testing_kit::holds("several checks", || opened() >= 5.0);
    assert!(curl(&gateway, haproxy.address(), "--tlsv1.3").starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.metric_sum("portcullis_connections_refused_total"), 0.0);
}
