//! Several nodes with one Redis: what is revoked on one is out on all, and what happens while the store is away.

use crate::revocation::command;
use crate::streams_site::{AGREES, AUDIENCE, HANDSHAKE, ISSUER, token};
use crate::upstream_h2_site::configuration;
use portcullis_testing_kit::{
    Authority, Gateway, RawClient, Redis, SigningKey, TempDir, Witness, binary, eventually, holds, key_set, output_of, unix_seconds,
};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;

/// Two nodes of a gateway, before one upstream.
struct Nodes {
    redis: Redis,
    corp: SigningKey,
    a: Gateway,
    b: Gateway,
    _witness: Witness,
}

impl Nodes {
    fn new() -> Self {
        let redis = Redis::start();
        let store = format!("redis: \"redis://{}\", stale_max: 5s", redis.address());
        Self::with(redis, &store, &[])
    }

    fn with(redis: Redis, store: &str, files: &[(&str, &str)]) -> Self {
        let (corp, authority) = (SigningKey::p256("c1"), Authority::new());
        let (leaf, set, keys) = (authority.leaf(&["a.test"]), key_set(&[&corp]), key_file());
        let witness = Witness::scripted(|side| {
            let Some(request) = side.request() else { return };
            if request.starts_with(b"GET /ws") {
                side.write(AGREES);
            } else if request.starts_with(b"GET /events") {
                side.write(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n",
                );
            } else {
                side.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            side.drain();
        });
        let api = format!("    upstream: u\n    authenticate: {{ any_of: [corp, shops], audiences: [\"{AUDIENCE}\"] }}\n");
        let pay =
            "routes: [ { name: pay, methods: [POST], path: \"/pay\", access: { allow: { scopes: [go] }, fresh: required } }, {";
        let yaml = configuration(&format!("http://{}", witness.address()), "")
            .replace("protocol: h2", "protocol: h1")
            .replace("    upstream: u\n", &api)
            .replace("routes: [ {", pay)
            .replace("access: { public: true }", "websocket: true, access: { allow: { scopes: [go] } }")
            + &format!(
                "identity:\n  providers:\n    corp: {{ issuer: \"{ISSUER}\", keys: {{ file: corp.jwks.json }} }}\n  \
                 api_keys:\n    shops: {{ store: {{ file: shops.keys }} }}\ncluster: {{ store: {{ {store} }} }}\n"
            );
        let own = [("a.crt", leaf.certificate.as_str()), ("a.key", &leaf.key), ("corp.jwks.json", &set), ("shops.keys", &keys)];
        let files = [&own[..], files].concat();
        let (a, b) = (Gateway::start_with(&files, &yaml), Gateway::start_with(&files, &yaml));
        Self { redis, corp, a, b, _witness: witness }
    }

    fn token(&self, id: &str) -> String {
        token(&self.corp, 600, json!({ "jti": id }))
    }
}

/// A store of API keys with one.
fn key_file() -> String {
    let folder = TempDir::new();
    let mut command = Command::new(binary());
    command.args(["key", "create", "--file", "shops.keys", "--role", "reader", "--name", "a"]).current_dir(folder.path());
    let output = output_of(&mut command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(folder.path().join("shops.keys")).expect("the file")
}

fn ask(gateway: &Gateway, line: &str, token: &str) -> (u16, String) {
    let mut client = RawClient::connect(gateway.http());
    client.send(format!(
        "{line} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ));
    let status = client.response_head().status;
    (status, String::from_utf8_lossy(&client.rest()).into_owned())
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    ask(gateway, "POST /x", token).0
}

fn open(gateway: &Gateway, path: &str, token: &str) -> RawClient {
    let mut client = RawClient::connect(gateway.http());
    let handshake = if path.starts_with("/ws") { HANDSHAKE } else { "" };
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n{handshake}\r\n"));
    assert!(matches!(client.response_head().status, 101 | 200), "{path}");
    client
}

fn revoke(gateway: &Gateway, id: &str, more: &[&str]) -> Value {
    let arguments = [&["revoke", "token", id, "--provider", "corp"], more].concat();
    command(gateway, &arguments).unwrap_or_else(|problem| panic!("{problem}"))
}

fn store_of(gateway: &Gateway) -> String {
    gateway.status()["store"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn e120_what_is_revoked_on_one_node_ends_on_the_other() {
    let authority = Authority::new();
    let redis = Redis::secure(&authority.leaf(&["127.0.0.1"]));
    let store =
        format!("redis: \"rediss://{}\", user: portcullis, password: \"file:password\", trust: store-ca.crt", redis.address());
    let files = [("password", "only-for-tests\n"), ("store-ca.crt", authority.certificate.as_str())];
    let nodes = Nodes::with(redis, &store, &files);
    let (mine, other) = (nodes.token("mine"), nodes.token("other"));
    let mut going_on = ["/ws", "/events"].map(|path| open(&nodes.b, path, &mine));
    let mut others = open(&nodes.b, "/ws", &other);
    let told = revoke(&nodes.a, "mine", &["--reason", "laptop lost"]);
    let done = Instant::now();
    assert_eq!(told["shared"], true, "{told}");
    going_on.iter_mut().for_each(|client| drop(client.rest()));
    println!("ended {} ms after the command was done, on the other node", done.elapsed().as_millis());
    holds("the token to be out on the other node", || status(&nodes.b, &mine) == 401);
    assert!(others.try_send(b"x") && status(&nodes.b, &other) == 200);
    let shown = command(&nodes.b, &["revocations"]).unwrap();
    assert_eq!((&shown[0]["reason"], &shown[0]["shared"]), (&json!("laptop lost"), &json!(true)), "{shown}");
    // Subjects, keys and certificates go the same way, and what one node has revoked another may lift.
    let fingerprint = "0a".repeat(32);
    for what in [
        &["revoke", "subject", "bob", "--provider", "corp"][..],
        &["revoke", "key", "q8JMzbL2oTfY", "--provider", "shops"],
        &["revoke", "certificate", &fingerprint],
    ] {
        command(&nodes.b, what).unwrap();
    }
    holds("all kinds to be known", || command(&nodes.a, &["revocations"]).unwrap().as_array().map(Vec::len) == Some(4));
    revoke(&nodes.b, "mine", &["--lift"]);
    holds("the token to be good again", || status(&nodes.a, &mine) == 200 && status(&nodes.b, &mine) == 200);
    assert!(store_of(&nodes.a).starts_with("reachable"), "{}", store_of(&nodes.a));
    assert_eq!(nodes.a.metric("portcullis_store_reachable"), 1.0);
}

#[test]
fn nothing_is_lost_while_the_store_or_a_node_was_away() {
    let mut nodes = Nodes::new();
    let [before, during, at_b, lifted] = ["before", "during", "at_b", "lifted"].map(|id| nodes.token(id));
    revoke(&nodes.a, "before", &[]);
    revoke(&nodes.a, "lifted", &[]);
    holds("the other node to know", || status(&nodes.b, &before) == 401 && status(&nodes.b, &lifted) == 401);
    nodes.redis.kill();
    holds("both nodes to notice", || [&nodes.a, &nodes.b].iter().all(|node| store_of(node).starts_with("away")));
    assert_eq!(revoke(&nodes.a, "during", &[])["shared"], false);
    assert_eq!(revoke(&nodes.b, "at_b", &[])["shared"], false);
    assert_eq!((status(&nodes.a, &during), status(&nodes.b, &during)), (401, 200));
    let problem = command(&nodes.a, &["revoke", "token", "before", "--provider", "corp", "--lift"]).expect_err("refused");
    assert!(problem.contains("the shared store is away"), "{problem}");
    // A node that ends meanwhile knows it still.
    nodes.a.kill_and_restart();
    assert_eq!([&before, &during].map(|token| status(&nodes.a, token)), [401, 401]);
    // What comes back is empty: nothing opens by that, and it is filled again.
    nodes.redis.start_again();
    for token in [&before, &during, &at_b] {
        holds("both to know everything", || status(&nodes.a, token) == 401 && status(&nodes.b, token) == 401);
    }
    holds("the store to have it", || nodes.redis.ask(&["HLEN", "{portcullis}:revocations"]) == "4");
    // A node that is away while another lifts something hears of it.
    nodes.b.stop();
    revoke(&nodes.a, "lifted", &["--lift"]);
    nodes.b.kill_and_restart();
    holds("the lifting to be heard", || status(&nodes.b, &lifted) == 200);
    assert_eq!(status(&nodes.b, &before), 401);
}

#[test]
fn e120_routes_that_must_know_refuse_when_the_store_has_been_away_for_too_long() {
    let nodes = Nodes::new();
    let mine = nodes.token("mine");
    assert_eq!(ask(&nodes.b, "POST /pay", &mine).0, 200);
    nodes.redis.pause();
    let (refused, body) = eventually("the route to refuse", || Some(ask(&nodes.b, "POST /pay", &mine)).filter(|one| one.0 != 200));
    assert_eq!(refused, 503);
    assert!(body.contains("revocations_stale"), "{body}");
    // Others go on, and whoever shows nothing learns nothing.
    assert_eq!(status(&nodes.b, &mine), 200);
    assert_eq!(ask(&nodes.b, "POST /pay", "x").0, 401);
    assert!(store_of(&nodes.b).starts_with("away"), "{}", store_of(&nodes.b));
    assert_eq!(nodes.b.metric("portcullis_store_reachable"), 0.0);
    assert!(nodes.b.metric("portcullis_store_age_seconds") >= 5.0);
    nodes.redis.go_on();
    holds("the route to serve again", || ask(&nodes.b, "POST /pay", &mine).0 == 200);
    revoke(&nodes.a, "mine", &[]);
    holds("the other node to know", || status(&nodes.b, &mine) == 401);
}

#[test]
fn garbage_in_the_store_is_told_and_not_trusted() {
    let nodes = Nodes::new();
    let (mine, other) = (nodes.token("mine"), nodes.token("other"));
    let target = json!({ "kind": "token", "issuer": ISSUER, "id": "other" }).to_string();
    let elsewhere =
        json!({ "kind": "token", "issuer": ISSUER, "id": "other", "unix_seconds": unix_seconds(), "uid": 0 }).to_string();
    for line in ["garbage", "{}", "{\"kind\":\"planet\"}", &elsewhere, &"x".repeat(100_000)] {
        nodes.redis.ask(&["XADD", "{portcullis}:revocations:log", "*", "field", "anything", "line", line]);
    }
    nodes.redis.ask(&["XADD", "{portcullis}:revocations:log", "*", "other", "names"]);
    nodes.redis.ask(&["HSET", "{portcullis}:revocations", &target, "{\"kind\":\"certificate\",\"fingerprint\":\"no\"}"]);
    holds("garbage to be counted", || nodes.b.metric("portcullis_store_garbage_total") >= 7.0);
    assert_eq!(status(&nodes.b, &other), 200);
    revoke(&nodes.a, "mine", &[]);
    holds("revocations to come through", || status(&nodes.b, &mine) == 401);
    // Somebody empties it: it is filled again by those who know.
    nodes.redis.ask(&["FLUSHALL"]);
    holds("the store to have it again", || nodes.redis.ask(&["HLEN", "{portcullis}:revocations"]) == "1");
    assert_eq!((status(&nodes.a, &mine), status(&nodes.b, &mine)), (401, 401));
    // Something else under the name: the store counts as away, and what is known holds.
    nodes.redis.ask(&["SET", "{portcullis}:revocations", "text"]);
    holds("the node to say so", || store_of(&nodes.b).contains("away"));
    assert_eq!(status(&nodes.b, &mine), 401);
    nodes.redis.ask(&["DEL", "{portcullis}:revocations"]);
    holds("the node to come back", || store_of(&nodes.b).starts_with("reachable"));
}

#[test]
fn a_store_that_is_not_the_right_one_is_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = Redis::secure(&authority.leaf(&["127.0.0.1"]));
    let store =
        format!("redis: \"rediss://{}\", user: portcullis, password: \"file:password\", trust: store-ca.crt", redis.address());
    let files = [("password", "not-the-password\n"), ("store-ca.crt", other.certificate.as_str())];
    let nodes = Nodes::with(redis, &store, &files);
    holds("the node to say so", || store_of(&nodes.a).starts_with("away"));
    assert!(store_of(&nodes.a).to_lowercase().contains("certificate"), "{}", store_of(&nodes.a));
    // The password is read anew with each connection, and so are the authorities.
    nodes.a.write("store-ca.crt", &authority.certificate);
    holds("the password to be refused", || {
        store_of(&nodes.a).contains("WRONGPASS") || store_of(&nodes.a).contains("uthentication")
    });
    assert!(!store_of(&nodes.a).contains("not-the-password") && !nodes.a.stderr().contains("not-the-password"));
    nodes.a.write("password", "only-for-tests");
    holds("the store to be reached", || store_of(&nodes.a).starts_with("reachable"));
}
