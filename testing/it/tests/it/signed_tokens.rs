//! Tokens that the gateway signs for upstreams, verified there by what it publishes.

use crate::operations::{blocks, pages, run, with_ports};
use portcullis_testing_kit::{
    Authority, Gateway, NodeServer, Plain, Response, SigningKey, TempDir, ask, claims, free_port, get, holds, key_set, output_of,
    unix_seconds,
};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const ISSUER: &str = "https://127.0.0.1";

/// A private key, as operators make one.
fn private_key(arguments: &[&str]) -> String {
    let output = output_of(Command::new("openssl").arg("genpkey").args(arguments));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM")
}

fn ed25519() -> String {
    private_key(&["-algorithm", "ed25519"])
}

fn p256() -> String {
    private_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
}

/// A gateway before an upstream that believes nobody else.
struct World {
    gateway: Gateway,
    upstream: NodeServer,
    corp: SigningKey,
    partner: SigningKey,
}

impl World {
    fn new(keys: &str, life: &str) -> Self {
        let upstream = NodeServer::running(include_str!("../../js/signed_upstream.mjs"), &[], &[]);
        let api = format!(
            "authenticate: {{ any_of: [corp, partner], audiences: [\"https://api.test\"] }}\n    \
             credentials: {{ sign: {{ signer: gateway, audience: \"https://orders.internal\", life: {life} }} }}"
        );
        let mut plain = Plain::to(upstream.address());
        plain.routes = "- { name: read, methods: [GET], path: \"/orders\", access: { allow: { roles: [reader], scopes: [\"a:read\"] } } }\n\
                        - { name: admin, methods: [GET], path: \"/admin\", access: { allow: { roles: [corp/admin] } } }\n\
                        - { name: open, methods: [GET], path: \"/open\", access: { public: true } }";
        plain.sections = "identity:\n  providers:\n    corp: { issuer: \"https://id.test\", keys: { file: corp.jwks.json }, roles: { claim: roles } }\n    \
                          partner: { issuer: \"https://partner.test\", keys: { file: partner.jwks.json }, roles: { claim: roles } }\n  \
                          signers: { gateway: { issuer: \"https://127.0.0.1\", keys: { file: gateway.pem } } }\n\
                          consumers: { shops: { match: { provider: corp, claim: { client_id: shop } } } }\n\
                          roles: { reader: [corp/reader, partner/reader] }";
        let yaml = plain.yaml().replace("upstream: u\n    \n", &format!("upstream: u\n    {api}\n"));
        let (corp, partner) = (SigningKey::p256("c1"), SigningKey::p256("p1"));
        let files =
            [("corp.jwks.json", key_set(&[&corp])), ("partner.jwks.json", key_set(&[&partner])), ("gateway.pem", keys.into())];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let gateway = Gateway::start_with(&files, &yaml);
        let published = format!("http://127.0.0.1:{}/.well-known/jwks.json", gateway.http().port());
        upstream.write("gateway.json", &json!({ "keys": published, "issuer": ISSUER }).to_string());
        Self { gateway, upstream, corp, partner }
    }

    /// Claims of a reader.
    fn reader(issuer: &str) -> Value {
        let mut claims = claims(issuer, "https://api.test");
        claims["roles"] = json!(["reader", "nobody-asks-for-this"]);
        claims["scope"] = json!("a:read a:write");
        claims
    }

    fn ask(&self, path: &str, token: &str) -> Response {
        let fields = format!("Authorization: Bearer {token}\r\nConnection: close");
        ask(self.gateway.http(), format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n")).remove(0)
    }

    /// What the upstream is told of a caller.
    #[track_caller]
    fn told(&self, path: &str, token: &str) -> Value {
        let answer = self.ask(path, token);
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.gateway.stderr());
        answer.json()
    }

    fn published(&self) -> Response {
        get(self.gateway.http(), "127.0.0.1", "/.well-known/jwks.json")
    }
}

#[test]
fn the_upstream_is_told_who_is_calling_by_the_gateways_word_alone() {
    for key in [ed25519(), p256()] {
        let mut world = World::new(&key, "60s");
        let before = unix_seconds();
        let token = world.corp.token(&World::reader("https://id.test"));
        let told = world.told("/orders", &token);
        let claims = &told["claims"];
        assert_eq!(claims["sub"], "corp/alice", "{claims}");
        assert_eq!(
            (&claims["client_id"], &claims["consumer"], &claims["roles"], &claims["scope"]),
            (&json!("corp/shop"), &json!("shops"), &json!(["corp/reader"]), &json!("a:read")),
            "what no line names is not passed on"
        );
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert!(life == 60 && claims["iat"].as_u64().unwrap() >= before, "{claims}");
        // The same caller's token is used again, another caller has another; equal names of two providers are two.
        assert_eq!(world.told("/orders", &token)["claims"]["jti"], claims["jti"]);
        let other = world.told("/orders", &world.partner.token(&World::reader("https://partner.test")));
        assert_eq!(other["claims"]["sub"], "partner/alice");
        assert_eq!((&other["claims"]["roles"], other["claims"].get("consumer")), (&json!(["partner/reader"]), None));
        assert_ne!(other["claims"]["jti"], claims["jti"]);
        // Who is refused is vouched for by nobody, and where nobody is asked, what a client says reaches nobody.
        assert_eq!(world.ask("/admin", &token).code(), "access_denied");
        assert_eq!(world.told("/open", &token)["claims"], Value::Null);
        assert_eq!(get(world.upstream.address(), "a.test", "/asked").json(), json!(1), "the keys are fetched once");
        world.gateway.is_well();
    }
}

#[test]
fn what_is_signed_does_not_outlive_the_callers_own_credential() {
    let world = World::new(&ed25519(), "10m");
    let mut claims = World::reader("https://id.test");
    claims["exp"] = json!(unix_seconds() + 40);
    let told = world.told("/orders", &world.corp.token(&claims));
    // With the leeway of half a minute that the token itself has.
    let end = claims["exp"].as_u64().unwrap() + 30;
    assert_eq!(told["claims"]["exp"], json!(end), "{told}");
    claims["exp"] = json!(unix_seconds() + 3600);
    let longer = world.told("/orders", &world.corp.token(&claims));
    assert_eq!(longer["claims"]["exp"].as_u64().unwrap() - longer["claims"]["iat"].as_u64().unwrap(), 600, "{longer}");
}

#[test]
fn keys_are_published_and_rotated_under_traffic_without_a_lost_request() {
    let (old, new) = (ed25519(), p256());
    let world = World::new(&old, "60s");
    let answer = world.published();
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/jwk-set+json")), "{}", answer.text());
    assert!(answer.field("cache-control").is_some_and(|value| value.contains("max-age=300")));
    let ids = |answer: &Response| -> Vec<String> {
        let keys = answer.json()["keys"].as_array().cloned().unwrap_or_default();
        assert!(keys.iter().all(|key| key.get("d").is_none()), "{}", answer.text());
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let first = ids(&answer)[0].clone();
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let token = world.corp.token(&World::reader("https://id.test"));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    world.told("/orders", &token);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let signs = || world.told("/orders", &token)["header"]["kid"].as_str().unwrap().to_owned();
        // Told of, then signed with, then alone.
        world.gateway.write("gateway.pem", format!("{old}{new}"));
        holds("the new key to be published", || ids(&world.published()).len() == 2);
        assert_eq!(signs(), first);
        world.gateway.write("gateway.pem", format!("{new}{old}"));
        holds("the new key to sign", || signs() != first);
        // A file that is not right changes nothing.
        world.gateway.write("gateway.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        holds("the file to be refused", || world.gateway.stderr().contains("key 1 is neither on P-256 nor on Ed25519"));
        assert_eq!(ids(&world.published()).len(), 2);
        world.gateway.write("gateway.pem", &new);
        holds("the old key to be gone", || ids(&world.published()) == [signs()]);
        let count = served.load(Ordering::Relaxed);
        holds("traffic to go on", || served.load(Ordering::Relaxed) > count + 10);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(world.gateway.generation(), 1, "nothing else was built anew");
    let asked = get(world.upstream.address(), "a.test", "/asked").json();
    assert!(asked.as_u64().is_some_and(|asked| asked <= 4), "{asked}");
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/upstream-credentials.md")).expect("the guide");
    let upstream = NodeServer::running(include_str!("../../js/signed_upstream.mjs"), &[], &[]);
    let ports = [(8443, free_port()), (9464, free_port()), (3000, upstream.address().port())];
    let (folder, authority) = (TempDir::new(), Authority::new());
    let leaf = authority.leaf(&["api.example.com"]);
    folder.write("tls/ca.crt", &authority.certificate);
    folder.write("tls/api.crt", &leaf.certificate);
    folder.write("tls/api.key", &leaf.key);
    let keys = with_ports("https://api.example.com:8443/.well-known/jwks.json", &ports);
    let says = json!({ "keys": keys, "issuer": with_ports("https://api.example.com:8443", &ports), "ca": authority.certificate });
    upstream.write("gateway.json", &says.to_string());
    let [configuration] = blocks(&page, "yaml").try_into().expect("one configuration");
    folder.write("portcullis.yaml", with_ports(&configuration, &ports));
    let said = run(folder.path(), &with_ports(&blocks(&page, "sh").concat(), &ports));
    assert!(said.contains("partners/partner-a"), "{said}");
}
