use super::{Limits, compile};
use crate::testing::{exchange, settings};
use portcullis_gateway_policy::{Exchange, LiveFiles, Policy, Scheme, Step, Verdict};
use portcullis_model::Reason;
use portcullis_wire::ResponseHead;
use std::sync::Arc;
use std::time::Duration;

fn policy(live: &LiveFiles, levels: &[&str]) -> Arc<dyn Policy> {
    compile(&levels.iter().map(|level| settings::<Limits>(level)).collect::<Vec<_>>(), live).unwrap()
}

fn ask(client: &str, route: &str, seconds: f64) -> Exchange {
    let mut exchange = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scheme::Https);
    exchange.client = client.parse().unwrap();
    exchange.record.route = Some(route.into());
    exchange.arrived = Duration::from_secs_f64(seconds);
    exchange
}

fn passes(policy: &Arc<dyn Policy>, exchange: &mut Exchange) -> bool {
    match policy.on_request(exchange) {
        Step::Ready(Verdict::Continue) => true,
        Step::Ready(Verdict::Reject(rejection)) if rejection.reason == Reason::RateLimited => false,
        _ => panic!("neither continues nor refuses for the rate"),
    }
}

fn told(policy: &Arc<dyn Policy>, exchange: &Exchange) -> Vec<String> {
    let mut response = ResponseHead::default();
    response.reset_local(200);
    policy.on_response(exchange, &mut response);
    let value = |name: &str| response.fields().iter().find(|(field, _)| *field == name.as_bytes()).map(|(_, value)| value.to_vec());
    ["ratelimit", "ratelimit-policy", "retry-after"]
        .into_iter()
        .map(|name| value(name).map_or(String::new(), |value| String::from_utf8(value).unwrap()))
        .collect()
}

#[test]
fn a_client_has_its_burst_and_then_its_rate_and_is_told() {
    let policy = policy(&LiveFiles::default(), &[r#"[{"per":"client_ip","rate":"2/m","burst":3}]"#]);
    for left in ["2;t=30", "1;t=60", "0;t=90"] {
        let mut one = ask("192.0.2.1", "r", 1.0);
        assert!(passes(&policy, &mut one));
        assert_eq!(told(&policy, &one), [&format!("\"client_ip\";r={left}"), "\"client_ip\";q=3;w=90", ""]);
    }
    let mut refused = ask("192.0.2.1", "r", 1.5);
    assert!(!passes(&policy, &mut refused));
    assert_eq!(told(&policy, &refused), ["\"client_ip\";r=0;t=90", "\"client_ip\";q=3;w=90", "30"]);
    assert!(passes(&policy, &mut ask("192.0.2.2", "r", 1.5)), "another client has its own");
    assert!(passes(&policy, &mut ask("192.0.2.1", "r", 31.0)) && !passes(&policy, &mut ask("192.0.2.1", "r", 60.9)));
}

#[test]
fn c65_an_address_is_one_client_however_it_is_written_and_an_ipv6_network_is_one_too() {
    let policy = policy(&LiveFiles::default(), &[r#"[{"per":"client_ip","rate":"1/m"}]"#]);
    assert!(passes(&policy, &mut ask("192.0.2.1", "r", 0.0)));
    assert!(!passes(&policy, &mut ask("::ffff:192.0.2.1", "r", 0.0)));
    assert!(passes(&policy, &mut ask("2001:db8:1:2::1", "r", 0.0)));
    assert!(!passes(&policy, &mut ask("2001:db8:1:2:ffff::77", "r", 0.0)), "the same network of 64 bits");
    assert!(passes(&policy, &mut ask("2001:db8:1:3::1", "r", 0.0)), "another network");
}

#[test]
fn limits_of_every_level_hold_together_and_a_refusal_charges_none() {
    let live = LiveFiles::default();
    let both = policy(&live, &[r#"[{"per":"all","rate":"1/m","burst":2}]"#, r#"[{"per":"route","rate":"1/m","burst":1}]"#]);
    assert!(passes(&both, &mut ask("192.0.2.1", "one", 0.0)));
    assert!(!passes(&both, &mut ask("192.0.2.1", "one", 0.0)), "this route has had its one");
    let mut other = ask("192.0.2.9", "other", 0.0);
    assert!(passes(&both, &mut other), "what was refused has not been charged to all");
    let mut third = ask("192.0.2.9", "third", 0.0);
    assert!(!passes(&both, &mut third));
    assert_eq!(told(&both, &third)[1], "\"all\";q=2;w=120", "told is the limit that refused");
}

#[test]
fn what_was_used_is_known_after_a_reload() {
    let live = LiveFiles::default();
    let line = r#"[{"per":"client_ip","rate":"1/h"}]"#;
    assert!(passes(&policy(&live, &[line]), &mut ask("192.0.2.1", "r", 0.0)));
    assert!(!passes(&policy(&live, &[line]), &mut ask("192.0.2.1", "r", 1.0)), "a reload gives nothing back");
    assert!(
        passes(&policy(&live, &[r#"[{"per":"all","rate":"1/h"}]"#]), &mut ask("192.0.2.1", "r", 1.0)),
        "another limit counts anew"
    );
}

#[test]
fn costs_count() {
    let policy = policy(&LiveFiles::default(), &[r#"[{"per":"all","rate":"10/s","burst":10,"cost":4,"name":"heavy"}]"#]);
    assert!(passes(&policy, &mut ask("192.0.2.1", "r", 0.0)) && passes(&policy, &mut ask("192.0.2.2", "r", 0.0)));
    let mut third = ask("192.0.2.3", "r", 0.0);
    assert!(!passes(&policy, &mut third));
    assert_eq!(told(&policy, &third), ["\"heavy\";r=2;t=1", "\"heavy\";q=10;w=1", "1"]);
}

#[test]
fn by_header_each_value_is_one_and_who_sends_none_counts_by_address() {
    let policy = policy(&LiveFiles::default(), &[r#"[{"per":"header","header":"X-Tenant","rate":"1/h"}]"#]);
    let with = |fields: &str, client: &str| {
        let mut one = exchange(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), Scheme::Https);
        one.client = client.parse().unwrap();
        passes(&policy, &mut one)
    };
    assert!(with("X-Tenant: a\r\n", "192.0.2.1") && with("X-Tenant: b\r\n", "192.0.2.1"));
    assert!(!with("x-tenant: a\r\n", "192.0.2.2"), "from wherever it comes");
    assert!(with("X-Tenant: a\r\nX-Tenant: b\r\n", "192.0.2.1"), "two values are another one");
    assert!(with("", "192.0.2.1") && !with("", "192.0.2.1") && with("", "192.0.2.2"));
}

#[test]
fn by_api_all_routes_of_one_count_together() {
    let policy = policy(&LiveFiles::default(), &[r#"[{"per":"api","rate":"1/h"}]"#]);
    let of = |api: &str, route: &str| {
        let mut one = ask("192.0.2.1", route, 1.0);
        one.record.api = Some(api.into());
        passes(&policy, &mut one)
    };
    assert_eq!([of("a", "r"), of("a", "s"), of("b", "r")], [true, false, true]);
}

#[test]
fn a_limit_that_reports_refuses_nothing_and_is_told_to_nobody_but_the_record() {
    let lines = r#"[{"per":"client_ip","rate":"1/h","mode":"report","name":"tight"},{"per":"all","rate":"1/h","burst":3}]"#;
    let policy = policy(&LiveFiles::default(), &[lines]);
    let mut over = Vec::new();
    for _ in 0..3 {
        let mut one = ask("192.0.2.1", "r", 1.0);
        assert!(passes(&policy, &mut one));
        assert!(told(&policy, &one)[0].starts_with("\"all\";"));
        over.push(one.record.limits_over.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    assert_eq!(over, [vec![], vec!["tight".to_owned()], vec!["tight".to_owned()]]);
    let mut refused = ask("192.0.2.1", "r", 1.0);
    assert!(!passes(&policy, &mut refused) && refused.record.limits_over.is_empty(), "what is refused is not reported too");
}
