//! Upgrades and reloads together, under load, while long exchanges go on: nothing fails and nothing is cut.

use crate::upgrade::{Load, between};
use portcullis_testing_kit::{Gateway, Plain, RawClient, UpstreamSide, Witness, holds};

const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const UPGRADES: u64 = 10;
/// Before each upgrade.
const RELOADS: u64 = 10;

/// Gives back what comes by WebSocket, four bytes at a time, and answers everything else.
fn answer(side: &mut UpstreamSide) {
    while let Some(request) = side.request() {
        if request.windows(9).any(|part| part == b"websocket") {
            if !side.write(ACCEPT) {
                return;
            }
            while let Some(four) = side.exactly(4) {
                if !side.write(four) {
                    return;
                }
            }
        } else if !side.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
            return;
        }
    }
}

fn open_websocket(gateway: &Gateway) -> RawClient {
    let mut client = RawClient::connect(gateway.http());
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.response_head().status, 101);
    client
}

#[test]
fn ten_upgrades_and_a_hundred_reloads_under_load_fail_no_request_and_cut_no_websocket() {
    let witness = Witness::scripted(answer);
    let mut plain = Plain::to(witness.address());
    plain.routes = "- { name: ws, methods: [GET], path: \"/ws\", access: { public: true }, websocket: true }\n\
                    - { name: x, methods: [GET], path: \"/x\", access: { public: true } }";
    let base = plain.yaml().replace("probes: 127.0.0.1:@probes@", "probes: 127.0.0.1:@probes@, drain: { deadline: 10m }");
    let mut gateway = Gateway::start(&base);
    let load = Load::on(gateway.http());
    let mut held = Vec::new();
    for upgrade in 0..UPGRADES {
        held.push(open_websocket(&gateway));
        for reload in 0..RELOADS {
            let path = format!("/r{upgrade}-{reload}");
            let more = format!("\n      - {{ name: more, methods: [GET], path: \"{path}\", access: {{ public: true }} }}\nrecord:");
            let next = gateway.generation() + 1;
            gateway.configure(&base.replacen("\nrecord:", &more, 1));
            gateway.reaches_generation(next);
            assert_eq!(gateway.get(&path).status, 200);
            load.serves_more(between() / RELOADS);
        }
        gateway.upgrade(&[]).expect("upgraded");
        for websocket in &mut held {
            assert_eq!(websocket.send("ping").exactly(4), b"ping", "one of before upgrade {upgrade}");
        }
    }
    let served = load.end();
    println!("{served} requests over {UPGRADES} upgrades and {} reloads, none failed", UPGRADES * RELOADS);
    drop(held);
    for former in gateway.all_former() {
        assert!(former.wait().success(), "a former process ends when its last exchange has ended");
    }
    holds("every record", || gateway.records().len() as u64 >= served);
    gateway.is_well();
}
