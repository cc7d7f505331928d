//! Upstreams by host name: every address of the answer is an endpoint, answers may change, and none leads where it must not.
//!
//! Each test has a network of its own, with addresses that are not loopback and lead nowhere else.

use portcullis_testing_kit::{
    Authority, Dns, Gateway, Nginx, Plain, RawClient, Response, Witness, eventually, holds, in_own_network,
};
use std::net::{IpAddr, SocketAddr};

const PORT: u16 = 8080;
/// Private addresses of which one may be an upstream's.
const PRIVATE: &[&str] = &["10.9.0.1", "10.9.0.2", "10.9.0.3", "fd12:9::1"];
const NAME: &str = "orders.internal";

/// A configuration whose upstream is `url`, and which asks `dns` for names.
fn config(url: &str, dns: &Dns, upstream: &str) -> String {
    let mut plain = Plain::to(SocketAddr::from(([127, 0, 0, 1], 1)));
    plain.sections = "dns: { servers: [\"@dns@\"] }";
    let yaml = plain.yaml().replace("http://127.0.0.1:1", url).replace("@dns@", &dns.address().to_string());
    yaml.replace("  u:\n", &format!("  u:\n    {upstream}\n"))
}

const DANGER: &str = "danger_plaintext: { reason: test, owner: test, expires: 2099-01-01 }";

/// A gateway before `http://orders.internal:8080`.
fn before(dns: &Dns) -> Gateway {
    Gateway::start(&config(&format!("http://{NAME}:{PORT}"), dns, DANGER))
}

/// An upstream at an address of this network, which answers with it.
fn upstream(address: &str) -> Witness {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{address}", address.len());
    Witness::answering_on(SocketAddr::new(address.parse().expect("an address"), PORT), answer)
}

fn get(gateway: &Gateway) -> Response {
    RawClient::connect(gateway.http()).send("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").response()
}

/// Who answers so many requests, none of which may fail.
#[track_caller]
fn answered_by(gateway: &Gateway, requests: usize) -> Vec<String> {
    let one = || {
        let response = get(gateway);
        assert_eq!(response.status, 200, "{}{}", response.head, response.text());
        response.text()
    };
    let mut by: Vec<String> = (0..requests).map(|_| one()).collect();
    by.sort();
    by.dedup();
    by
}

/// Requests are refused because no name leads anywhere, and the record says `why`.
#[track_caller]
fn leads_nowhere(gateway: &Gateway, why: &str) {
    let response = get(gateway);
    assert_eq!((response.status, response.code().as_str()), (503, "upstream_unresolved"), "{}", response.text());
    assert!(!response.text().contains(NAME), "something internal is told: {}", response.text());
    let record = gateway.record_of("upstream_unresolved");
    let detail = record["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(why) && record["blame"] == "upstream", "{why}: {record}");
}

/// A metric of the name, by the end of its name and its further labels.
fn name_metric(gateway: &Gateway, metric: &str, labels: &str) -> f64 {
    gateway.metric(&format!("portcullis_name_{metric}{{name=\"{NAME}\"{labels}}}"))
}

#[test]
fn every_address_of_a_name_is_used() {
    if !in_own_network("upstream_dns::every_address_of_a_name_is_used", PRIVATE) {
        return;
    }
    let dns = Dns::new();
    let _upstreams: Vec<Witness> = PRIVATE.iter().map(|address| upstream(address)).collect();
    dns.answers(NAME, PRIVATE, 60);
    let gateway = before(&dns);
    // Ready means that the first answer is there.
    assert_eq!(answered_by(&gateway, 64), PRIVATE);
    let asked = dns.queries();
    assert_eq!(answered_by(&gateway, 64), PRIVATE);
    assert_eq!(dns.queries(), asked, "requests are no reason to ask");
}

#[test]
fn a_name_by_tls_is_checked_against_the_certificate() {
    if !in_own_network("upstream_dns::a_name_by_tls_is_checked_against_the_certificate", PRIVATE) {
        return;
    }
    let (dns, ours) = (Dns::new(), Authority::new());
    dns.answers(NAME, &["10.9.0.1"], 60);
    for (host, status) in [(NAME, 200), ("billing.internal", 502)] {
        let nginx = Nginx::secure_on(SocketAddr::from(([10, 9, 0, 1], 8443)), &ours.leaf(&[host]), "", &[("x", b"x")]);
        let config = config(&format!("https://{NAME}:8443"), &dns, "tls: { trust: ca.pem }");
        let gateway = Gateway::start_with(&[("ca.pem", &ours.certificate)], &config);
        let response = get(&gateway);
        assert_eq!(response.status, status, "{host}: {}", response.text());
        if status == 200 {
            assert_eq!(response.field("x-tls-name"), Some(NAME));
        } else {
            assert_eq!((response.code().as_str(), nginx.access_log().as_str()), ("upstream_tls_failed", ""));
        }
    }
}

#[test]
fn an_answer_that_changes_moves_the_requests_and_none_fails() {
    if !in_own_network("upstream_dns::an_answer_that_changes_moves_the_requests_and_none_fails", PRIVATE) {
        return;
    }
    let dns = Dns::new();
    let [first, second, third] = ["10.9.0.1", "10.9.0.2", "10.9.0.3"].map(upstream);
    dns.answers(NAME, &["10.9.0.1", "10.9.0.2"], 1);
    let gateway = before(&dns);
    assert_eq!(answered_by(&gateway, 32), ["10.9.0.1", "10.9.0.2"]);
    // One goes, one stays, one comes.
    dns.answers(NAME, &["10.9.0.2", "10.9.0.3"], 1);
    holds("requests to follow the answer", || answered_by(&gateway, 16) == ["10.9.0.2", "10.9.0.3"]);
    // The connections to the one that went are given up, those to the one that stayed are not.
    first.all_ended();
    assert!(second.connections() <= 4, "{} connections", second.connections());
    // It shrinks to one.
    dns.answers(NAME, &["10.9.0.3"], 1);
    holds("requests to follow the answer", || answered_by(&gateway, 16) == ["10.9.0.3"]);
    second.all_ended();
    assert!(third.connections() > 0);
}

#[test]
fn an_exchange_that_is_under_way_is_not_ended_by_an_answer() {
    if !in_own_network("upstream_dns::an_exchange_that_is_under_way_is_not_ended_by_an_answer", PRIVATE) {
        return;
    }
    let dns = Dns::new();
    let _second = upstream("10.9.0.2");
    let (go_on, waits) = std::sync::mpsc::sync_channel::<()>(1);
    // Whoever comes first is made to wait in the middle of its answer.
    let waits = std::sync::Mutex::new(Some(waits));
    let _first = Witness::scripted_on(SocketAddr::from(([10, 9, 0, 1], PORT)), move |side| {
        let waits = waits.lock().expect("nobody panics with it").take();
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        if waits.is_none_or(|waits| waits.recv().is_ok()) {
            side.write("half");
        }
    });
    dns.answers(NAME, &["10.9.0.1"], 1);
    let gateway = before(&dns);
    let mut client = RawClient::connect(gateway.http());
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").until(b"half");
    dns.answers(NAME, &["10.9.0.2"], 1);
    holds("requests to follow the answer", || get(&gateway).text() == "10.9.0.2");
    go_on.send(()).expect("the upstream waits");
    assert_eq!(client.rest(), b"half");
}

#[test]
fn f141_an_answer_never_leads_into_this_machine_or_to_metadata() {
    let inner = ["10.9.0.1", "169.254.169.254", "fd00:ec2::254", "fe80::9"];
    if !in_own_network("upstream_dns::f141_an_answer_never_leads_into_this_machine_or_to_metadata", &inner) {
        return;
    }
    let dns = Dns::new();
    let traps: Vec<Witness> =
        ["127.0.0.1", "127.8.8.8", "::1", "169.254.169.254", "fd00:ec2::254"].into_iter().map(upstream).collect();
    let caught = || traps.iter().map(Witness::connections).sum::<usize>();
    let _good = upstream("10.9.0.1");
    let bad = ["127.0.0.1", "127.8.8.8", "169.254.169.254", "0.0.0.0", "::1", "::", "fe80::9", "fd00:ec2::254", "::ffff:127.0.0.1"];
    for answer in bad {
        dns.answers(NAME, &[answer], 1);
        let shown = answer.parse::<IpAddr>().expect("an address").to_canonical();
        let gateway = before(&dns);
        leads_nowhere(&gateway, &format!("resolves to {shown}"));
        let told = format!("`{NAME}` resolves to {shown}");
        assert!(gateway.stderr().contains(&told), "{told}: {}", gateway.stderr());
    }
    // Beside a good address it is left out.
    dns.answers(NAME, &[&bad[..], &["10.9.0.1"]].concat(), 1);
    let gateway = before(&dns);
    assert_eq!(answered_by(&gateway, 32), ["10.9.0.1"]);
    // And an answer that changes later is checked as well: the last good one stays.
    for answer in ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"] {
        dns.answers(NAME, &[answer], 1);
        let shown = answer.parse::<IpAddr>().expect("an address").to_canonical();
        holds("the new answer to be told of", || gateway.stderr().contains(&format!("resolves to {shown}")));
        assert_eq!(answered_by(&gateway, 16), ["10.9.0.1"]);
    }
    assert!(name_metric(&gateway, "refused_addresses_total", "") >= 4.0, "each is counted");
    assert_eq!(name_metric(&gateway, "addresses", ""), 1.0);
    assert_eq!(caught(), 0, "a connection was made to where no name may lead");
}

#[test]
fn the_last_answer_is_kept_when_there_is_no_other() {
    if !in_own_network("upstream_dns::the_last_answer_is_kept_when_there_is_no_other", PRIVATE) {
        return;
    }
    let dns = Dns::new();
    let _first = upstream("10.9.0.1");
    let _second = upstream("10.9.0.2");
    dns.answers(NAME, &["10.9.0.1"], 1);
    let gateway = before(&dns);
    let later: [fn(&Dns); 3] = [|dns| dns.denies(NAME), |dns| dns.fails(NAME), |dns| dns.answers(NAME, &[], 1)];
    for change in later {
        change(&dns);
        let asked = dns.queries();
        holds("the name to be asked for again", || dns.queries() >= asked + 6);
        assert_eq!(answered_by(&gateway, 8), ["10.9.0.1"]);
    }
    holds("the trouble to be told", || gateway.stderr().contains(&format!("`{NAME}` cannot be resolved")));
    dns.is_silent(NAME);
    assert_eq!(answered_by(&gateway, 8), ["10.9.0.1"]);
    // Whoever watches sees the failures, and how old the answer is.
    let (age, answers) =
        (name_metric(&gateway, "answer_age_seconds", ""), name_metric(&gateway, "answers_total", ",outcome=\"answered\""));
    assert!(age > 1.0, "{age} s: none has come since it ran out");
    assert!(name_metric(&gateway, "answers_total", ",outcome=\"failed\"") >= 3.0);
    dns.answers(NAME, &["10.9.0.2"], 1);
    holds("the new answer to be used", || answered_by(&gateway, 4) == ["10.9.0.2"]);
    assert!(name_metric(&gateway, "answers_total", ",outcome=\"answered\"") > answers);
}

#[test]
fn a_gateway_whose_names_lead_nowhere_starts_and_recovers_by_itself() {
    if !in_own_network("upstream_dns::a_gateway_whose_names_lead_nowhere_starts_and_recovers_by_itself", PRIVATE) {
        return;
    }
    let dns = Dns::new();
    let _upstream = upstream("10.9.0.1");
    for begin in [|dns: &Dns| dns.denies(NAME), |dns: &Dns| dns.is_silent(NAME)] {
        begin(&dns);
        let mut gateway = before(&dns);
        assert_eq!(get(&gateway).code(), "upstream_unresolved");
        dns.answers(NAME, &["10.9.0.1"], 60);
        eventually("the name to be resolved", || (get(&gateway).status == 200).then_some(()));
        gateway.is_well();
    }
}

#[test]
fn an_answer_without_end_is_cut() {
    let addresses: Vec<String> = (0..500).map(|number| format!("10.9.{}.{}", number / 250, number % 250 + 1)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    if !in_own_network("upstream_dns::an_answer_without_end_is_cut", &addresses) {
        return;
    }
    let dns = Dns::new();
    let all = Witness::answering_on(SocketAddr::from(([0, 0, 0, 0], PORT)), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    dns.answers(NAME, &addresses, 60);
    let gateway = before(&dns);
    for _ in 0..200 {
        assert_eq!(get(&gateway).status, 200);
    }
    assert!(gateway.stderr().contains(&format!("`{NAME}` has 500 addresses; the first 64 are used")), "{}", gateway.stderr());
    let mut used: Vec<String> =
        gateway.records_when(200).iter().map(|record| record["endpoint"].as_str().unwrap_or_default().to_owned()).collect();
    used.sort();
    used.dedup();
    assert!((2..=64).contains(&used.len()), "{} endpoints", used.len());
    assert!(all.connections() > 0);
}

#[test]
fn a_reload_brings_names_and_takes_them_away_and_no_request_fails() {
    if !in_own_network("upstream_dns::a_reload_brings_names_and_takes_them_away_and_no_request_fails", PRIVATE) {
        return;
    }
    let dns = Dns::new();
    let other = Dns::new();
    let [_first, _second, _third] = ["10.9.0.1", "10.9.0.2", "10.9.0.3"].map(upstream);
    dns.answers(NAME, &["10.9.0.1"], 1);
    dns.answers("billing.internal", &["10.9.0.2"], 1);
    other.answers("billing.internal", &["10.9.0.3"], 1);
    let gateway = before(&dns);
    assert_eq!(answered_by(&gateway, 8), ["10.9.0.1"]);
    gateway.configure(&config(&format!("http://billing.internal:{PORT}"), &dns, DANGER));
    holds("the other name to be used", || answered_by(&gateway, 4) == ["10.9.0.2"]);
    gateway.configure(&config(&format!("http://billing.internal:{PORT}"), &other, DANGER));
    holds("the other server to be asked", || answered_by(&gateway, 4) == ["10.9.0.3"]);
    gateway.configure(&config(&format!("http://10.9.0.1:{PORT}"), &other, DANGER));
    holds("the address to be used", || answered_by(&gateway, 4) == ["10.9.0.1"]);
    // Nobody is asked for what nobody wants.
    let asked = dns.queries() + other.queries();
    assert_eq!(answered_by(&gateway, 64), ["10.9.0.1"]);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(dns.queries() + other.queries(), asked);
}
