//! Connections to an upstream that are fewer than those who want one: workers that take turns, clients that do not read.

use crate::upstream_h2_site::{H2Site, configuration, h2_server};
use portcullis_testing_kit::{Authority, Gateway, Plain, RawClient, Witness, eventually};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// A gateway of two workers that share one connection to an upstream of HTTP/2.
fn two_workers(upstream: SocketAddr) -> H2Site {
    let authority = Authority::new();
    let leaf = authority.leaf(&["a.test"]);
    let files = [("a.crt", leaf.certificate.as_str()), ("a.key", &leaf.key), ("ca.crt", &authority.certificate)];
    let more = "limits: { connections: 1, pending: 1000 }\n    timeouts: { connect: 15s }";
    let yaml = configuration(&format!("http://{upstream}"), more).replacen("version: 1\n", "version: 1\nworkers: 2\n", 1);
    H2Site { gateway: Gateway::start_with(&files, &yaml), authority: authority.certificate.clone() }
}

#[test]
fn workers_that_share_one_connection_take_turns() {
    let server = h2_server();
    let site = two_workers(server.address());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whoever has the connection is never without a request.
        let busy: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut answered) = (site.http1(), 0);
                    while !stop.load(Ordering::Acquire) {
                        let response = client.send("GET /empty/204 HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
                        assert_eq!(response.status, 204, "{}", response.head);
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        // New connections come to either worker.
        let statuses: Vec<u16> = (0..20).map(|_| site.get("/empty/204").status).collect();
        stop.store(true, Ordering::Release);
        assert_eq!(statuses, [204; 20]);
        let answered: Vec<usize> = busy.into_iter().map(|one| one.join().expect("a client is served")).collect();
        assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
    });
}

#[test]
fn a_client_that_does_not_read_a_long_answer_has_its_upstreams_connection_no_longer_than_the_pace_allows() {
    const LENGTH: usize = 8 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    let witness = Witness::answering([head.as_bytes(), &vec![b'x'; LENGTH]].concat());
    let mut plain = Plain::to(witness.address());
    plain.listener = "limits: { body_stall: 2s }";
    plain.upstream_settings = "limits: { connections: 1 }\n    timeouts: { connect: 25s }";
    let gateway = plain.start();
    let mut stalls = RawClient::connect(gateway.http());
    assert_eq!(stalls.send("GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n").response_head().status, 200);
    eventually("the only connection to be in use", || (!witness.requests().is_empty()).then_some(()));
    // It waits until the other one has been cut off, which is long before it would have to give up.
    let mut waits = RawClient::connect(gateway.http());
    let response = waits.send("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    assert_eq!((response.status, response.body.len()), (200, LENGTH), "{}", response.head);
    assert_eq!(gateway.record_of("client_too_slow")["status"], 200);
}
