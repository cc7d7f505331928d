//! Which endpoint is chosen, what becomes of those that fail, and how often a request is repeated: counted at real upstreams.

use portcullis_testing_kit::{Gateway, Plain, RawClient, UpstreamSide, Witness, ask, free_port, holds};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A gateway whose only upstream has these endpoints, each followed by more, such as `, weight: 2`, and these settings.
fn gateway(endpoints: &[(SocketAddr, &str)], settings: &'static str) -> Gateway {
    let list: Vec<String> = endpoints.iter().map(|(address, more)| format!("{{ url: \"http://{address}\"{more} }}")).collect();
    let mut plain = Plain::to(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    plain.upstream_settings = settings;
    Gateway::start(&plain.yaml().replace("{ url: \"http://127.0.0.1:1\" }", &list.join(", ")))
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    gateway.metric(&format!("portcullis_upstream_{name}{{upstream=\"u\"}}")) as u64
}

fn endpoints_in(gateway: &Gateway, state: &str) -> u64 {
    gateway.metric(&format!("portcullis_upstream_endpoints{{upstream=\"u\",state=\"{state}\"}}")) as u64
}

/// The statuses of so many requests, one after the other on one connection that is renewed when it ends.
fn statuses(gateway: &Gateway, count: usize) -> Vec<u16> {
    (0..count).map(|_| RawClient::connect(gateway.http()).send(GET).response().status).collect()
}

fn serve_while(good: &AtomicBool, side: &mut UpstreamSide) {
    while side.request().is_some() {
        if !good.load(Ordering::Acquire) || !side.write(OK) {
            return;
        }
    }
}

#[test]
fn shares_follow_the_weights() {
    let (great, small) = (Witness::ok(), Witness::ok());
    let gateway = gateway(&[(great.address(), ", weight: 3"), (small.address(), "")], "");
    assert!(statuses(&gateway, 80).iter().all(|status| *status == 200));
    assert_eq!((great.requests().len(), small.requests().len()), (60, 20));
}

#[test]
fn requests_are_split_between_upstreams_in_exact_shares() {
    let (stable, canary) = (Witness::ok(), Witness::ok());
    let plain = Plain::to(stable.address());
    let yaml = plain
        .yaml()
        .replacen("apis:\n", &format!("  next: {{ endpoints: [ {{ url: \"http://{}\" }} ] }}\napis:\n", canary.address()), 1)
        .replacen("    upstream: u\n", "    weights: { u: 95, next: 5 }\n", 1);
    let gateway = Gateway::start(&yaml);
    assert!(statuses(&gateway, 200).iter().all(|status| *status == 200));
    assert_eq!((stable.requests().len(), canary.requests().len()), (190, 10));
}

#[test]
fn the_same_key_goes_to_the_same_endpoint() {
    let all: Vec<Witness> = (0..4).map(|_| Witness::ok()).collect();
    let endpoints: Vec<(SocketAddr, &str)> = all.iter().map(|witness| (witness.address(), "")).collect();
    let gateway = gateway(&endpoints, "balance: consistent_hash\n    hash_by: header:X-Tenant");
    for tenant in 0..40 {
        for _ in 0..3 {
            let request = format!("GET /{tenant} HTTP/1.1\r\nHost: a.test\r\nX-Tenant: t{tenant}\r\nConnection: close\r\n\r\n");
            assert_eq!(ask(gateway.http(), request)[0].status, 200);
        }
    }
    let of = |witness: &Witness, tenant: usize| {
        witness.texts().iter().filter(|text| text.starts_with(&format!("GET /{tenant} "))).count()
    };
    for tenant in 0..40 {
        let counts: Vec<usize> = all.iter().map(|witness| of(witness, tenant)).collect();
        assert!(counts.contains(&3), "tenant {tenant} is spread: {counts:?}");
    }
    assert!(all.iter().all(|witness| !witness.requests().is_empty()), "keys are spread over all endpoints");
}

#[test]
fn the_less_busy_and_the_quicker_endpoint_gets_more() {
    for balance in ["balance: least_requests", "balance: least_latency"] {
        let quick = Witness::ok();
        let slow = Witness::scripted(|side| {
            while side.request().is_some() {
                thread::sleep(std::time::Duration::from_millis(150));
                if !side.write(OK) {
                    return;
                }
            }
        });
        let gateway = gateway(&[(quick.address(), ""), (slow.address(), "")], balance);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(statuses(&gateway, 25).iter().all(|status| *status == 200)));
            }
        });
        let (quick, slow) = (quick.requests().len(), slow.requests().len());
        assert_eq!(quick + slow, 100);
        assert!(quick > 2 * slow, "{balance}: {quick} to the quick one, {slow} to the slow one");
    }
}

#[test]
fn g149_when_everything_fails_the_upstream_gets_little_more_than_the_clients_ask_for() {
    const CLIENTS: usize = 400;
    let fails = |side: &mut UpstreamSide| {
        side.request();
        side.reset();
    };
    let all = [Witness::scripted(fails), Witness::scripted(fails), Witness::scripted(fails)];
    let endpoints: Vec<(SocketAddr, &str)> = all.iter().map(|witness| (witness.address(), "")).collect();
    let gateway = gateway(&endpoints, "retry: { attempts: 4 }");
    assert!(statuses(&gateway, CLIENTS).iter().all(|status| *status == 502));
    let received: usize = all.iter().map(|witness| witness.requests().len()).sum();
    assert!(received >= CLIENTS, "{received}");
    assert!(received * 10 <= CLIENTS * 12, "{received} requests came to the upstream for {CLIENTS} of clients");
    assert!(metric(&gateway, "retries_total") <= CLIENTS as u64 / 5 && metric(&gateway, "retries_refused_total") > 0);
}

#[test]
fn g150_one_bad_endpoint_of_three_is_left_out() {
    let bad = Witness::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let good = [Witness::ok(), Witness::ok()];
    let gateway = gateway(&[(bad.address(), ""), (good[0].address(), ""), (good[1].address(), "")], "outlier: { eject_for: 5m }");
    let first = statuses(&gateway, 60);
    assert_eq!(first.iter().filter(|status| **status == 503).count(), 5, "{first:?}");
    assert_eq!((metric(&gateway, "ejections_total"), endpoints_in(&gateway, "ejected")), (1, 1));
    assert!(statuses(&gateway, 60).iter().all(|status| *status == 200));
    assert_eq!(bad.requests().len(), 5);
}

#[test]
fn g150_three_bad_endpoints_of_three_are_asked_all_the_same_and_are_back_at_once() {
    let good = Arc::new(AtomicBool::new(false));
    let all: Vec<Witness> = (0..3)
        .map(|_| {
            let good = Arc::clone(&good);
            Witness::scripted(move |side| serve_while(&good, side))
        })
        .collect();
    let endpoints: Vec<(SocketAddr, &str)> = all.iter().map(|witness| (witness.address(), "")).collect();
    for (share, ejected) in [("outlier: { eject_at_most: 100%, eject_for: 5m }", 3), ("outlier: { eject_for: 5m }", 1)] {
        good.store(false, Ordering::Release);
        let gateway = gateway(&endpoints, share);
        assert!(statuses(&gateway, 60).iter().all(|status| *status == 502));
        assert_eq!(endpoints_in(&gateway, "ejected"), ejected, "{share}");
        assert_eq!(metric(&gateway, "last_resort_total") > 0, ejected == 3, "{share}");
        good.store(true, Ordering::Release);
        assert!(statuses(&gateway, 30).iter().all(|status| *status == 200), "{share}: what works again is used at once");
    }
}

#[test]
fn an_endpoint_that_was_left_out_comes_back() {
    let good = Arc::new(AtomicBool::new(false));
    let (own, other) = (Arc::clone(&good), Witness::ok());
    let mended = Witness::scripted(move |side| serve_while(&own, side));
    let gateway = gateway(&[(mended.address(), ""), (other.address(), "")], "outlier: { eject_for: 1s }\n    slow_start: 0s");
    statuses(&gateway, 20);
    assert_eq!(endpoints_in(&gateway, "ejected"), 1);
    good.store(true, Ordering::Release);
    let before = mended.requests().len();
    holds("requests to the endpoint that was mended", || {
        assert!(statuses(&gateway, 2).iter().all(|status| *status == 200));
        mended.requests().len() > before
    });
}

#[test]
fn connections_closed_while_unused_are_never_seen_by_a_client() {
    // Each connection ends after one to three answers without saying so, at the very moment when the next request may be on its way.
    let number = Arc::new(AtomicUsize::new(0));
    let witness = Witness::scripted(move |side| {
        for _ in 0..=number.fetch_add(1, Ordering::Relaxed) % 3 {
            if side.request().is_none() || !side.write(OK) {
                return;
            }
        }
    });
    let gateway = gateway(&[(witness.address(), "")], "");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = RawClient::connect(gateway.http());
                for _ in 0..150 {
                    assert_eq!(client.send(GET).response().status, 200);
                }
            });
        }
    });
    assert_eq!(witness.requests().len(), 600);
}

#[test]
fn a_short_body_is_sent_again_only_by_a_method_that_may() {
    let number = Arc::new(AtomicUsize::new(0));
    let witness = Witness::scripted(move |side| {
        while side.request().is_some() {
            if number.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return side.reset();
            }
            if !side.write(OK) {
                return;
            }
        }
    });
    let gateway = gateway(&[(witness.address(), "")], "");
    let send = |method: &str, body: &str| {
        let head = format!("{method} /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        ask(gateway.http(), head + body)[0].status
    };
    let body = "0123456789".repeat(1000);
    assert_eq!(send("PUT", &body), 200);
    let sent = witness.texts();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].starts_with("PUT /x ") && sent[0].ends_with(&body) && sent[0] == sent[1], "the same request, whole, twice");
    assert_eq!(send("POST", &body), 502);
    assert_eq!(witness.requests().len(), 3);
}

#[test]
fn a_request_waits_for_a_connection_and_too_many_do_not() {
    let witness = Witness::scripted(|side| {
        while side.request().is_some() {
            thread::sleep(std::time::Duration::from_millis(20));
            if !side.write(OK) {
                return;
            }
        }
    });
    let gateway = gateway(&[(witness.address(), "")], "timeouts: { connect: 10s }\n    limits: { connections: 2, pending: 8 }");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(statuses(&gateway, 5).iter().all(|status| *status == 200)));
        }
    });
    assert_eq!(witness.requests().len(), 40);
    assert!(metric(&gateway, "waits_total") > 0);
    assert_eq!(metric(&gateway, "pending"), 0);
    // A place that one worker keeps unused is given up for the other: each new client may come to either.
    assert!(statuses(&gateway, 30).iter().all(|status| *status == 200));
}

#[test]
fn more_requests_than_may_wait_are_refused_at_once() {
    let witness = Witness::scripted(|side| {
        side.request();
        side.drain();
    });
    let gateway = gateway(&[(witness.address(), "")], "timeouts: { connect: 20s }\n    limits: { connections: 1, pending: 1 }");
    let mut held: Vec<RawClient> = (0..2).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut held {
        client.send(GET);
    }
    holds("one request at the upstream and one that waits", || witness.requests().len() == 1 && metric(&gateway, "pending") == 1);
    let over = &ask(gateway.http(), GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))[0];
    assert_eq!((over.status, over.code().as_str()), (503, "upstream_exhausted"));
}

#[test]
fn a_broken_circuit_spares_the_upstream_and_closes_by_itself() {
    let good = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&good);
    let witness = Witness::scripted(move |side| {
        while side.request().is_some() {
            let answer = if own.load(Ordering::Acquire) { OK } else { "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" };
            if !side.write(answer) {
                return;
            }
        }
    });
    let gateway = gateway(&[(witness.address(), "")], "breaker: { requests_min: 10, open_for: 1s, probes: 2 }");
    statuses(&gateway, 50);
    assert_eq!(witness.requests().len(), 10);
    let refused = gateway.get("/x");
    assert_eq!((refused.status, refused.code().as_str()), (503, "upstream_circuit_open"));
    assert_eq!((metric(&gateway, "circuit_breaks_total"), metric(&gateway, "circuit_open")), (1, 1));
    good.store(true, Ordering::Release);
    holds("the circuit to close", || statuses(&gateway, 1) == [200] && metric(&gateway, "circuit_open") == 0);
    assert!(statuses(&gateway, 20).iter().all(|status| *status == 200));
}

#[test]
fn the_total_deadline_covers_all_tries() {
    let witness = Witness::scripted(|side| {
        side.request();
        thread::sleep(std::time::Duration::from_millis(700));
        side.reset();
    });
    let gateway =
        gateway(&[(witness.address(), "")], "timeouts: { first_byte: 2s, total: 2s }\n    retry: { attempts: 8, budget: 100% }");
    let response = gateway.get("/x");
    assert!(matches!(response.status, 502 | 504), "{}", response.head);
    assert!((2..=3).contains(&witness.requests().len()), "{} tries of 700 ms each within 2 s", witness.requests().len());
}

#[test]
fn the_command_shows_endpoints_and_their_state() {
    let (witness, dead) = (Witness::ok(), SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    let gateway = gateway(&[(witness.address(), ""), (dead, "")], "outlier: { eject_for: 5m }");
    assert!(statuses(&gateway, 20).iter().all(|status| *status == 200));
    let mut command = std::process::Command::new(portcullis_testing_kit::binary());
    command.args(["upstreams", "--format", "json", "--socket"]).arg(gateway.folder().join("run/portcullis.sock"));
    let shown = portcullis_testing_kit::output_of(&mut command);
    let upstreams: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("it writes JSON");
    let endpoints = &upstreams[0]["endpoints"];
    assert_eq!((&upstreams[0]["name"], &upstreams[0]["circuit"]), (&"u".into(), &"closed".into()));
    assert_eq!((&endpoints[0]["state"], &endpoints[1]["state"]), (&"available".into(), &"ejected".into()), "{upstreams}");
    assert!(endpoints[0]["latency_micros"].as_u64().is_some_and(|micros| micros > 0));
}
