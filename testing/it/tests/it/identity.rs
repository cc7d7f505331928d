//! Who is calling, and may they: bearer tokens, key sets from files, allow lines.

use portcullis_testing_kit::{
    Gateway, Plain, RawClient, Response, SigningKey, Witness, ask, base64url, binary, claims, holds, key_set, unix_seconds,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

const ISSUER: &str = "https://id.test";
const AUDIENCE: &str = "https://api.test";

fn yaml(witness: &Witness) -> String {
    let mut plain = Plain::to(witness.address());
    plain.api = "authenticate: { any_of: [corp, partner], audiences: [\"https://api.test\"] }";
    plain.routes = "- { name: read, methods: [GET, HEAD, POST], path: \"/orders\", access: { allow: { roles: [reader] } } }\n\
                    - { name: pay, methods: [GET], path: \"/pay\", access: { allow: { scopes: [\"pay:one\", \"pay:all\"] } } }\n\
                    - { name: open, methods: [GET], path: \"/open\", access: { public: true } }";
    plain.sections = "identity:\n  providers:\n    corp: { issuer: \"https://id.test\", keys: { file: corp.jwks.json }, roles: { claim: realm.roles } }\n    \
                      partner: { issuer: \"https://partner.test\", keys: { file: partner.jwks.json }, roles: { claim: realm.roles } }\n\
                      roles: { reader: [corp/reader] }";
    plain.yaml()
}

/// A gateway whose API takes the tokens of two providers.
struct World {
    gateway: Gateway,
    witness: Witness,
    corp: SigningKey,
    partner: SigningKey,
}

impl World {
    fn new(corp: SigningKey) -> Self {
        let (witness, partner) = (Witness::ok(), SigningKey::p256("p1"));
        let files = [("corp.jwks.json", key_set(&[&corp])), ("partner.jwks.json", key_set(&[&partner]))];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let gateway = Gateway::start_with(&files, &yaml(&witness));
        Self { gateway, witness, corp, partner }
    }

    fn reader() -> Value {
        let mut claims = claims(ISSUER, AUDIENCE);
        claims["realm"] = json!({ "roles": ["reader"] });
        claims
    }

    fn ask(&self, path: &str, fields: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        let mut responses = ask(self.gateway.http(), request);
        assert_eq!(responses.len(), 1);
        responses.remove(0)
    }

    fn with(&self, token: &str) -> Response {
        self.ask("/orders", &format!("Authorization: Bearer {token}\r\n"))
    }

    /// It is refused in the words for every token that is not good, and nobody upstream hears of it.
    #[track_caller]
    fn is_invalid(&self, token: &str, why: &str) {
        let before = self.witness.texts().len();
        let answer = self.with(token);
        assert_eq!((answer.status, answer.code().as_str()), (401, "credentials_invalid"), "{why}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"api\", error=\"invalid_token\""), "{why}");
        assert_eq!(self.witness.texts().len(), before, "{why}");
    }
}

#[test]
fn a_caller_with_the_role_passes_and_the_token_stays_here() {
    for corp in [SigningKey::rsa("r1"), SigningKey::p256("e1"), SigningKey::ed25519("d1")] {
        let world = World::new(corp);
        let token = world.corp.token(&World::reader());
        for _ in 0..2 {
            assert_eq!(world.with(&token).status, 200, "{}", world.corp.id);
        }
        let seen = world.witness.texts().concat().to_ascii_lowercase();
        assert!(!seen.contains("authorization") && !seen.contains(&token.to_ascii_lowercase()), "{seen}");
        let record = world.gateway.records_when(2).pop().expect("a record");
        let told = ["provider", "principal", "principal_client"].map(|name| record[name].as_str().unwrap_or_default().to_owned());
        assert_eq!((told, &record["allow_line"]), (["corp", "alice", "shop"].map(str::to_owned), &json!(1)), "{record}");
        assert!(!world.gateway.access_log().contains("eyJ"), "no token in the log");
    }
}

#[test]
fn who_is_not_known_and_who_may_not_are_told_apart() {
    let world = World::new(SigningKey::p256("e1"));
    let missing = world.ask("/orders", "");
    assert_eq!((missing.status, missing.code().as_str()), (401, "credentials_missing"));
    assert_eq!(missing.field("www-authenticate"), Some("Bearer realm=\"api\""));
    let denied = world.with(&world.corp.token(&claims(ISSUER, AUDIENCE)));
    assert_eq!((denied.status, denied.code().as_str()), (403, "access_denied"));
    assert_eq!(denied.field("www-authenticate"), Some("Bearer realm=\"api\", error=\"insufficient_scope\""));
    assert_eq!(world.gateway.record_of("access_denied")["principal"], json!("alice"));
    let pay = |scope: &str| {
        let mut claims = claims(ISSUER, AUDIENCE);
        claims["scope"] = json!(scope);
        world.ask("/pay", &format!("Authorization: Bearer {}\r\n", world.corp.token(&claims))).status
    };
    assert_eq!((pay("pay:all x pay:one"), pay("pay:all"), pay("pay:onepay:all"), pay("")), (200, 403, 403, 403));
    assert_eq!(world.ask("/open", "").status, 200);
}

#[test]
fn equal_roles_of_two_providers_are_two_roles() {
    let world = World::new(SigningKey::p256("e1"));
    let mut claims = World::reader();
    claims["iss"] = json!("https://partner.test");
    assert_eq!(world.with(&world.partner.token(&claims)).code(), "access_denied");
    // In the name of the other, by the own key.
    world.is_invalid(&world.partner.token(&World::reader()), "signed by another provider");
    let mut header = world.partner.header();
    header["kid"] = json!("e1");
    world.is_invalid(&world.partner.sign(&header, &World::reader()), "signed by another provider under the id of this one's key");
}

#[test]
fn two_authorization_fields_are_refused() {
    let world = World::new(SigningKey::p256("e1"));
    let token = world.corp.token(&World::reader());
    for fields in [
        format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
        format!("Authorization: Bearer {token}\r\nauthorization: Basic YTpi\r\n"),
        format!("Authorization: Bearer {token}, Bearer {token}\r\n"),
    ] {
        let answer = world.ask("/orders", &fields);
        assert_eq!((answer.status, answer.code().as_str()), (400, "credentials_ambiguous"), "{fields}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"api\", error=\"invalid_request\""));
    }
    assert_eq!(world.witness.texts(), Vec::<String>::new());
}

#[test]
fn e101_tokens_that_choose_their_algorithm_reach_nobody() {
    let world = World::new(SigningKey::rsa("r1"));
    for algorithm in ["none", "None", "nOnE", "HS256", "ES256", "RS384", "PS256"] {
        let header = json!({ "alg": algorithm, "kid": "r1", "typ": "at+jwt" });
        world.is_invalid(&world.corp.sign(&header, &World::reader()), algorithm);
        let unsigned =
            format!("{}.{}.", base64url(header.to_string().as_bytes()), base64url(World::reader().to_string().as_bytes()));
        world.is_invalid(&unsigned, algorithm);
    }
}

#[test]
fn e102_keys_in_tokens_are_neither_used_nor_fetched() {
    let world = World::new(SigningKey::p256("e1"));
    // Whoever is asked for a key would be seen here.
    let attacker = Witness::ok();
    let key = SigningKey::p256("e1");
    for (name, value) in [
        ("jwk", key.jwk()),
        ("jku", json!(format!("http://{}/keys", attacker.address()))),
        ("x5u", json!(format!("http://{}/chain", attacker.address()))),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["x"])),
    ] {
        let mut header = key.header();
        header[name] = value;
        world.is_invalid(&key.sign(&header, &World::reader()), name);
    }
    assert_eq!(attacker.texts(), Vec::<String>::new());
}

#[test]
fn e103_odd_key_ids_are_only_names() {
    let mut world = World::new(SigningKey::p256("e1"));
    for id in [
        json!("../../../../dev/null"),
        json!("' UNION SELECT 1"),
        json!("https://evil.test"),
        json!("a\u{0}b"),
        json!({}),
        json!(1),
    ] {
        let header = json!({ "alg": "ES256", "kid": id, "typ": "at+jwt" });
        world.is_invalid(&world.corp.sign(&header, &World::reader()), &id.to_string());
    }
    assert!(!world.gateway.access_log().contains("UNION"), "no input in the log's details");
    world.gateway.is_well();
}

#[test]
fn e104_claims_of_other_types_are_refused() {
    let world = World::new(SigningKey::ed25519("d1"));
    let now = unix_seconds();
    for (name, value) in [
        ("aud", json!(1)),
        ("aud", json!([])),
        ("aud", json!("https://other.test")),
        ("exp", json!("4102444800")),
        ("exp", json!(now as f64 + 0.5)),
        ("exp", json!(now - 3600)),
        ("exp", json!(253_402_300_799_u64)),
        ("exp", json!(u64::MAX)),
        ("nbf", json!(now + 3600)),
        ("iat", json!(now + 3600)),
        ("sub", json!("a\u{0}")),
        ("iss", json!("https://id.test/")),
        ("cnf", json!({ "jkt": "x" })),
    ] {
        let mut claims = World::reader();
        claims[name] = value.clone();
        world.is_invalid(&world.corp.token(&claims), &format!("{name}: {value}"));
    }
    let header = world.corp.header().to_string();
    let text = World::reader().to_string();
    for claims in [text.replacen('{', "{\"sub\":\"root\",", 1), text.replacen("\"exp\":", "\"exp\":1e400,\"x\":", 1)] {
        world.is_invalid(&world.corp.sign_raw(&header, &claims, "EdDSA"), &claims);
    }
}

#[test]
fn e105_e106_e107_e108_what_is_no_signed_token_is_refused_at_once() {
    let mut world = World::new(SigningKey::p256("e1"));
    let before = world.gateway.resident_kib();
    let part = |value: Value| base64url(value.to_string().as_bytes());
    let encrypted =
        part(json!({ "alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_147_483_647_u32, "p2s": "AA", "zip": "DEF" }));
    world.is_invalid(&format!("{encrypted}.{0}.{0}.{0}.{0}", base64url(&[0; 64])), "encrypted");
    world.is_invalid(&format!("{encrypted}.{0}.{0}", base64url(&[0; 64])), "half encrypted");
    for text in [".", "..", "....", "a.b.c", &".".repeat(20_000), &"A".repeat(20_000)] {
        world.is_invalid(text, text.get(..4).unwrap_or(text));
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000));
    world.is_invalid(&world.corp.sign_raw(&world.corp.header().to_string(), &deep, "ES256"), "deep");
    let mut many = World::reader().to_string();
    many.pop();
    (0..300).for_each(|number| write!(many, ",\"c{number}\":0").expect("written"));
    world.is_invalid(&world.corp.sign_raw(&world.corp.header().to_string(), &format!("{many}}}"), "ES256"), "many claims");
    // A mebibyte of dots is more than a head may have.
    let mut client = RawClient::connect(world.gateway.http());
    let _cut_off = client.try_send(
        format!("GET /orders HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {}\r\n\r\n", ".".repeat(1 << 20)).as_bytes(),
    );
    assert!(client.responses().iter().all(|answer| answer.status == 431));
    assert!(world.gateway.resident_kib() < before + 20_000, "memory stays flat");
    world.gateway.is_well();
}

#[test]
fn keys_are_rotated_by_replacing_the_file() {
    let mut world = World::new(SigningKey::p256("e1"));
    let (old, next) = (world.corp.token(&World::reader()), SigningKey::ed25519("d2"));
    let new = next.token(&World::reader());
    assert_eq!(world.with(&old).status, 200);
    world.is_invalid(&new, "not a key yet");
    world.gateway.write("corp.jwks.json", key_set(&[&world.corp, &next]));
    holds("the new key to be known", || world.with(&new).status == 200);
    assert_eq!(world.with(&old).status, 200);
    world.gateway.write("corp.jwks.json", key_set(&[&next]));
    holds("the old key to be gone, also for tokens that are known", || world.with(&old).code() == "credentials_invalid");
    assert_eq!(world.with(&new).status, 200);
    assert_eq!(world.gateway.generation(), 1, "no other configuration for it");
    world.gateway.is_well();
}

#[test]
fn e114_without_a_key_set_nothing_opens() {
    let mut world = World::new(SigningKey::p256("e1"));
    let token = world.corp.token(&World::reader());
    assert_eq!(world.with(&token).status, 200);
    for (number, wrong) in (1..).zip(["", "{}", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}"]) {
        world.gateway.write("corp.jwks.json", wrong);
        world.gateway.refuses_reload(number);
        assert_eq!(world.with(&token).status, 200, "the keys before stay in force");
        world.is_invalid(&SigningKey::p256("e1").token(&World::reader()), "another key");
    }
    std::fs::remove_file(world.gateway.folder().join("corp.jwks.json")).expect("removed");
    holds("the loss to be told", || world.gateway.stderr().contains("cannot be read"));
    assert_eq!(world.with(&token).status, 200);
    world.gateway.is_well();
}

#[test]
fn e142_a_grant_that_is_removed_is_gone_with_the_reload() {
    let world = World::new(SigningKey::p256("e1"));
    let token = world.corp.token(&World::reader());
    assert_eq!(world.with(&token).status, 200);
    let config = yaml(&world.witness).replace("reader: [corp/reader]", "reader: [corp/writer]");
    world.gateway.configure(&config);
    world.gateway.reaches_generation(2);
    assert_eq!(world.with(&token).code(), "access_denied");
    world.gateway.configure(&yaml(&world.witness));
    world.gateway.reaches_generation(3);
    assert_eq!(world.with(&token).status, 200);
}

#[test]
fn e123_answers_never_tell_of_tokens_or_keys() {
    let world = World::new(SigningKey::p256("e1"));
    let good = world.corp.token(&World::reader());
    let mut answers = std::collections::BTreeSet::new();
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut token = good.clone().into_bytes();
        token[at] = if token[at] == b'A' { b'B' } else { b'A' };
        let answer = world.with(&String::from_utf8(token).expect("ASCII"));
        if answer.status != 200 {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            answers.insert(body.split_once(",\"request_id\"").map_or(body.clone(), |(before, _)| before.to_owned()));
        }
    }
    assert_eq!(answers.len(), 1, "one answer for every wrong token: {answers:?}");
}

/// What the program says to these arguments, of the configuration of a gateway.
fn told(world: &World, arguments: &[&str]) -> Value {
    let output =
        std::process::Command::new(binary()).args(arguments).current_dir(world.gateway.folder()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn explain_decides_for_a_caller_as_the_gateway_does() {
    let world = World::new(SigningKey::p256("e1"));
    for (provider, path, roles, scopes) in [
        ("corp", "/orders", &["reader"][..], &[][..]),
        ("corp", "/orders", &["writer", "reader"], &[]),
        ("corp", "/orders", &["writer"], &["reader"]),
        ("partner", "/orders", &["reader"], &[]),
        ("corp", "/pay", &[], &["pay:one", "pay:all"]),
        ("partner", "/pay", &["reader"], &["pay:all", "pay:one", "x"]),
        ("corp", "/pay", &[], &["pay:all"]),
        ("corp", "/open", &[], &[]),
    ] {
        let key = if provider == "corp" { &world.corp } else { &world.partner };
        let mut claims = claims(&format!("https://{}.test", if provider == "corp" { "id" } else { "partner" }), AUDIENCE);
        claims["realm"] = json!({ "roles": roles });
        claims["scope"] = json!(scopes.join(" "));
        let answer = world.ask(path, &format!("Authorization: Bearer {}\r\n", key.token(&claims)));
        let url = format!("http://a.test{path}");
        let mut arguments =
            vec!["--format", "json", "explain", "--config", "portcullis.yaml", "--request", "GET", &url, "--as", provider];
        roles.iter().for_each(|role| arguments.extend(["--role", role]));
        scopes.iter().for_each(|scope| arguments.extend(["--scope", scope]));
        let explained = told(&world, &arguments);
        assert_eq!(
            explained["status"].as_u64().unwrap_or(200),
            u64::from(answer.status),
            "{provider} {path} {roles:?}: {explained:#}"
        );
        assert_eq!(explained["allow_line"].is_u64(), answer.status == 200 && path != "/open", "{explained:#}");
    }
    let stranger = [
        "--format",
        "json",
        "explain",
        "--config",
        "portcullis.yaml",
        "--request",
        "GET",
        "http://a.test/orders",
        "--as",
        "nobody",
    ];
    assert_eq!(told(&world, &stranger)["decision"], json!("credentials_invalid"));
}

#[test]
fn exposure_lists_every_route_with_everybody_it_lets_in() {
    let world = World::new(SigningKey::p256("e1"));
    let rows = told(&world, &["--format", "json", "exposure", "--config", "portcullis.yaml"]);
    let names: Vec<&str> = rows.as_array().expect("a list").iter().filter_map(|row| row["route"].as_str()).collect();
    assert_eq!(names, ["open", "read", "pay"], "what is for everybody comes first");
    assert_eq!((&rows[0]["everybody"], &rows[0]["allow"]), (&json!(true), &Value::Null));
    assert_eq!(rows[1]["allow"], json!([{ "one_of_roles": ["corp/reader"], "all_of_scopes": [], "one_of_consumers": [] }]));
    assert_eq!(rows[2]["allow"], json!([{ "one_of_roles": [], "all_of_scopes": ["pay:one", "pay:all"], "one_of_consumers": [] }]));
    assert_eq!((&rows[2]["providers"], &rows[2]["audiences"]), (&json!(["corp", "partner"]), &json!([AUDIENCE])));
}

#[test]
fn the_upstream_is_told_of_the_caller_by_the_gateway_alone() {
    let world = World::new(SigningKey::p256("e1"));
    let rules = "header_rules: { request: { set: { X-Caller: \"{principal.provider}/{principal.subject}\" } } }\n    authenticate:";
    world.gateway.configure(&yaml(&world.witness).replacen("authenticate:", rules, 1));
    world.gateway.reaches_generation(2);
    let token = world.corp.token(&World::reader());
    let claim = "X-Caller: corp/root\r\nX_Caller: corp/root\r\nX-Authenticated-User: root\r\n";
    assert_eq!(world.ask("/orders", &format!("Authorization: Bearer {token}\r\n{claim}")).status, 200);
    assert_eq!(world.ask("/open", claim).status, 200);
    let seen = world.witness.texts();
    assert!(seen[0].contains("x-caller: corp/alice\r\n") && seen[1].contains("x-caller: -/-\r\n"), "{seen:?}");
    assert!(!seen.concat().contains("root"), "{seen:?}");
}
