//! The end of a gateway: in order, within a bound, and without a lost request.

use crate::streams_site::{AGREES, HANDSHAKE};
use portcullis_testing_kit::{Gateway, Plain, RawClient, Witness, binary, get, holds, output_of};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A gateway whose `management` has this `drain`.
fn with_drain(upstream: &Witness, drain: &str) -> Gateway {
    let yaml = Plain::to(upstream.address()).yaml();
    Gateway::start(&yaml.replace("probes: 127.0.0.1:@probes@", &format!("probes: 127.0.0.1:@probes@, drain: {{ {drain} }}")))
}

/// An upstream that answers when the test says so: the first half of its answer at once, the rest for each message.
fn held() -> (Witness, SyncSender<()>) {
    let (send, received): (SyncSender<()>, Receiver<()>) = sync_channel(8);
    let received = Mutex::new(received);
    let witness = Witness::scripted(move |side| {
        while side.request().is_some() {
            let told = received.lock().expect("no test has failed here").recv();
            if told.is_err() || !side.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf") {
                return;
            }
            let told = received.lock().expect("no test has failed here").recv();
            if told.is_err() || !side.write("half") {
                return;
            }
        }
    });
    (witness, send)
}

/// An upstream whose answers never end.
fn endless() -> Witness {
    Witness::scripted(|side| {
        if side.request().is_some() {
            side.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntick\r\n");
            side.drain();
        }
    })
}

fn ready(gateway: &Gateway) -> u16 {
    get(gateway.address("probes"), "localhost", "/readyz").status
}

#[test]
fn what_is_queued_on_the_sockets_when_it_stops_is_served() {
    let witness = Witness::ok();
    let mut gateway = with_drain(&witness, "deadline: 60s");
    // Nobody accepts: the kernel does, and keeps the requests.
    gateway.process().signal("STOP");
    let mut clients: Vec<_> = (0..40).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut clients {
        client.send(GET);
    }
    gateway.process().signal("TERM");
    gateway.process().signal("CONT");
    for client in &mut clients {
        // Whether it is told to go depends on which worker has heard of the end first.
        assert_eq!(client.response().status, 200);
        assert!(client.rest().is_empty());
    }
    assert!(gateway.process().wait().success());
    assert_eq!(gateway.records().len(), 40);
}

#[test]
fn an_exchange_under_way_is_finished_and_its_answer_says_that_the_connection_ends() {
    let (witness, go_on) = held();
    let mut gateway = with_drain(&witness, "deadline: 300s");
    let (mut early, mut late) = (RawClient::connect(gateway.http()), RawClient::connect(gateway.http()));
    // One has the head of its answer already, which promised that the connection goes on; the other one has not.
    early.send(GET);
    go_on.send(()).expect("the upstream waits");
    assert_eq!(early.response_head().status, 200);
    late.send(GET);
    holds("the second request to arrive", || witness.requests().len() == 2);
    gateway.process().signal("TERM");
    holds("not to be ready", || ready(&gateway) == 503);
    holds("not to accept", || std::net::TcpStream::connect(gateway.http()).is_err());
    for _ in 0..3 {
        go_on.send(()).expect("the upstream waits");
    }
    assert_eq!(early.exactly(8), b"halfhalf");
    // Its client may have sent another request on that promise: it is served, and told.
    early.send("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for _ in 0..2 {
        go_on.send(()).expect("the upstream waits");
    }
    for client in [&mut late, &mut early] {
        let response = client.response();
        assert_eq!((response.status, response.field("connection"), response.text().as_str()), (200, Some("close"), "halfhalf"));
        assert!(client.rest().is_empty());
    }
    assert!(gateway.process().wait().success());
    assert_eq!(gateway.records().len(), 3);
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let witness = Witness::ok();
    let mut gateway = with_drain(&witness, "deadline: 300s");
    let (mut idle, mut fresh) = (RawClient::connect(gateway.http()), RawClient::connect(gateway.http()));
    assert_eq!(idle.send(GET).response().status, 200);
    gateway.stop();
    assert!(idle.rest().is_empty() && fresh.rest().is_empty());
    assert!(!gateway.folder().join("run/portcullis.sock").exists(), "the socket's file goes with it");
}

#[test]
fn a_stream_without_end_is_cut_at_the_deadline_and_recorded() {
    let witness = endless();
    let mut gateway = with_drain(&witness, "deadline: 100ms");
    let mut client = RawClient::connect(gateway.http());
    client.send(GET).until(b"tick\r\n");
    gateway.stop();
    assert!(!String::from_utf8_lossy(&client.rest()).contains("0\r\n\r\n"), "a stream that was cut must not look whole");
    let record = gateway.record_of("shutting_down");
    assert_eq!(record["blame"], "gateway", "{record}");
    witness.all_ended();
}

#[test]
fn a_websocket_is_told_at_the_deadline_that_the_gateway_goes_away() {
    let witness = Witness::scripted(|side| {
        if side.request().is_some() {
            side.write(AGREES);
            side.drain();
        }
    });
    let mut plain = Plain::to(witness.address());
    plain.routes = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }";
    let probes = "probes: 127.0.0.1:@probes@";
    let mut gateway = Gateway::start(&plain.yaml().replace(probes, &format!("{probes}, drain: {{ deadline: 100ms }}")));
    let mut client = RawClient::connect(gateway.http());
    client.send(format!("GET /ws HTTP/1.1\r\nHost: a.test\r\n{HANDSHAKE}\r\n"));
    assert_eq!(client.response_head().status, 101);
    gateway.stop();
    assert_eq!(client.rest(), b"\x88\x0f\x03\xe9not available");
}

#[test]
fn a_second_signal_ends_at_once() {
    for first in ["TERM", "INT"] {
        let witness = endless();
        let mut gateway = with_drain(&witness, "delay: 300s, deadline: 300s");
        let mut client = RawClient::connect(gateway.http());
        client.send(GET).until(b"tick\r\n");
        gateway.process().signal(first);
        holds("not to be ready", || ready(&gateway) == 503);
        gateway.stop();
        gateway.record_of("shutting_down");
    }
}

#[test]
fn before_it_stops_accepting_load_balancers_may_be_given_time() {
    let witness = Witness::ok();
    let mut gateway = with_drain(&witness, "delay: 1500ms");
    let mut idle = RawClient::connect(gateway.http());
    assert_eq!(idle.send(GET).response().field("connection"), None);
    gateway.process().signal("TERM");
    holds("not to be ready", || ready(&gateway) == 503);
    // Not ready, and served all the same; but as soon as the workers have heard of it nobody stays.
    holds("a connection that was there to end", || {
        let response = idle.send(GET).response();
        assert_eq!(response.status, 200);
        response.field("connection") == Some("close")
    });
    holds("a new connection to end", || {
        let response = RawClient::connect(gateway.http()).send(GET).response();
        assert_eq!(response.status, 200);
        response.field("connection") == Some("close")
    });
    assert!(gateway.process().wait().success());
}

#[test]
fn drain_asks_clients_to_go_and_can_be_taken_back() {
    let witness = Witness::ok();
    let mut gateway = with_drain(&witness, "");
    let socket = gateway.folder().join("run/portcullis.sock");
    let drain = |more: &[&str]| {
        let output = output_of(Command::new(binary()).arg("drain").args(more).arg("--socket").arg(&socket));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    let mut client = RawClient::connect(gateway.http());
    assert_eq!(client.send(GET).response().field("connection"), None);
    assert_eq!(drain(&[])["draining"], true);
    assert_eq!(ready(&gateway), 503);
    assert_eq!(client.send(GET).response().field("connection"), Some("close"), "a connection that was there");
    assert_eq!(RawClient::connect(gateway.http()).send(GET).response().field("connection"), Some("close"), "a new one");
    assert_eq!(drain(&["--end"])["draining"], false);
    assert_eq!(ready(&gateway), 200);
    assert_eq!(RawClient::connect(gateway.http()).send(GET).response().field("connection"), None);
    let audit = std::fs::read_to_string(gateway.folder().join("run/audit.log")).expect("an audit log");
    let actions: Vec<String> = audit
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["action"].as_str().expect("a word").to_owned())
        .collect();
    assert_eq!(actions, ["drain", "undrain"]);
    gateway.is_well();
}

#[test]
fn a_drain_that_cannot_be_recorded_is_not_done() {
    let witness = Witness::ok();
    let gateway = with_drain(&witness, "");
    std::fs::create_dir(gateway.folder().join("run/audit.log")).expect("made");
    let socket = gateway.folder().join("run/portcullis.sock");
    let output = output_of(Command::new(binary()).arg("drain").arg("--socket").arg(&socket));
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("audit.log"));
    assert_eq!(ready(&gateway), 200);
}

#[test]
fn many_idle_connections_are_told_at_once_rather_than_one_after_the_other() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    plain.listener = "limits: { connections_per_client: 1000 }";
    let mut gateway = plain.start();
    let mut clients: Vec<_> = (0..300).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut clients {
        assert_eq!(client.send(GET).response().status, 200);
    }
    gateway.process().signal("TERM");
    for client in &mut clients {
        assert!(client.ends_within(Duration::from_secs(20)));
    }
    assert!(gateway.process().wait().success());
}
