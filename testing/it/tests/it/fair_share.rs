//! An upstream that may have so many requests at once: whose turn it is, who is let go, and what holds a turn.

use portcullis_testing_kit::{Gateway, Plain, RawClient, Response, Witness, ask, binary, holds, output_of};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const MODEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const BUSY: (u16, &str) = (503, "upstream_busy");

/// An upstream that answers a request whenever it is told to, and a gateway that gives it one at a time.
struct Site {
    gateway: Gateway,
    witness: Witness,
    answers: Sender<()>,
}

impl Site {
    fn new(upstream_settings: &'static str) -> Self {
        let (answers, told) = channel();
        let told = Arc::new(Mutex::new(told));
        let witness = Witness::scripted(move |side| {
            while side.request().is_some() {
                let told = told.lock().expect("the test goes on").recv();
                if told.is_err() || !side.write(OK) {
                    return;
                }
            }
        });
        let gateway = Plain { upstream_settings, ..Plain::to(witness.address()) }.start();
        Self { gateway, witness, answers }
    }

    fn send(&self, from: Ipv4Addr, path: &str) -> RawClient {
        let mut client = RawClient::connect_from(from, self.gateway.http());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"));
        client
    }

    fn figures(&self) -> Value {
        let mut command = Command::new(binary());
        let socket = self.gateway.folder().join("run/portcullis.sock");
        let answer = output_of(command.args(["upstreams", "--format", "json", "--socket"]).arg(socket));
        let all: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
        all[0]["concurrency"].clone()
    }

    fn waits(&self, count: u64) {
        holds("so many wait for their turn", || self.figures()["waiting"] == count);
    }

    /// The paths that the upstream was asked for, in their order.
    fn order(&self) -> Vec<String> {
        let path = |text: String| text.split(' ').nth(1).expect("a path").to_owned();
        self.witness.texts().into_iter().map(path).collect()
    }

    fn answer_all(&self, clients: &mut [RawClient]) {
        for _ in 0..clients.len() {
            self.answers.send(()).expect("the upstream runs");
        }
        let statuses: Vec<u16> = clients.iter_mut().map(|client| client.response().status).collect();
        assert_eq!(statuses, vec![200; clients.len()]);
    }
}

fn told(answer: &Response) -> (u16, String) {
    (answer.status, answer.code())
}

#[test]
fn who_asks_for_little_goes_before_the_many_of_another() {
    let mut site = Site::new("concurrency: { mode: fixed, max: 1 }\n    timeouts: { connect: 20s }");
    let mut clients = vec![site.send(GREEDY, "/greedy")];
    holds("the first has its turn", || site.witness.requests().len() == 1);
    clients.extend((0..20).map(|_| site.send(GREEDY, "/greedy")));
    site.waits(20);
    clients.extend((0..2).map(|_| site.send(MODEST, "/modest")));
    site.waits(22);
    assert_eq!((site.witness.requests().len(), site.figures()["under_way"].as_u64()), (1, Some(1)));
    site.answer_all(&mut clients);
    // Behind the one that had its turn already they take turns.
    let modest: Vec<usize> = site.order().iter().enumerate().filter(|(_, path)| *path == "/modest").map(|(at, _)| at).collect();
    assert!(modest.len() == 2 && modest.iter().all(|at| *at <= 4), "{:?}", site.order());
    let counted = site.gateway.metric("portcullis_upstream_turns_waited_total{upstream=\"u\"}");
    assert_eq!(counted, 22.0);
    site.gateway.is_well();
}

#[test]
fn when_no_more_may_wait_whoever_has_most_waiting_gives_way() {
    let mut site = Site::new("concurrency: { mode: fixed, max: 1 }\n    limits: { pending: 3 }\n    timeouts: { connect: 20s }");
    let mut clients = vec![site.send(GREEDY, "/greedy")];
    holds("the first has its turn", || site.witness.requests().len() == 1);
    for count in 1..=3 {
        clients.push(site.send(GREEDY, "/greedy"));
        site.waits(count);
    }
    let own = site.send(GREEDY, "/greedy").response();
    assert_eq!(told(&own), (BUSY.0, BUSY.1.to_owned()));
    assert_eq!(own.field("retry-after"), Some("5"));
    let modest = site.send(MODEST, "/modest");
    let displaced = clients.pop().expect("the last one").response();
    assert_eq!(told(&displaced), (BUSY.0, BUSY.1.to_owned()));
    clients.push(modest);
    site.answer_all(&mut clients);
    let at = site.order().iter().position(|path| path == "/modest");
    assert!(at.is_some_and(|at| at <= 2) && site.order().len() == 4, "{:?}", site.order());
    assert_eq!(site.gateway.metric("portcullis_upstream_turns_refused_total{upstream=\"u\"}"), 2.0);
    site.gateway.is_well();
}

#[test]
fn a_turn_that_does_not_come_in_time_is_told_and_nothing_was_sent() {
    let mut site = Site::new("concurrency: { mode: fixed, max: 1 }\n    timeouts: { connect: 300ms }");
    let mut first = vec![site.send(GREEDY, "/first")];
    holds("the first has its turn", || site.witness.requests().len() == 1);
    let late = site.send(MODEST, "/late").response();
    assert_eq!(told(&late), (BUSY.0, BUSY.1.to_owned()));
    site.answer_all(&mut first);
    assert_eq!(site.order(), ["/first"]);
    let record = site.gateway.record_of("upstream_busy");
    assert_eq!((record["upstream"].as_str(), record["status"].as_u64()), (Some("u"), Some(503)), "{record:#}");
    site.gateway.is_well();
}

#[test]
fn who_leaves_while_waiting_takes_no_turn() {
    let mut site = Site::new("concurrency: { mode: fixed, max: 1 }\n    timeouts: { connect: 20s }");
    let mut clients = vec![site.send(GREEDY, "/first")];
    holds("the first has its turn", || site.witness.requests().len() == 1);
    let leaving: Vec<RawClient> = (0..5).map(|_| site.send(GREEDY, "/gone")).collect();
    site.waits(5);
    leaving.into_iter().for_each(RawClient::reset);
    site.waits(0);
    clients.push(site.send(GREEDY, "/last"));
    site.waits(1);
    site.answer_all(&mut clients);
    assert_eq!(site.order(), ["/first", "/last"]);
    assert_eq!(site.figures()["under_way"], 0);
    site.gateway.is_well();
}

#[test]
fn a_lower_limit_holds_for_those_who_wait_already() {
    let mut site = Site::new("concurrency: { mode: fixed, max: 3 }\n    timeouts: { connect: 20s }");
    let mut clients: Vec<RawClient> = (0..3).map(|_| site.send(GREEDY, "/first")).collect();
    holds("three have their turn", || site.witness.requests().len() == 3);
    clients.extend((0..4).map(|_| site.send(GREEDY, "/waits")));
    site.waits(4);
    site.gateway.configure(&site.gateway.config().replace("max: 3", "max: 1"));
    site.gateway.reaches_generation(2);
    clients.push(site.send(MODEST, "/waits"));
    site.waits(5);
    let mut others = clients.split_off(3);
    site.answer_all(&mut clients);
    holds("one at a time", || site.figures()["under_way"] == 1 && site.witness.requests().len() == 4);
    site.waits(4);
    site.answer_all(&mut others);
    site.gateway.is_well();
}

#[test]
fn an_answer_that_has_begun_holds_no_turn() {
    let witness = Witness::scripted(|side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n");
        side.drain();
    });
    let upstream_settings = "concurrency: { mode: fixed, max: 1 }";
    let mut gateway = Plain { upstream_settings, ..Plain::to(witness.address()) }.start();
    let mut streams: Vec<RawClient> = Vec::new();
    for _ in 0..3 {
        let mut client = RawClient::connect(gateway.http());
        client.send("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response_head().status, 200);
        client.until(b"event");
        streams.push(client);
    }
    gateway.is_well();
}

#[test]
fn a_limit_that_is_found_begins_where_the_page_says_and_never_exceeds_what_is_written() {
    let witness = Witness::ok();
    for (settings, limit) in [("concurrency: {}", 100), ("concurrency: { max: 20 }", 20)] {
        let gateway = Plain { upstream_settings: settings, ..Plain::to(witness.address()) }.start();
        let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        (0..50).for_each(|_| assert_eq!(ask(gateway.http(), request)[0].status, 200));
        assert_eq!(gateway.metric("portcullis_upstream_concurrency_limit{upstream=\"u\"}"), f64::from(limit));
        assert_eq!(gateway.metric("portcullis_upstream_concurrency{upstream=\"u\"}"), 0.0);
    }
}
