//! Tokens that are bound to a key of the client's (DPoP, RFC 9449), by a real provider.

use crate::openid::{private_keys, token_for, written};
use portcullis_testing_kit::{Gateway, NodeServer, Plain, Response, SigningKey, Witness, ask, unix_seconds};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A provider that binds its tokens when it is shown a proof, and a gateway that takes them.
struct World {
    provider: NodeServer,
    witness: Witness,
    gateway: Gateway,
}

fn yaml(upstream: SocketAddr, provider: SocketAddr, accept: &str) -> String {
    let plain = Plain {
        api: "authenticate: { any_of: [id], audiences: [\"https://api.test\"] }",
        routes: "- { name: orders, methods: [GET, POST], path: \"/orders\", access: { allow: { scopes: [\"orders:read\"] } } }",
        ..Plain::to(upstream)
    };
    let section = format!(
        "identity:\n  providers:\n    id: {{ issuer: \"http://{provider}\", {accept}, keys: {{ discover: {{ upstream: id }} }} }}\n"
    );
    let id = format!("upstreams:\n  id: {{ endpoints: [ {{ url: \"http://{provider}\" }} ] }}\n");
    format!("{}{section}", plain.yaml().replacen("upstreams:\n", &id, 1))
}

impl World {
    fn new(accept: &str) -> Self {
        let keys = written("ES256", &[&private_keys("ES256", "k1")]);
        let provider = NodeServer::running(include_str!("../../js/openid_provider.mjs"), &["keys.json"], &[("keys.json", &keys)]);
        let witness = Witness::ok();
        let gateway = Gateway::start(&yaml(witness.address(), provider.address(), accept));
        Self { provider, witness, gateway }
    }

    /// A token that is bound to a key, which the provider has seen a proof of.
    fn token(&self, key: &SigningKey) -> String {
        let target = format!("http://{}/token", self.provider.address());
        let proof = key.proof("POST", &target, None, &json!({}));
        token_for(self.provider.address(), "shop", "orders%3Aread", &format!("DPoP: {proof}\r\n"))
    }

    fn ask(&self, fields: &str) -> Response {
        let request = format!("GET /orders?page=2 HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        ask(self.gateway.http(), request).remove(0)
    }

    fn show(&self, token: &str, proof: &str) -> Response {
        self.ask(&format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n"))
    }
}

fn proof(key: &SigningKey, token: &str, changes: &Value) -> String {
    key.proof("GET", "http://a.test/orders", Some(token), changes)
}

#[test]
fn a_real_providers_token_is_worth_something_with_a_proof_of_its_key_alone() {
    let mut world = World::new("accept: [bearer, dpop]");
    let (own, other) = (SigningKey::p256("own"), SigningKey::p256("other"));
    let token = world.token(&own);
    for _ in 0..3 {
        let answer = world.show(&token, &proof(&own, &token, &json!({})));
        assert_eq!(answer.status, 200, "{} {}", answer.text(), world.gateway.stderr());
    }
    let seen = world.witness.texts();
    assert!(seen.iter().all(|text| !text.to_ascii_lowercase().contains("dpop")), "{seen:?}");
    let once = proof(&own, &token, &json!({}));
    assert_eq!(world.show(&token, &once).status, 200);
    let (another, now) = (world.token(&own), unix_seconds());
    let refused = [
        ("shown before", once.clone()),
        ("by another key", proof(&other, &token, &json!({}))),
        ("for another method", proof(&own, &token, &json!({ "htm": "POST" }))),
        ("for another path", proof(&own, &token, &json!({ "htu": "http://a.test/order" }))),
        ("for another host", proof(&own, &token, &json!({ "htu": "http://b.test/orders" }))),
        ("for another scheme", proof(&own, &token, &json!({ "htu": "https://a.test/orders" }))),
        ("for another token", proof(&own, &another, &json!({}))),
        ("for no token", own.proof("GET", "http://a.test/orders", None, &json!({}))),
        ("too old", proof(&own, &token, &json!({ "iat": now - 120 }))),
        ("from the future", proof(&own, &token, &json!({ "iat": now + 120 }))),
        ("no proof", token.clone()),
    ];
    let passed = world.witness.texts().len();
    for (what, proof) in &refused {
        let answer = world.show(&token, proof);
        assert_eq!((answer.status, answer.code().as_str()), (401, "proof_invalid"), "{what}");
        let challenge = answer.field("www-authenticate").unwrap_or_default();
        let asked = "Bearer realm=\"api\", DPoP realm=\"api\", error=\"invalid_dpop_proof\", algs=\"RS256 PS256 ES256 EdDSA\"";
        assert_eq!(challenge, asked, "{what}");
    }
    let (one, two) = (proof(&own, &token, &json!({})), proof(&own, &token, &json!({})));
    let twice = world.ask(&format!("Authorization: DPoP {token}\r\nDPoP: {one}\r\nDPoP: {two}\r\n"));
    assert_eq!((twice.status, twice.code().as_str()), (401, "proof_invalid"));
    assert_eq!(world.ask(&format!("Authorization: DPoP {token}\r\n")).code(), "proof_invalid");
    // A bound token is no bearer token, and a bearer token no bound one.
    let bearer = world.ask(&format!("Authorization: Bearer {token}\r\nDPoP: {}\r\n", proof(&own, &token, &json!({}))));
    assert_eq!((bearer.status, bearer.code().as_str()), (401, "credentials_invalid"));
    let plain = token_for(world.provider.address(), "shop", "orders%3Aread", "");
    let as_bound = world.show(&plain, &proof(&own, &plain, &json!({})));
    assert_eq!((as_bound.status, as_bound.code().as_str()), (401, "credentials_invalid"));
    assert_eq!(world.witness.texts().len(), passed, "nobody upstream has heard of it");
    assert_eq!(world.ask(&format!("Authorization: Bearer {plain}\r\n")).status, 200);
    let nobody = world.ask("");
    let asked = "Bearer realm=\"api\", DPoP realm=\"api\", algs=\"RS256 PS256 ES256 EdDSA\"";
    assert_eq!((nobody.status, nobody.field("www-authenticate")), (401, Some(asked)));
    world.gateway.is_well();
}

#[test]
fn a_proof_is_taken_once_by_all_workers_and_configurations() {
    let mut world = World::new("accept: [dpop]");
    let own = SigningKey::p256("own");
    let token = world.token(&own);
    assert_eq!(world.show(&token, &proof(&own, &token, &json!({}))).status, 200);
    let once = proof(&own, &token, &json!({}));
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| world.show(&token, &once).status)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).filter(|status| *status == 200).count()
    });
    assert_eq!(taken, 1);
    let next = yaml(world.witness.address(), world.provider.address(), "accept: [dpop], dpop: { age_max: 2m }");
    world.gateway.configure(&next);
    world.gateway.reaches_generation(2);
    assert_eq!(world.show(&token, &once).code(), "proof_invalid");
    assert_eq!(world.show(&token, &proof(&own, &token, &json!({}))).status, 200);
    // Every token must be bound.
    let plain = token_for(world.provider.address(), "shop", "orders%3Aread", "");
    let answer = world.ask(&format!("Authorization: Bearer {plain}\r\n"));
    let asked = "DPoP realm=\"api\", error=\"invalid_token\", algs=\"RS256 PS256 ES256 EdDSA\"";
    assert_eq!((answer.status, answer.field("www-authenticate")), (401, Some(asked)));
    world.gateway.is_well();
}

#[test]
fn a_nonce_that_is_required_is_told_and_taken() {
    let mut world = World::new("accept: [dpop], dpop: { nonce: required, algorithms: [ES256] }");
    let own = SigningKey::p256("own");
    let token = world.token(&own);
    let first = world.show(&token, &proof(&own, &token, &json!({})));
    assert_eq!((first.status, first.code().as_str()), (401, "proof_nonce_needed"));
    let asked = "DPoP realm=\"api\", error=\"use_dpop_nonce\", algs=\"ES256\"";
    assert_eq!((first.field("www-authenticate"), first.field("cache-control")), (Some(asked), Some("no-store")));
    let nonce = first.field("dpop-nonce").expect("a nonce").to_owned();
    let with = proof(&own, &token, &json!({ "nonce": nonce }));
    assert_eq!((world.show(&token, &with).status, world.show(&token, &with).code().as_str()), (200, "proof_invalid"));
    assert_eq!(world.show(&token, &proof(&own, &token, &json!({ "nonce": nonce }))).status, 200, "one nonce serves several proofs");
    let invented = world.show(&token, &proof(&own, &token, &json!({ "nonce": "0".repeat(32) })));
    assert_eq!(invented.code(), "proof_nonce_needed");
    // A proof with a key that the provider's algorithms do not allow.
    let edwards = SigningKey::ed25519("own");
    let bound = world.token(&edwards);
    let answer = world.show(&bound, &proof(&edwards, &bound, &json!({ "nonce": nonce })));
    assert_eq!(answer.code(), "proof_invalid");
    world.gateway.is_well();
}
