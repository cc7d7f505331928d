//! Slow clients under the limits that hold when nothing is configured: each is gone within 20 seconds, and others are served meanwhile.

use crate::site::{post_with, site};
use portcullis_testing_kit::{Gateway, Plain, RawClient, Witness, eventually};
use std::time::{Duration, Instant};

const GONE_WITHIN: Duration = Duration::from_secs(20);

/// A gateway before an upstream that sends much more than all the buffers between it and a client hold.
fn generous() -> (Gateway, Witness) {
    let witness = Witness::scripted(|side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let block = vec![b'x'; 100_000];
        while side.write(&block) {}
    });
    (Plain::to(witness.address()).start(), witness)
}

/// Waits for the record of a slow client; it must come in time.
#[track_caller]
fn gone(gateway: &Gateway, reason: &str, begin: Instant) {
    let record = gateway.record_of(reason);
    assert!(begin.elapsed() < GONE_WITHIN, "{reason} only after {:?}", begin.elapsed());
    assert_eq!(record["blame"], "downstream", "{record}");
}

#[test]
fn d86_a_client_that_reads_nothing_is_gone() {
    let (mut gateway, witness) = generous();
    let mut client = RawClient::connect(gateway.http());
    client.receive_little(4096);
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    gone(&gateway, "client_too_slow", Instant::now());
    witness.all_ended();
    gateway.is_well();
}

#[test]
fn d86_a_client_that_reads_a_little_now_and_then_is_gone() {
    let (mut gateway, witness) = generous();
    let mut client = RawClient::connect(gateway.http());
    client.receive_little(4096);
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let begin = Instant::now();
    // Some hundred bytes a second, less than the slowest rate that counts as moving.
    eventually("the slow reader to be cut off", || {
        std::thread::sleep(Duration::from_millis(250));
        client.exactly(50);
        gateway.records().iter().any(|record| record["reason"] == "client_too_slow").then_some(())
    });
    gone(&gateway, "client_too_slow", begin);
    witness.all_ended();
    gateway.is_well();
}

#[test]
fn d86_a_body_that_stops_is_gone_by_default() {
    let mut site = site();
    let mut client = RawClient::connect(site.http());
    client.send(post_with("Content-Length: 1000\r\n", "hello"));
    let begin = Instant::now();
    assert!(client.ends_within(GONE_WITHIN), "a body that stops holds its place");
    gone(&site.gateway, "body_timeout", begin);
    site.witness.all_ended();
    site.gateway.is_well();
}

#[test]
fn d86_a_body_that_dribbles_is_gone_by_default() {
    let mut site = site();
    for lines in ["Content-Length: 100000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = RawClient::connect(site.http());
        client.send(post_with(lines, ""));
        let begin = Instant::now();
        let piece = if lines.starts_with("Content") { "x" } else { "1\r\nx\r\n" };
        while !client.ends_within(Duration::from_millis(100)) {
            client.send(piece);
            assert!(begin.elapsed() < GONE_WITHIN, "{lines}: a body that dribbles holds its place");
        }
    }
    assert_eq!(site.gateway.record_of("body_timeout")["status"], 408);
    assert!(site.witness.requests().is_empty(), "half a body was taken for a whole one");
    site.witness.all_ended();
    site.gateway.is_well();
}
