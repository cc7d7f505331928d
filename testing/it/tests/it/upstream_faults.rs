//! Upstreams that are killed, slow, silent, refusing, or wrong: blamed, with nothing internal told, and without harm to others.

use portcullis_testing_kit::{Gateway, Plain, RawClient, Witness, ask, free_port};
use std::net::{Ipv4Addr, SocketAddr};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// The answer to a GET before an upstream that does this, and the gateway's record of it.
#[track_caller]
fn blames(gateway: &Gateway, status: u16, reason: &str) {
    let response = RawClient::connect(gateway.http()).send(GET).response();
    assert_eq!((response.status, response.code().as_str()), (status, reason), "{}{}", response.head, response.text());
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
    assert!(!response.text().contains("127.0.0.1"), "something internal is told: {}", response.text());
    let record = gateway.record_of(reason);
    assert_eq!(
        (&record["blame"], &record["upstream"], &record["status"]),
        (&"upstream".into(), &"u".into(), &status.into()),
        "{record}"
    );
}

fn before(witness: &Witness) -> Gateway {
    Plain::to(witness.address()).start()
}

#[test]
fn an_upstream_that_refuses_is_blamed() {
    let gateway = Plain::to(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))).start();
    blames(&gateway, 502, "upstream_unreachable");
}

#[test]
fn an_upstream_that_does_not_answer_is_blamed_in_time() {
    let witness = Witness::scripted(|side| side.drain());
    let mut plain = Plain::to(witness.address());
    plain.upstream_settings = "timeouts: { connect: 1s, first_byte: 1s, idle: 1s }";
    let gateway = plain.start();
    blames(&gateway, 504, "upstream_timeout");
    witness.all_ended();
}

#[test]
fn an_upstream_that_ends_the_connection_is_blamed() {
    for reset in [false, true] {
        let witness = Witness::scripted(move |side| {
            side.head();
            if reset {
                side.reset();
            }
        });
        let gateway = before(&witness);
        blames(&gateway, 502, "upstream_reset");
        // A GET may be tried again, but not without end.
        assert!(witness.connections() <= 4, "{} tries", witness.connections());
    }
}

#[test]
fn a_post_is_not_sent_twice() {
    let witness = Witness::scripted(|side| {
        side.request();
        side.reset();
    });
    let gateway = before(&witness);
    let response =
        RawClient::connect(gateway.http()).send("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi").response();
    assert_eq!(response.status, 502);
    assert_eq!(witness.requests().len(), 1, "{:#?}", witness.texts());
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_is_replaced_without_the_client_seeing_it() {
    // Each connection serves one request as if it stayed open, and is then closed.
    let witness = Witness::scripted(|side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let gateway = before(&witness);
    let mut client = RawClient::connect(gateway.http());
    for _ in 0..30 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    assert_eq!(witness.requests().len(), 30);
}

#[test]
fn a_response_cut_off_in_its_head_is_blamed() {
    let witness = Witness::scripted(|side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Le");
    });
    let gateway = before(&witness);
    let response = RawClient::connect(gateway.http()).send(GET).response();
    assert_eq!(response.status, 502, "{}", response.head);
    assert!(matches!(response.code().as_str(), "upstream_reset" | "upstream_malformed"), "{}", response.code());
}

#[test]
fn a_response_cut_off_in_its_body_is_never_taken_for_a_whole_one() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let witness = Witness::scripted(move |side| {
            side.request();
            side.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"));
        });
        let gateway = before(&witness);
        let mut client = RawClient::connect(gateway.http());
        client.send(GET);
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        // The client sees that something is missing: too few bytes, or no last chunk. Or it is told.
        let told = answer.starts_with("HTTP/1.1 502");
        assert!(told || !answer.contains("\r\n0\r\n\r\n"), "{head}: {answer}");
        if !told && head.starts_with("Content") {
            assert!(answer.contains("content-length: 100\r\n"), "{answer}");
        }
        assert_eq!(gateway.record_of("upstream_reset")["blame"], "upstream");
    }
}

#[test]
fn a_response_that_stalls_in_its_body_is_cut_in_time() {
    let witness = Witness::scripted(|side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
        side.drain();
    });
    let mut plain = Plain::to(witness.address());
    plain.upstream_settings = "timeouts: { first_byte: 5s, idle: 1s }";
    let gateway = plain.start();
    let mut client = RawClient::connect(gateway.http());
    let answer = client.send(GET).rest();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.record_of("upstream_stalled")["blame"], "upstream");
    witness.all_ended();
}

#[test]
fn a_half_open_upstream_is_given_up_in_time() {
    // It accepts, reads everything, closes its sending side only after a piece, and never goes away by itself.
    let witness = Witness::scripted(|side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        side.finish();
        side.drain();
    });
    let gateway = before(&witness);
    let mut client = RawClient::connect(gateway.http());
    client.send(GET).rest();
    assert_eq!(gateway.record_of("upstream_reset")["blame"], "upstream");
    witness.all_ended();
}

#[test]
fn malformed_responses_are_not_relayed() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nevil!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nevil!",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nevil!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 4\n\nevil",
        "HTTP/1.1 200 OK\r\nX: a\r\n evil\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nX A: evil\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\n: evil\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nX: a\u{0}evil\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nX: a\revil\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 099 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "evil\r\n\r\n",
        "SSH-2.0-evil\r\n\r\n",
    ] {
        let witness = Witness::answering(response);
        let gateway = before(&witness);
        let answer = RawClient::connect(gateway.http()).send(GET).response();
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_malformed"), "{response:?}: {}", answer.head);
        assert!(!answer.head.contains("evil") && !answer.text().contains("evil"), "{response:?}");
        assert_eq!(gateway.record_of("upstream_malformed")["blame"], "upstream");
    }
}

#[test]
fn a33_an_upstream_cannot_split_a_response() {
    let witness = Witness::answering("HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nok");
    let gateway = before(&witness);
    let answer = RawClient::connect(gateway.http()).send(GET).response();
    assert_eq!(answer.status, 502);
    assert!(!answer.head.contains("evil"));
}

#[test]
fn bad_chunks_in_a_response_end_it_without_its_last_chunk() {
    for body in ["5\nhello\r\n0\r\n\r\n", "fffffffffffffffff\r\nhello", "5\r\nhelloXX0\r\n\r\n", "g\r\n"] {
        let witness = Witness::answering(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n{body}"));
        let gateway = before(&witness);
        let mut client = RawClient::connect(gateway.http());
        let answer = String::from_utf8_lossy(&client.send(GET).rest()).into_owned();
        assert!(!answer.contains("\r\n0\r\n\r\n"), "{body:?}: {answer}");
        assert_eq!(gateway.record_of("upstream_malformed")["blame"], "upstream");
    }
}

#[test]
fn bytes_behind_a_response_belong_to_nobody() {
    // An upstream that answers twice: the second answer must not become another client's.
    let witness =
        Witness::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    let gateway = before(&witness);
    for _ in 0..20 {
        let response = RawClient::connect(gateway.http()).send(GET).response();
        assert!(response.text() == "ok" || response.status == 502, "{}{}", response.head, response.text());
    }
}

#[test]
fn a_head_without_end_from_an_upstream_is_bounded() {
    let witness = Witness::scripted(|side| {
        side.request();
        side.write("HTTP/1.1 200 OK\r\nX: ");
        let block = vec![b'x'; 65_536];
        let mut sent = 0;
        while sent < 256 << 20 && side.write(&block) {
            sent += block.len();
        }
    });
    let mut gateway = before(&witness);
    let memory = gateway.process().resident_kib();
    blames(&gateway, 502, "upstream_malformed");
    assert!(gateway.process().resident_kib() < memory + 16 * 1024);
    witness.all_ended();
}

#[test]
fn d154_a_refusal_without_100_leaves_the_pool_right() {
    // RFC 9110 section 10.1.1; CVE-2024-24791: the upstream refuses before the body; the next request gets its own answer.
    let witness = Witness::scripted(|side| {
        while let Some(head) = side.head() {
            side.remember(&head);
            let is_post = head.starts_with(b"POST");
            let answer =
                if is_post { "403 Forbidden\r\nContent-Length: 2\r\n\r\nno" } else { "200 OK\r\nContent-Length: 2\r\n\r\nok" };
            if !side.write(format!("HTTP/1.1 {answer}")) || (is_post && side.exactly(1000).is_none()) {
                return;
            }
        }
    });
    let gateway = before(&witness);
    for _ in 0..5 {
        let mut client = RawClient::connect(gateway.http());
        client.send("POST /x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
        let first = client.response();
        let refused = if first.status == 100 { client.send(vec![b'x'; 1000]).response() } else { first };
        assert_eq!(refused.status, 403);
        let other = RawClient::connect(gateway.http()).send(GET).response();
        assert_eq!((other.status, other.text().as_str()), (200, "ok"));
    }
    assert!(
        witness.texts().iter().all(|head| head.starts_with("POST /x ") || head.starts_with("GET /x ")),
        "{:#?}",
        witness.texts()
    );
}

#[test]
fn one_endpoint_that_refuses_does_not_spoil_the_other() {
    let witness = Witness::ok();
    let plain = Plain::to(witness.address());
    let dead = format!("{{ url: \"http://127.0.0.1:{}\" }}, {{ url", free_port());
    let gateway = Gateway::start(&plain.yaml().replacen("{ url", &dead, 1));
    for _ in 0..20 {
        assert_eq!(gateway.get("/x").status, 200);
    }
    assert_eq!(witness.requests().len(), 20);
}

#[test]
fn too_many_connections_to_an_upstream_are_refused_and_given_back() {
    let witness = Witness::scripted(|side| {
        side.request();
        side.drain();
    });
    let mut plain = Plain::to(witness.address());
    plain.upstream_settings = "limits: { connections: 4 }";
    let gateway = plain.start();
    let mut held: Vec<RawClient> = (0..4).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut held {
        client.send(GET);
    }
    portcullis_testing_kit::holds("four requests at the upstream", || witness.requests().len() == 4);
    let over = &ask(gateway.http(), GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))[0];
    assert_eq!((over.status, over.code().as_str()), (503, "upstream_exhausted"));
    drop(held);
    witness.all_ended();
}
