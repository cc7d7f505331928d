//! The policy `limits` in the real gateway: several workers share what clients have used, and a reload gives nothing back.

use portcullis_testing_kit::{Gateway, Plain, RawClient, Witness};
use std::net::Ipv4Addr;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

fn start(limits: &str) -> (Witness, Plain, Gateway) {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    let text = format!("limits: {limits}");
    plain.api = Box::leak(text.into_boxed_str());
    let gateway = plain.start();
    (witness, plain, gateway)
}

fn ask(gateway: &Gateway, host: u8) -> portcullis_testing_kit::Response {
    RawClient::connect_from(Ipv4Addr::new(127, 0, 0, host), gateway.http()).send(GET).response()
}

#[test]
fn a_client_that_asks_too_fast_is_refused_and_others_are_served() {
    let (witness, _, mut gateway) = start("[ { per: client_ip, rate: 1/h, burst: 10 } ]");
    for left in (0..10).rev() {
        let response = ask(&gateway, 2);
        assert_eq!(response.status, 200);
        let told = response.field("ratelimit").expect("what is left is told");
        assert!(told.starts_with(&format!("\"client_ip\";r={left};t=")), "{told}");
    }
    // Each on a connection of its own, so that they come to all workers.
    for _ in 0..20 {
        let response = ask(&gateway, 2);
        assert_eq!((response.status, response.code().as_str()), (429, "rate_limited"));
        let wait: u64 = response.field("retry-after").and_then(|text| text.parse().ok()).expect("a number of seconds");
        assert!((3500..=3600).contains(&wait), "{wait}");
        assert_eq!(response.field("ratelimit-policy"), Some("\"client_ip\";q=10;w=36000"));
    }
    assert_eq!(ask(&gateway, 3).status, 200, "another client");
    assert_eq!(witness.requests().len(), 11, "what is refused does not reach the upstream");
    let record = gateway.record_of("rate_limited");
    assert_eq!((&record["status"], &record["client"]), (&429.into(), &"127.0.0.2".into()));
    gateway.is_well();
}

#[test]
fn a_reload_gives_nothing_back() {
    let (_witness, _, mut gateway) = start("[ { per: client_ip, rate: 1/h, burst: 3 } ]");
    (0..3).for_each(|_| assert_eq!(ask(&gateway, 2).status, 200));
    let before = gateway.generation();
    gateway.configure(&gateway.config().replace("path: \"/{*rest}\"", "path: \"/{*other}\""));
    gateway.reaches_generation(before + 1);
    assert_eq!(ask(&gateway, 2).status, 429);
    gateway.configure(&gateway.config().replace("burst: 3", "burst: 5"));
    gateway.reaches_generation(before + 2);
    assert_eq!(
        [ask(&gateway, 2).status, ask(&gateway, 2).status, ask(&gateway, 2).status],
        [200, 200, 429],
        "what was used stays used"
    );
    gateway.is_well();
}
