//! Overload: new work is refused in a stated order before anything fails, probes and management always answer, and it ends by itself.

use crate::http2_site::secure_site_with;
use portcullis_testing_kit::http2::{Outcome, kind};
use portcullis_testing_kit::{Gateway, Plain, RawClient, Witness, get, holds, output_of};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An upstream that answers at once, but for `/wait`: to that when it is let go.
fn patient() -> (Witness, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&released);
    let witness = Witness::scripted(move |side| {
        while let Some(request) = side.request() {
            while request.starts_with(b"GET /wait") && !held.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if !side.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
                return;
            }
        }
    });
    (witness, released)
}

fn started(witness: &Witness) -> (Plain, Gateway) {
    let mut plain = Plain::to(witness.address());
    plain.upstream_settings = "timeouts: { first_byte: 60s }";
    let gateway = plain.start();
    (plain, gateway)
}

const KEEP: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
const WAIT: &str = "GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn all_send(clients: &mut [RawClient], request: &str) {
    for client in clients {
        client.send(request);
    }
}

fn pressure(gateway: &Gateway) -> u64 {
    gateway.metric("portcullis_overload_pressure") as u64
}

/// Lets the running gateway have so many descriptors.
fn limit_descriptors(gateway: &mut Gateway, count: u64) {
    let id = gateway.process().id().to_string();
    let output = output_of(Command::new("prlimit").args(["--pid", &id, &format!("--nofile={count}:")]));
    assert!(output.status.success(), "{output:?}");
    holds("the limit to be seen", || gateway.metric("process_max_fds") as u64 == count);
}

fn open_descriptors(gateway: &Gateway) -> u64 {
    gateway.metric("process_open_fds") as u64
}

fn status(gateway: &Gateway) -> String {
    let mut command = Command::new(portcullis_testing_kit::binary());
    command.args(["status", "--socket"]).arg(gateway.folder().join("run/portcullis.sock"));
    String::from_utf8_lossy(&output_of(&mut command).stdout).into_owned()
}

#[test]
fn descriptors_that_run_out_close_idle_connections_first() {
    let (witness, _released) = patient();
    let (_, mut gateway) = started(&witness);
    let mut idle: Vec<RawClient> = (0..40).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut idle {
        assert_eq!(client.send(KEEP).response().field("connection"), None, "kept as long as there is room");
    }
    // 83 %: above 80, below 90.
    let open = open_descriptors(&gateway);
    limit_descriptors(&mut gateway, open * 100 / 83);
    holds("pressure to be noticed", || pressure(&gateway) >= 1);
    for client in &mut idle {
        assert!(client.ends_within(Duration::from_secs(20)), "an idle connection is kept under pressure");
    }
    // New connections are served all the same, and end with their answer.
    let mut client = RawClient::connect(gateway.http());
    let response = client.send(KEEP).response();
    assert!(response.status == 200, "{}", response.head);
    holds("calm to come back", || pressure(&gateway) == 0);
    assert_eq!(RawClient::connect(gateway.http()).send(KEEP).response().field("connection"), None);
    let said = gateway.stderr();
    assert!(
        said.contains("\"state\":\"saving\"") && said.contains("\"state\":\"none\"") && said.contains("descriptors:"),
        "{said}"
    );
}

#[test]
fn work_is_refused_in_its_order_and_served_again() {
    let (witness, released) = patient();
    let (_, mut gateway) = started(&witness);
    // Work under way, which nothing may hurt; each holds two descriptors.
    let mut busy: Vec<RawClient> = (0..30).map(|_| RawClient::connect(gateway.http())).collect();
    all_send(&mut busy, WAIT);
    holds("the requests to be under way", || witness.connections() >= 30);
    // Connections that have sent nothing yet, from before.
    let mut early: Vec<RawClient> = (0..4).map(|_| RawClient::connect(gateway.http())).collect();
    holds("them to be accepted", || gateway.metric("portcullis_connections_open{listener=\"plain\"}") >= 34.0);
    let open = open_descriptors(&gateway);
    // 97 %: everything new is refused.
    limit_descriptors(&mut gateway, open * 100 / 97);
    holds("pressure to be noticed", || pressure(&gateway) == 3);
    for client in &mut early {
        let response = client.send(KEEP).response();
        assert_eq!((response.status, response.code().as_str()), (503, "overloaded"), "{}", response.head);
        assert_eq!((response.field("retry-after"), response.field("connection")), (Some("5"), Some("close")));
        assert_eq!(response.field("content-type"), Some("application/problem+json"));
    }
    drop(early);
    // Probes and management answer.
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(gateway.address("probes"), "localhost", path).status, 200, "{path}");
    }
    let shown = status(&gateway);
    assert!(shown.contains("refusing: ") && shown.contains("descriptors: "), "{shown}");
    // What was under way is served to its end, and those who wait in the queue are served after it.
    let mut queued: Vec<RawClient> = (0..10).map(|_| RawClient::connect(gateway.http())).collect();
    all_send(&mut queued, KEEP);
    released.store(true, Ordering::Release);
    for client in &mut busy {
        assert_eq!(client.response().status, 200, "what was under way failed");
    }
    drop(busy);
    let answers: Vec<u16> = queued.iter_mut().map(|client| client.response().status).collect();
    assert!(answers.iter().all(|status| matches!(status, 200 | 503)), "{answers:?}");
    drop(queued);
    limit_descriptors(&mut gateway, 1000);
    holds("calm to come back", || pressure(&gateway) == 0);
    assert_eq!(gateway.get("/x").status, 200);
    assert!(gateway.metric("portcullis_rejections_total{reason=\"overloaded\",blame=\"gateway\"}") >= 4.0);
    assert!(gateway.metric("portcullis_overload_changes_total") >= 2.0);
    assert!(status(&gateway).contains("\"overload\": null"), "{}", status(&gateway));
    gateway.is_well();
}

#[test]
fn work_on_an_open_http_2_connection_is_refused_in_its_order_and_served_again() {
    let (witness, released) = patient();
    let mut site = secure_site_with(witness, "", |plain| plain.upstream_settings = "timeouts: { first_byte: 60s }");
    // Two connections with work under way, opened while there was room for everything.
    let mut clients: Vec<_> = (0..2).map(|_| site.client()).collect();
    for client in &mut clients {
        client.wait_at_most(Duration::from_secs(60));
        for stream in (1..30).step_by(2) {
            client.get(stream, "/wait");
        }
    }
    holds("the requests to be under way", || site.witness.connections() >= 30);
    let open = open_descriptors(&site.gateway);
    limit_descriptors(&mut site.gateway, open * 100 / 97);
    holds("pressure to be noticed", || pressure(&site.gateway) == 3);
    // A new stream of theirs is new work: it is answered 503 and reaches nobody.
    for client in &mut clients {
        assert_eq!(client.get(31, "/new").outcome(31), Outcome::Answered(503));
    }
    assert_eq!(site.reached("/new"), 0);
    // What was under way is served to its end.
    released.store(true, Ordering::Release);
    for client in &mut clients {
        // They are answered in whatever order; 0x88 is the status 200 in HPACK (RFC 7541, appendix A).
        let mut answered = BTreeSet::new();
        while answered.len() < 15 {
            let frame = client.next_frame().expect("what was under way is answered before the connection ends");
            if frame.kind == kind::HEADERS {
                assert_eq!(frame.payload.first(), Some(&0x88), "stream {}, which was under way, failed", frame.stream);
                answered.insert(frame.stream);
            }
        }
    }
    assert!(site.gateway.metric("portcullis_rejections_total{reason=\"overloaded\",blame=\"gateway\"}") >= 2.0);
    drop(clients);
    limit_descriptors(&mut site.gateway, 1000);
    holds("calm to come back", || pressure(&site.gateway) == 0);
    site.serves();
    site.gateway.is_well();
}

#[test]
fn a_flood_of_connections_never_takes_the_last_descriptors() {
    let (witness, _released) = patient();
    let (_, mut gateway) = started(&witness);
    limit_descriptors(&mut gateway, 120);
    // Far more than there are descriptors; the kernel's queue takes the rest.
    let flood: Vec<RawClient> = (0..300).map(|_| RawClient::connect(gateway.http())).collect();
    for _ in 0..10 {
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(get(gateway.address("probes"), "localhost", path).status, 200, "{path}");
        }
        let open = open_descriptors(&gateway);
        assert!(open < 120, "{open} of 120 descriptors are open");
        assert!(status(&gateway).contains("ready"));
    }
    drop(flood);
    holds("a client to be served", || {
        RawClient::connect(gateway.http()).send(KEEP).response_to("GET").is_some_and(|response| response.status == 200)
    });
    gateway.is_well();
}

#[test]
fn memory_that_runs_out_refuses_work_until_there_is_more() {
    let (witness, released) = patient();
    let (mut plain, mut gateway) = started(&witness);
    let sections =
        |bytes: u64| -> &'static str { Box::leak(format!("defend: {{ overload: {{ memory_bytes_max: {bytes}B }} }}").into()) };
    let mut busy: Vec<RawClient> = (0..6).map(|_| RawClient::connect(gateway.http())).collect();
    all_send(&mut busy, WAIT);
    holds("the requests to be under way", || witness.connections() >= 6);
    let mut early: Vec<RawClient> = (0..4).map(|_| RawClient::connect(gateway.http())).collect();
    holds("them to be accepted", || gateway.metric("portcullis_connections_open{listener=\"plain\"}") >= 10.0);
    let resident = gateway.process().resident_kib() * 1024;
    plain.sections = sections((resident * 100 / 99).max(16 << 20));
    gateway.configure(&plain.yaml());
    holds("pressure to be noticed", || pressure(&gateway) == 3);
    let answers: Vec<u16> = early.iter_mut().map(|client| client.send(KEEP).response().status).collect();
    assert!(answers.contains(&503) && answers.iter().all(|status| matches!(status, 200 | 503)), "{answers:?}");
    assert!(gateway.stderr().contains("memory:"), "{}", gateway.stderr());
    released.store(true, Ordering::Release);
    assert!(busy.iter_mut().all(|client| client.response().status == 200), "what was under way failed");
    // With nothing under way a request is served, however full memory is: nobody is locked out for good.
    assert_eq!(gateway.get("/x").status, 200);
    plain.sections = sections(resident * 4);
    gateway.configure(&plain.yaml());
    holds("calm to come back", || pressure(&gateway) == 0);
    gateway.is_well();
}

#[test]
fn memory_that_a_large_configuration_took_goes_back() {
    let witness = Witness::ok();
    let gateway = Plain::to(witness.address()).start();
    let small = gateway.config();
    let before = gateway.resident_kib();
    let endpoints: String = (1..=10).map(|port| format!("{{ url: \"http://127.0.0.1:{port}\" }}, ")).collect();
    let more: String = (0..1000).map(|number| format!("  more{number}: {{ endpoints: [ {endpoints} ] }}\n")).collect();
    gateway.configure(&small.replacen("upstreams:\n", &format!("upstreams:\n{more}"), 1));
    gateway.reaches_generation(2);
    gateway.configure(&small);
    gateway.reaches_generation(3);
    holds("what was read to be free again", || gateway.resident_kib() < before + 32 * 1024);
}
