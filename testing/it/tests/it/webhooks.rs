//! Webhooks: signed by the libraries that senders use, held until it is known who has sent them, and sent on as they were signed.

use crate::operations::{blocks, pages, run, with_ports};
use crate::upstream_h2_site::{configuration, h2_server};
use portcullis_testing_kit::http2::{Http2Client, kind};
use portcullis_testing_kit::{
    Authority, Gateway, Plain, RawClient, Response, TempDir, Witness, ask, free_port, holds, run_node, unix_seconds,
};
use serde_json::{Value, json};

const ROUTES: &str = "- { name: hook, methods: [POST], path: \"/hook\", access: { allow: { roles: [hooks/sender] } } }\n\
                      - { name: other, methods: [POST], path: \"/other\", access: { allow: { roles: [hooks/admin] } } }";
const SECTIONS: &str = "identity:\n  signatures:\n    hooks:\n      form: standard_webhooks\n      keys:\n        \
    - { id: shop-1, file: shop-1.key, algorithm: hmac-sha256, caller: shop, roles: [sender] }\n        \
    - { id: shop-2, file: shop-2.key, algorithm: hmac-sha256, caller: shop, roles: [sender] }\n        \
    - { id: bank, file: bank.pub, algorithm: ed25519, roles: [sender, admin] }\n\
consumers:\n  the-shop: { match: { signature: hooks/shop } }";
const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECOND: &str = "whsec_Nm9XWmVkdVdZclRPYkNyR3dXNHpKRVRGdnBH";

/// Signs messages of `[secret, id, seconds, body]` with the reference library; Ed25519, which it does not have, as the specification says. A body
/// that is a number stands for so many letters.
const SIGN: &str = r#"
import { createRequire } from "node:module";
import crypto from "node:crypto";
const { Webhook } = createRequire(process.argv[2] + "/")("standardwebhooks");
const { publicKey, privateKey } = crypto.generateKeyPairSync("ed25519");
const point = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64");
const signed = JSON.parse(process.argv[3]).map(([secret, id, seconds, told]) => {
    const body = typeof told === "number" ? "x".repeat(told) : told;
    return secret === "bank"
    ? "v1a," + crypto.sign(null, Buffer.from(`${id}.${seconds}.${body}`), privateKey).toString("base64")
    : new Webhook(secret).sign(id, new Date(seconds * 1000), body);
});
console.log(JSON.stringify({ signed, bank: `whpk_${point}` }));
"#;

/// A gateway that takes webhooks, and what senders have signed for it.
struct World {
    gateway: Gateway,
    witness: Witness,
    signed: Vec<String>,
}

impl World {
    fn new(messages: &Value) -> Self {
        let made: Value = serde_json::from_str(&run_node(SIGN, &[&messages.to_string()])).expect("JSON");
        let witness = Witness::ok();
        let mut plain = Plain::to(witness.address());
        (plain.routes, plain.api, plain.sections) = (ROUTES, "authenticate: { any_of: [hooks] }", SECTIONS);
        let bank = made["bank"].as_str().expect("a key").to_owned() + "\n";
        let files = [("shop-1.key", FIRST), ("shop-2.key", SECOND), ("bank.pub", &*bank)];
        let signed = made["signed"].as_array().expect("signatures").iter().map(|one| one.as_str().unwrap_or_default().to_owned());
        Self { gateway: Gateway::start_with(&files, &plain.yaml()), witness, signed: signed.collect() }
    }

    fn ask(&self, path: &str, fields: &str, body: &str) -> Response {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        ask(self.gateway.http(), head + body).remove(0)
    }

    #[track_caller]
    fn refused(&self, fields: &str, body: &str) {
        let answer = self.ask("/hook", fields, body);
        assert_eq!((answer.status, &*answer.code()), (401, "credentials_invalid"), "{fields:.300}");
        assert_eq!(answer.field("www-authenticate"), Some("Signature realm=\"api\", form=\"standard-webhooks\""));
    }
}

fn fields(id: &str, seconds: u64, signatures: &str) -> String {
    format!("webhook-id: {id}\r\nWebhook-Timestamp: {seconds}\r\nWEBHOOK-SIGNATURE: {signatures}\r\n")
}

#[test]
fn a_webhook_of_a_known_sender_is_taken_once_and_goes_on_as_it_was_signed() {
    let (now, body) = (unix_seconds(), "{\"paid\": 12}");
    let messages = [(FIRST, now), (FIRST, now + 1), (SECOND, now), ("bank", now), ("bank", now + 1), (FIRST, now + 2)];
    let messages: Vec<Value> =
        messages.iter().enumerate().map(|(at, (by, time))| json!([by, format!("m{}", at / 2), time, body])).collect();
    let mut world = World::new(&json!(messages));
    let first = fields("m0", now, &world.signed[0]);
    let taken = world.ask("/hook", &first, body);
    assert_eq!(taken.status, 200, "{}", taken.text());
    world.refused(&first, body);
    // Whoever sends again says a new time: the upstream, which may have failed, is asked again.
    assert_eq!(world.ask("/hook", &fields("m0", now + 1, &world.signed[1]), body).status, 200);
    // While one key replaces another there are two signatures, and one that is by no key here; chunks are put together.
    let both = fields("m1", now, &format!("v1,AAAA {}", world.signed[2]));
    let chunked = format!(
        "POST /hook HTTP/1.1\r\nHost: a.test\r\n{both}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         5\r\n{}\r\n7\r\n{}\r\n0\r\nX-Trailer: t\r\n\r\n",
        &body[..5],
        &body[5..]
    );
    assert_eq!(ask(world.gateway.http(), chunked).remove(0).status, 200);
    // An asymmetric key, whose caller has a role more.
    assert_eq!(world.ask("/other", &fields("m1", now, &world.signed[3]), body).status, 200);
    assert_eq!(world.ask("/hook", &fields("m2", now + 1, &world.signed[4]), body).status, 200);
    assert_eq!(world.ask("/other", &fields("m2", now + 2, &world.signed[5]), body).code(), "access_denied");
    for seen in world.witness.texts() {
        assert!(seen.ends_with(&format!("\r\n\r\n{body}")), "{seen}");
        let lower = seen.to_ascii_lowercase();
        assert!(lower.contains("webhook-id: m") && lower.contains("content-length: 12") && !lower.contains("chunked"), "{seen}");
        assert!(!lower.contains("webhook-signature") && !lower.contains("x-trailer"), "{seen}");
    }
    let records = world.gateway.records_when(7);
    let told = |record: &Value| json!(["provider", "principal", "principal_client", "consumer"].map(|name| record[name].clone()));
    for who in [json!(["hooks", "shop", "shop-1", "the-shop"]), json!(["hooks", "bank", "bank", null])] {
        assert!(records.iter().any(|record| told(record) == who), "{who}: {records:#?}");
    }
    assert!(records.iter().any(|record| record["detail"] == "the signature was taken before"), "{records:#?}");
    world.gateway.is_well();
}

#[test]
fn e113_nothing_is_forwarded_that_is_not_signed_as_it_is() {
    let (now, body) = (unix_seconds(), "1.2 is paid");
    let old = now - 400;
    let stranger = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let world = World::new(&json!([
        [FIRST, "m", now, body],
        [FIRST, "m", old, body],
        [FIRST, "m", now + 100, body],
        [stranger, "m", now, body]
    ]));
    let [good, stale, early, strange] = &world.signed[..] else { panic!("four signatures") };
    let missing = world.ask("/hook", "", body);
    assert_eq!((missing.status, &*missing.code()), (401, "credentials_missing"));
    world.refused(&fields("m", now, good), "1.3 is paid");
    world.refused(&fields("m2", now, good), body);
    world.refused(&fields("m", now + 1, good), body);
    world.refused(&fields("m", now, strange), body);
    world.refused(&fields("m", old, stale), body);
    world.refused(&fields("m", now + 100, early), body);
    // The same bytes, cut elsewhere.
    world.refused(&fields(&format!("m.{now}"), 1, good), "2 is paid");
    for odd in ["", "v1", "v2,AAAA", "v1a,AAAA", &good.replace("v1,", "v1a,"), &good.replace("v1,", ""), &"v1,AAAA ".repeat(9)] {
        world.refused(&fields("m", now, odd), body);
    }
    world.refused(&format!("webhook-id: m\r\n{}", fields("m", now, good)), body);
    world.refused(&format!("webhook-signature: {good}\r\n{}", fields("m", now, good)), body);
    world.refused(&format!("webhook-id: m\r\nwebhook-signature: {good}\r\n"), body);
    world.refused(&fields("m", now, &"v1,AAAA ".repeat(500)), body);
    assert_eq!(world.witness.texts(), Vec::<String>::new());
    // None of that has used up the good one.
    assert_eq!(world.ask("/hook", &fields("m", now, good), body).status, 200);
}

#[test]
fn a_body_is_asked_for_when_the_head_is_good_and_is_held_within_bounds() {
    let (now, whole) = (unix_seconds(), "x".repeat(1024 * 1024));
    let old = now - 400;
    let world = World::new(&json!([[FIRST, "m", now, whole.len()], [FIRST, "o", old, ""], [FIRST, "e", now, ""]]));
    let expecting = |fields: &str, length: usize| {
        let mut client = RawClient::connect(world.gateway.http());
        client.send(format!(
            "POST /hook HTTP/1.1\r\nHost: a.test\r\n{fields}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        ));
        client
    };
    // Who is too late is told so without a byte of the body.
    assert_eq!(expecting(&fields("o", old, &world.signed[1]), 10).response_head().status, 401);
    assert_eq!(expecting(&fields("m", now, &world.signed[0]), whole.len() + 1).response_head().status, 413);
    let mut client = expecting(&fields("m", now, &world.signed[0]), whole.len());
    assert_eq!(client.response_head().status, 100);
    assert_eq!(world.witness.texts(), Vec::<String>::new());
    client.send(&whole);
    assert_eq!(client.response_head().status, 200);
    assert!(world.witness.texts()[0].ends_with(&whole));
    let chunk =
        format!("POST /hook HTTP/1.1\r\nHost: a.test\r\n{}Transfer-Encoding: chunked\r\n\r\n", fields("n", now, &world.signed[0]));
    let mut client = RawClient::connect(world.gateway.http());
    client.send(chunk);
    client.send(format!("100001\r\n{whole}x\r\n0\r\n\r\n"));
    assert_eq!(client.response_head().status, 413);
    // A message may have no body at all.
    assert_eq!(world.ask("/hook", &fields("e", now, &world.signed[2]), "").status, 200);
}

#[test]
fn what_all_bodies_hold_is_bounded_and_others_are_served() {
    let (now, most) = (unix_seconds(), 1024 * 1024 - 1);
    let world = World::new(&json!([[FIRST, "m", now, "hello"]]));
    let head =
        format!("POST /hook HTTP/1.1\r\nHost: a.test\r\n{}Content-Length: {}\r\n\r\n", fields("x", now, "v1,AAAA"), most + 1);
    let most = "x".repeat(most);
    let held: Vec<RawClient> = (0..64)
        .map(|_| {
            let mut client = RawClient::connect(world.gateway.http());
            client.send(&head);
            client.send(&most);
            client
        })
        .collect();
    let ask = || world.ask("/hook", &fields("m", now, &world.signed[0]), "hello");
    holds("a body to be refused for want of room", || {
        let answer = ask();
        answer.status == 503 && answer.code() == "bodies_exhausted" && answer.field("retry-after").is_some()
    });
    // What needs no body to be judged is judged as ever.
    assert_eq!(world.ask("/hook", "", "").code(), "credentials_missing");
    drop(held);
    holds("room to be there again", || ask().status != 503);
}

#[test]
fn keys_are_replaced_in_place_and_revoked_at_once() {
    let now = unix_seconds();
    let messages: Vec<Value> =
        (0..40).map(|at| json!([if at < 20 { FIRST } else { SECOND }, format!("m{at}"), now, "b"])).collect();
    let world = World::new(&json!(messages));
    let mut at = 0;
    let mut next = |second: bool| {
        at += 1;
        let at = if second { at + 20 } else { at };
        world.ask("/hook", &fields(&format!("m{at}"), now, &world.signed[at]), "b")
    };
    assert_eq!((next(false).status, next(true).status), (200, 200));
    world.gateway.write("shop-1.key", "too short\n");
    holds("the broken key to be told of", || world.gateway.stderr().contains("shop-1.key"));
    assert_eq!(next(false).status, 200, "the key stays as it was");
    assert!(!world.gateway.stderr().contains("too short"));
    // A key for another algorithm is not used at all.
    let point = std::fs::read_to_string(world.gateway.folder().join("bank.pub")).expect("the key");
    world.gateway.write("shop-1.key", point);
    holds("the key to be withdrawn", || next(false).code() == "keys_unavailable");
    assert_eq!(next(true).status, 200);
    let revoke = ["revoke", "key", "shop-2", "--provider", "hooks"];
    assert_eq!(crate::revocation::command(&world.gateway, &revoke).expect("revoked")["kind"], "key");
    assert_eq!(next(true).code(), "credentials_revoked");
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/signed-requests.md")).expect("the guide");
    let witness = Witness::ok();
    let ports = [(8443, free_port()), (9464, free_port()), (3000, witness.address().port())];
    let (folder, authority) = (TempDir::new(), Authority::new());
    let leaf = authority.leaf(&["api.example.com"]);
    folder.write("tls/ca.crt", &authority.certificate);
    folder.write("tls/api.crt", &leaf.certificate);
    folder.write("tls/api.key", &leaf.key);
    let [configuration] = blocks(&page, "yaml").try_into().expect("one configuration");
    folder.write("portcullis.yaml", with_ports(&configuration, &ports));
    let said = run(folder.path(), &with_ports(&blocks(&page, "sh").concat(), &ports));
    assert!(said.contains("credentials_invalid") && said.contains("access_denied"), "{said}");
}

#[test]
fn what_came_behind_a_signed_body_does_not_pass() {
    let (now, body) = (unix_seconds(), "{\"paid\": 12}");
    let made: Value = serde_json::from_str(&run_node(SIGN, &[&json!([[FIRST, "m", now, body]]).to_string()])).expect("JSON");
    let server = h2_server();
    let url = format!("http://{}", server.address());
    let yaml = configuration(&url, "").replace("access: { public: true }", "access: { allow: { roles: [hooks/sender] } }");
    let identity = "identity:\n  signatures:\n    hooks:\n      form: standard_webhooks\n      keys: [ { id: shop, file: shop.key, algorithm: hmac-sha256, roles: [sender] } ]\n";
    let yaml = yaml
        .replace("    upstream: u\n", "    upstream: u\n    authenticate: { any_of: [hooks] }\n")
        .replace("apis:\n", &format!("{identity}apis:\n"));
    let authority = Authority::new();
    let leaf = authority.leaf(&["a.test"]);
    let files = [("a.crt", &*leaf.certificate), ("a.key", &*leaf.key), ("shop.key", FIRST)];
    let gateway = Gateway::start_with(&files, &yaml);
    let mut client = Http2Client::connect(gateway.address("tls"), &authority.certificate);
    let (time, signature) = (now.to_string(), made["signed"][0].as_str().expect("a signature"));
    let head = [(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/hook")];
    let signed = [("webhook-id", "m"), ("webhook-timestamp", &*time), ("webhook-signature", signature)];
    client.headers(1, &[&head[..], &signed[..]].concat(), false);
    client.frame(kind::DATA, 0, 1, body.as_bytes());
    client.headers(1, &[("x-paid", "999")], true);
    let seen: Value = serde_json::from_slice(&client.body(1)).expect("the server answers JSON");
    assert_eq!((&seen["body"], &seen["trailers"]), (&json!(body), &json!([])), "{seen}");
    assert!(seen["headers"].as_array().is_some_and(|all| all.contains(&json!(["content-length", "12"]))), "{seen}");
}
