//! Upgrades and reloads together, under load, while long exchanges go on: nothing fails and nothing is cut.

use crate::grpc::grpc_server;
use crate::grpc_life::Held;
use crate::upgrade::{Load, between};
use crate::upstream_h2_site::configuration;
use portcullis_testing_kit::{Authority, Gateway, PyServer, RawClient, UpstreamSide, Witness, holds};

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

/// A gateway before a server of gRPC and one of HTTP/1.1, and its configuration.
fn start(grpc: &PyServer, witness: &Witness, authority: &Authority) -> (Gateway, String) {
    let more = format!(
        "  w: {{ endpoints: [ {{ url: \"http://{}\" }} ] }}\napis:\n  w:\n    hosts: [\"*\"]\n    base_path: /\n    upstream: w\n    routes:\n      \
         - {{ name: ws, methods: [GET], path: \"/ws\", access: {{ public: true }}, websocket: true }}\n      \
         - {{ name: x, methods: [GET], path: \"/x\", access: {{ public: true }} }}\n",
        witness.address()
    );
    let config = configuration(&format!("http://{}", grpc.address()), "")
        .replace("apis:\n", &more)
        .replace("path: \"/{*rest}\"", "path: \"/test.Echo/{m}\"")
        .replace("probes: 127.0.0.1:@probes@", "probes: 127.0.0.1:@probes@, drain: { deadline: 10m }");
    let leaf = authority.leaf(&["a.test"]);
    (Gateway::start_with(&[("a.crt", &leaf.certificate), ("a.key", &leaf.key)], &config), config)
}

#[test]
fn ten_upgrades_and_a_hundred_reloads_under_load_fail_no_request_and_cut_no_stream() {
    let (witness, grpc, authority) = (Witness::scripted(answer), grpc_server(), Authority::new());
    let (mut gateway, base) = start(&grpc, &witness, &authority);
    let load = Load::on(gateway.http());
    let (mut held, mut calls) = (Vec::new(), Vec::new());
    for upgrade in 0..UPGRADES {
        held.push(open_websocket(&gateway));
        // Each is a process of Python: not before every upgrade.
        if upgrade % 3 == 0 {
            calls.push(Held::open(&gateway, &authority.certificate));
        }
        for reload in 0..RELOADS {
            let path = format!("/r{upgrade}-{reload}");
            let more =
                format!("    routes:\n      - {{ name: more, methods: [GET], path: \"{path}\", access: {{ public: true }} }}\n");
            let next = gateway.generation() + 1;
            gateway.configure(&base.replacen("    routes:\n", &more, 1));
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
    calls.into_iter().for_each(Held::ends_well);
    for former in gateway.all_former() {
        assert!(former.wait().success(), "a former process ends when its last exchange has ended");
    }
    holds("every record", || gateway.records().len() as u64 >= served);
    gateway.is_well();
}
