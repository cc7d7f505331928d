//! Signed requests (RFC 9421): signed by a library that clients use, checked before a body is read, and each taken once.

use portcullis_testing_kit::{Gateway, Plain, RawClient, Response, TempDir, Witness, ask, holds, run_node, unix_seconds};
use serde_json::{Value, json};

const ROUTES: &str = "- { name: orders, methods: [GET, POST], path: \"/orders\", access: { allow: { roles: [agents/buyer] } } }\n\
                      - { name: admin, methods: [GET], path: \"/admin\", access: { allow: { roles: [agents/admin] } } }";
const SECTIONS: &str = "identity:\n  signatures:\n    agents:\n      form: rfc9421\n      covers: [content-type, x-amount]\n      keys:\n        \
    - { id: ed, file: ed.pub, algorithm: ed25519, caller: agent, roles: [buyer] }\n        \
    - { id: ec, file: ec.pub, algorithm: ecdsa-p256-sha256, roles: [buyer, admin] }\n        \
    - { id: rsa, file: rsa.pub, algorithm: rsa-pss-sha512, roles: [buyer] }\n        \
    - { id: mac, file: mac.key, algorithm: hmac-sha256, roles: [buyer] }";
const SECRET: &str = "a-secret-of-32-characters-or-more";

/// Signs requests `{ key, method, url, headers, fields, body, params }` with the library `http-message-signatures`, and gives the fields of each
/// request as lines. A body's digest is made first. By RSA-PSS it signs with a salt as long as may be, where section 3.3.1 of the RFC says 64 bytes.
const SIGN: &str = r#"
import { createRequire } from "node:module";
import crypto from "node:crypto";
const { httpbis, createSigner } = createRequire(process.argv[2] + "/")("http-message-signatures");
const pairs = {
    ed: crypto.generateKeyPairSync("ed25519"),
    ec: crypto.generateKeyPairSync("ec", { namedCurve: "P-256" }),
    rsa: crypto.generateKeyPairSync("rsa", { modulusLength: 2048 }),
    stranger: crypto.generateKeyPairSync("ed25519"),
};
const algorithms = { ed: "ed25519", ec: "ecdsa-p256-sha256", rsa: "rsa-pss-sha512", mac: "hmac-sha256", stranger: "ed25519" };
const pss = (data) => crypto.sign("sha512", data, { key: pairs.rsa.privateKey, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 });
const signed = [];
for (const one of JSON.parse(process.argv[3])) {
    const { key, method, url, headers = {}, fields, body, params = {}, id = key, sends = body } = one;
    if (body !== undefined) {
        headers["content-digest"] = `sha-256=:${crypto.createHash("sha256").update(body).digest("base64")}:`;
        headers["content-length"] = `${Buffer.byteLength(sends)}`;
    }
    const secret = key === "mac" ? process.argv[4] : pairs[key].privateKey;
    const values = { created: new Date(), nonce: crypto.randomUUID(), ...params };
    for (const time of ["created", "expires"]) {
        if (typeof values[time] === "number") values[time] = new Date(values[time] * 1000);
    }
    const signer = key === "rsa" ? { id, alg: algorithms.rsa, sign: async (data) => pss(data) } : createSigner(secret, algorithms[key], id);
    const done = await httpbis.signMessage(
        { key: signer, fields, params: ["keyid", "alg", ...Object.keys(values)], paramValues: values },
        { method, url, headers },
    );
    signed.push(Object.entries(done.headers).map(([name, value]) => `${name}: ${value}\r\n`).join(""));
}
const pem = ({ publicKey }) => publicKey.export({ type: "spki", format: "pem" });
console.log(JSON.stringify({ signed, ed: pem(pairs.ed), ec: pem(pairs.ec), rsa: pem(pairs.rsa) }));
"#;

struct World {
    gateway: Gateway,
    witness: Witness,
    signed: Vec<String>,
}

impl World {
    fn new(requests: &Value) -> Self {
        Self::with(requests, &[], |yaml| yaml)
    }

    fn with(requests: &Value, more: &[(&str, &str)], edited: impl Fn(String) -> String) -> Self {
        let made: Value = serde_json::from_str(&run_node(SIGN, &[&requests.to_string(), SECRET])).expect("JSON");
        let witness = Witness::ok();
        let mut plain = Plain::to(witness.address());
        (plain.routes, plain.api, plain.sections) = (ROUTES, "authenticate: { any_of: [agents] }", SECTIONS);
        let text = |name: &str| made[name].as_str().expect("a key").to_owned();
        let (ed, ec, rsa) = (text("ed"), text("ec"), text("rsa"));
        let files = [("ed.pub", &*ed), ("ec.pub", &*ec), ("rsa.pub", &*rsa), ("mac.key", SECRET)];
        let signed = made["signed"].as_array().expect("signatures").iter().map(|one| one.as_str().unwrap_or_default().to_owned());
        Self { gateway: Gateway::start_with(&[&files, more].concat(), &edited(plain.yaml())), witness, signed: signed.collect() }
    }

    fn ask(&self, line: &str, fields: &str, body: &str) -> Response {
        ask(self.gateway.http(), format!("{line} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n{body}")).remove(0)
    }

    #[track_caller]
    fn refused(&self, line: &str, fields: &str, body: &str) {
        let answer = self.ask(line, fields, body);
        assert_eq!((answer.status, &*answer.code()), (401, "credentials_invalid"), "{line} {fields}");
        assert_eq!(answer.field("www-authenticate"), Some("Signature realm=\"api\", form=\"rfc9421\""));
    }

    #[track_caller]
    fn taken(&self, line: &str, fields: &str, body: &str) {
        let answer = self.ask(line, fields, body);
        assert_eq!(answer.status, 200, "{line} {fields} {}\n{:#?}", answer.text(), self.gateway.records());
    }

    /// Refuses a request whose fields are not quite those that it was signed with.
    #[track_caller]
    fn refuses_odd_fields(&self, asked: &str, good: &str) {
        let line = |fields: &str, name: &str| fields.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        let (input, signature) = (line(good, "Signature-Input"), line(good, "Signature:"));
        for odd in [
            format!("{input}\r\n"),
            format!("{signature}\r\n"),
            format!("{input}\r\n{input}\r\n{signature}\r\n"),
            format!("{input}\r\nSignature: sig=:AAAA:\r\n"),
            format!("{input}\r\nSignature: sig=AAAA\r\n"),
            format!("{input}\r\n{}\r\n", signature.replace("sig=", "other=")),
            format!("{}\r\n{signature}\r\n", input.replace("\"ed25519\"", "\"hmac-sha256\"")),
            format!("{}\r\n{signature}\r\n", input.replace("alg=\"ed25519\"", "alg=\"none\"")),
            format!("{}\r\n{signature}\r\n", input.replace("keyid=\"ed\"", "keyid=\"../ed\"")),
            format!("{},{}\r\n{signature}\r\n", input, ",".repeat(3000)),
            format!("{}{}\r\n{signature}\r\n", input, ";x=1".repeat(500)),
            format!("{good}signature_input: x\r\n"),
        ] {
            self.refused(asked, &odd, "");
        }
    }
}

const WHOLE: [&str; 2] = ["@method", "@target-uri"];
const PARTS: [&str; 4] = ["@method", "@authority", "@path", "@query"];
const BODY: &str = "{\"buy\": 12}";

fn get(key: &str, path: &str, fields: &[&str]) -> Value {
    json!({ "key": key, "method": "GET", "url": format!("http://a.test{path}"), "fields": fields })
}

fn post(key: &str, more: &[&str]) -> Value {
    let fields = [&WHOLE[..], &["content-digest", "content-type", "content-length"], more].concat();
    json!({
        "key": key, "method": "POST", "url": "http://a.test/orders?a=1", "fields": fields, "body": BODY,
        "headers": { "content-type": "application/json" },
    })
}

fn with(mut request: Value, key: &str, value: Value) -> Value {
    request[key] = value;
    request
}

#[test]
fn a_request_of_a_known_signer_is_taken_once_by_every_algorithm() {
    let keys = ["ed", "ec", "rsa", "mac"];
    let requests: Vec<Value> = keys
        .iter()
        .flat_map(|key| [get(key, "/orders", &WHOLE), get(key, "/orders?a=1&b=x%20y", &PARTS), post(key, &[])])
        .chain([get("ed", "/admin", &WHOLE), get("ec", "/admin", &PARTS[..3])])
        .collect();
    let mut world = World::new(&json!(requests));
    let signed = world.signed.clone();
    for three in signed.chunks_exact(3) {
        let [plain, query, body] = three else { panic!("three each") };
        for (line, fields, body) in
            [("GET /orders", plain, ""), ("GET /orders?a=1&b=x%20y", query, ""), ("POST /orders?a=1", body, BODY)]
        {
            world.taken(line, fields, body);
            world.refused(line, fields, body);
        }
    }
    assert_eq!(world.ask("GET /admin", &signed[12], "").code(), "access_denied");
    world.taken("GET /admin", &signed[13], "");
    for seen in world.witness.texts() {
        let lower = seen.to_ascii_lowercase();
        assert!(!lower.contains("\r\nsignature") && (!lower.starts_with("post") || seen.ends_with(BODY)), "{seen}");
    }
    let records = world.gateway.records_when(26);
    let told = |record: &Value| json!(["provider", "principal", "principal_client"].map(|name| record[name].clone()));
    for who in [json!(["agents", "agent", "ed"]), json!(["agents", "rsa", "rsa"])] {
        assert!(records.iter().any(|record| told(record) == who), "{who}: {records:#?}");
    }
    assert!(records.iter().any(|record| record["detail"] == "the signature was taken before"), "{records:#?}");
    world.gateway.is_well();
}

#[test]
fn e113_nothing_is_forwarded_of_which_something_that_counts_is_not_signed() {
    let now = unix_seconds();
    let amount = |fields: &[&str]| with(get("ed", "/orders", fields), "headers", json!({ "x-amount": "5" }));
    let mut world = World::new(&json!([
        get("ed", "/orders?a=1", &WHOLE),
        get("ed", "/orders?a=1", &["@method", "@authority", "@path"]),
        get("ed", "/orders", &["@target-uri"]),
        with(get("ed", "/orders", &WHOLE), "params", json!({ "created": now - 400 })),
        with(get("ed", "/orders", &WHOLE), "params", json!({ "created": now + 100 })),
        with(get("ed", "/orders", &WHOLE), "params", json!({ "created": now - 9, "expires": now - 5 })),
        with(get("stranger", "/orders", &WHOLE), "id", json!("ed")),
        get("stranger", "/orders", &WHOLE),
        with(get("mac", "/orders", &WHOLE), "id", json!("ed")),
        with(post("ed", &[]), "sends", json!(BODY.replace("12", "13"))),
        with(post("ed", &[]), "fields", json!(["@method", "@target-uri", "content-type"])),
        amount(&WHOLE),
        amount(&["@method", "@target-uri", "x-amount"]),
        post("ed", &[])
    ]));
    let missing = world.ask("GET /orders", "", "");
    assert_eq!((missing.status, &*missing.code()), (401, "credentials_missing"));
    let signed = &world.signed;
    let [good, .., amounts, whole] = &signed[..] else { panic!("signatures") };
    for (line, host) in
        [("GET /orders?a=2", "a.test"), ("GET /orders", "a.test"), ("POST /orders?a=1", "a.test"), ("GET /admin?a=1", "a.test")]
    {
        let answer =
            ask(world.gateway.http(), format!("{line} HTTP/1.1\r\nHost: {host}\r\n{good}Connection: close\r\n\r\n")).remove(0);
        assert_eq!(answer.status, 401, "{line}");
    }
    world.refused("GET /orders?a=1", &signed[1], "");
    (2..9).for_each(|at| world.refused("GET /orders", &signed[at], ""));
    world.refused("POST /orders?a=1", &signed[9], &BODY.replace("12", "13"));
    world.refused("POST /orders?a=1", &signed[10], BODY);
    world.refused("GET /orders", &signed[11], "");
    // What is signed was removed, said differently, said twice, or said in a spelling that some upstreams take for the same.
    world.refused("GET /orders", &amounts.replace("x-amount: 5\r\n", ""), "");
    world.refused("GET /orders", &amounts.replace("x-amount: 5", "x-amount: 6"), "");
    world.refused("GET /orders", &format!("x-amount: 1\r\n{amounts}"), "");
    world.refused("GET /orders", &format!("x_amount: 1\r\n{amounts}"), "");
    // The body was taken away, or replaced together with its digest.
    world.refused("POST /orders?a=1", &whole.replace("content-length: 11", "content-length: 0"), "");
    let digest = "content-digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    let other = whole.replace(whole.lines().find(|line| line.starts_with("content-digest")).unwrap_or_default(), digest);
    world.refused("POST /orders?a=1", &other.replace("content-length: 11", "content-length: 18"), "{\"hello\": \"world\"}");
    world.refuses_odd_fields("GET /orders?a=1", good);
    assert_eq!(world.witness.texts(), Vec::<String>::new());
    // None of that has used up the good ones; what another party has signed beside them is none of the gateway's business.
    world.taken("GET /orders", amounts, "");
    world.taken("POST /orders?a=1", whole, BODY);
    let beside = "Signature-Input: proxy=(\"date\";sf);created=1;keyid=\"proxy\"\r\nSignature: proxy=:AAAA:\r\n";
    world.taken("GET /orders?a=1", &format!("{good}{beside}"), "");
    assert!(world.witness.texts().iter().all(|seen| !seen.contains("proxy=")));
    world.gateway.is_well();
}

#[test]
fn a_body_is_asked_for_when_its_head_is_signed_and_is_held_until_it_is_the_one() {
    let world = World::new(&json!([
        post("ed", &[]),
        post("stranger", &[]),
        with(post("ed", &[]), "fields", json!(["@method", "@target-uri", "content-digest", "content-type"]))
    ]));
    let expecting = |fields: &str| {
        let mut client = RawClient::connect(world.gateway.http());
        client.send(format!("POST /orders?a=1 HTTP/1.1\r\nHost: a.test\r\n{fields}Expect: 100-continue\r\n\r\n"));
        client
    };
    // A stranger is told so without a byte of the body.
    assert_eq!(expecting(&world.signed[1].replace("stranger", "ed")).response_head().status, 401);
    let mut client = expecting(&world.signed[0]);
    assert_eq!(client.response_head().status, 100);
    assert_eq!(world.witness.texts(), Vec::<String>::new());
    // Whoever has seen the head cannot use it up with another body.
    let mut other = expecting(&world.signed[0]);
    assert_eq!(other.response_head().status, 100);
    other.send(BODY.replace("12", "13"));
    assert_eq!(other.response_head().status, 401);
    client.send(BODY);
    assert_eq!(client.response_head().status, 200);
    assert!(world.witness.texts()[0].ends_with(BODY));
    // Once it was taken, nobody's body is read for it.
    assert_eq!(expecting(&world.signed[0]).response_head().status, 401);
    // In chunks, where no length is signed.
    let chunked = world.signed[2].replace("content-length: 11\r\n", "Transfer-Encoding: chunked\r\n");
    world.taken("POST /orders?a=1", &chunked, &format!("b\r\n{BODY}\r\n0\r\n\r\n"));
}

#[test]
fn keys_are_revoked_at_once_and_a_file_with_another_kind_of_key_is_not_used() {
    let requests: Vec<Value> = (0..40).map(|at| get(if at < 20 { "ed" } else { "mac" }, "/orders", &WHOLE)).collect();
    let world = World::new(&json!(requests));
    let mut at = 0;
    let mut next = |second: bool| {
        at += 1;
        world.ask("GET /orders", &world.signed[if second { at + 20 } else { at }], "")
    };
    assert_eq!((next(false).status, next(true).status), (200, 200));
    let point = std::fs::read_to_string(world.gateway.folder().join("ed.pub")).expect("the key");
    // A public key is never used as a secret.
    world.gateway.write("mac.key", point);
    holds("the key to be withdrawn", || next(true).code() == "keys_unavailable");
    assert_eq!(next(false).status, 200);
    let revoke = ["revoke", "key", "ed", "--provider", "agents"];
    assert_eq!(crate::revocation::command(&world.gateway, &revoke).expect("revoked")["kind"], "key");
    assert_eq!(next(false).code(), "credentials_revoked");
}

#[test]
fn whoever_shows_two_credentials_is_nobody() {
    let hooks = "\n    hooks: { form: standard_webhooks, keys: [ { id: shop, file: mac.key, algorithm: hmac-sha256 } ] }\n  \
        api_keys: { shops: { store: { file: partners.keys } } }";
    let folder = TempDir::new();
    crate::api_keys::key_in(folder.path(), &["create", "--name", "a", "--role", "reader"]).expect("a key");
    let keys = std::fs::read_to_string(folder.path().join("partners.keys")).expect("the file");
    let edited = |yaml: String| {
        yaml.replace(SECTIONS, &format!("{SECTIONS}{hooks}")).replace("any_of: [agents]", "any_of: [agents, hooks, shops]")
    };
    let requests = json!([get("ed", "/orders", &WHOLE)]);
    let world = World::with(&requests, &[("partners.keys", &keys)], edited);
    let good = &world.signed[0];
    for beside in ["webhook-id: m\r\n", "x-api-key: pck_a\r\n"] {
        let answer = world.ask("GET /orders", &format!("{good}{beside}"), "");
        assert_eq!((answer.status, &*answer.code()), (400, "credentials_ambiguous"), "{beside}");
    }
    assert_eq!(world.witness.texts(), Vec::<String>::new());
    world.taken("GET /orders", good, "");
}
