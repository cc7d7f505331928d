//! OpenID Connect Discovery: a real provider, and providers that are away, slow or lying.

use crate::operations::{blocks, pages, run, with_ports};
use portcullis_testing_kit::{
    Authority, Gateway, NodeServer, Plain, Response, SigningKey, TempDir, UpstreamSide, Witness, ask, base64url, claims, free_port,
    get, holds, key_set,
};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

const AUDIENCE: &str = "https://api.test";

fn yaml(upstream: SocketAddr, provider: SocketAddr, discover: &str) -> String {
    let plain = Plain { api: "authenticate: { any_of: [id], audiences: [\"https://api.test\"] }", ..Plain::to(upstream) };
    let plain = Plain {
        routes: "- { name: read, methods: [GET], path: \"/orders\", access: { allow: { scopes: [\"orders:read\"] } } }",
        ..plain
    };
    let sections = format!(
        "identity:\n  providers:\n    id: {{ issuer: \"http://{provider}\", keys: {{ discover: {{ upstream: id{discover} }} }} }}\n"
    );
    let id = format!("upstreams:\n  id: {{ endpoints: [ {{ url: \"http://{provider}\" }} ], timeouts: {{ connect: 1s }} }}\n");
    format!("{}{sections}", plain.yaml().replacen("upstreams:\n", &id, 1))
}

fn with(gateway: &Gateway, token: &str) -> Response {
    let request = format!("GET /orders HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    ask(gateway.http(), request).remove(0)
}

/// Keys of the real provider, private, made by the provider's own runtime.
pub(crate) fn private_keys(algorithm: &str, id: &str) -> String {
    let program = "import { generateKeyPairSync } from 'node:crypto';\n\
        const [algorithm, kid] = process.argv.slice(1);\n\
        const [type, options] = { RS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] }[algorithm];\n\
        const key = generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });\n\
        console.log(JSON.stringify({ ...key, kid, alg: algorithm, use: 'sig' }));";
    let output =
        std::process::Command::new("node").args(["--input-type=module", "-e", program, algorithm, id]).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("JSON").trim().to_owned()
}

pub(crate) fn written(algorithm: &str, keys: &[&str]) -> String {
    format!("{{\"algorithm\":\"{algorithm}\",\"keys\":[{}]}}", keys.join(","))
}

/// A token for client credentials, with a resource indicator (RFC 8707).
fn token_of(provider: SocketAddr, scope: &str) -> String {
    token_for(provider, "shop", scope, "")
}

/// The same for a client of this name, which asks with these header lines.
pub(crate) fn token_for(provider: SocketAddr, client: &str, scope: &str, fields: &str) -> String {
    token_from(provider, client, "api.test", scope, fields)
}

/// The same for a resource.
pub(crate) fn token_from(provider: SocketAddr, client: &str, resource: &str, scope: &str, fields: &str) -> String {
    let body = format!("grant_type=client_credentials&resource=https%3A%2F%2F{resource}&scope={scope}");
    let answer = post(provider, "/token", client, fields, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().expect("a token").to_owned()
}

/// Posts a form to a provider, as a client of it.
pub(crate) fn post(provider: SocketAddr, path: &str, client: &str, fields: &str, body: &str) -> Response {
    let credentials = base64url(format!("{client}:only-for-tests").as_bytes());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {provider}\r\nAuthorization: Basic {credentials}\r\n{fields}Content-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    ask(provider, request).remove(0)
}

#[test]
fn a_real_providers_tokens_are_taken_and_its_keys_followed() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let (first, second) = (private_keys(algorithm, "k1"), private_keys(algorithm, "k2"));
        let program = include_str!("../../js/openid_provider.mjs");
        let provider = NodeServer::running(program, &["keys.json"], &[("keys.json", &written(algorithm, &[&first]))]);
        let witness = Witness::ok();
        let mut gateway = Gateway::start(&yaml(witness.address(), provider.address(), ""));
        let token = token_of(provider.address(), "orders%3Aread");
        assert_eq!(with(&gateway, &token).status, 200, "{algorithm}: {}", gateway.stderr());
        assert_eq!(with(&gateway, &token_of(provider.address(), "orders%3Awrite")).code(), "access_denied");
        let record = gateway.record_of("access_denied");
        assert_eq!((&record["provider"], &record["principal"]), (&json!("id"), &json!("shop")), "{record}");
        // The provider signs with another key: it is asked for it, and the key that is gone is worth nothing.
        provider.write("keys.json", &written(algorithm, &[&second]));
        let rotated = token_of(provider.address(), "orders%3Aread");
        holds("the new key to be known", || with(&gateway, &rotated).status == 200);
        assert_eq!(with(&gateway, &token).code(), "credentials_invalid");
        let asked = get(provider.address(), "a.test", "/asked").json();
        assert!(asked["/jwks"].as_u64().is_some_and(|count| count <= 3), "{asked}");
        gateway.is_well();
    }
}

/// A provider that answers as it is told, and counts.
struct Liar {
    witness: Witness,
    says: Arc<Mutex<Says>>,
}

/// What a provider answers for its discovery document and for its keys; nothing at all when it is away.
#[derive(Clone, Default)]
struct Says {
    document: Option<String>,
    keys: Option<String>,
}

fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Liar {
    fn new() -> Self {
        let says: Arc<Mutex<Says>> = Arc::default();
        let told = Arc::clone(&says);
        let witness = Witness::scripted(move |side: &mut UpstreamSide| {
            let Some(request) = side.head() else { return };
            side.remember(&request);
            let says = told.lock().expect("not poisoned").clone();
            let is_document = String::from_utf8_lossy(&request).contains("/.well-known/openid-configuration");
            match if is_document { says.document } else { says.keys } {
                Some(answer) => drop(side.write(answer)),
                None => side.reset(),
            }
        });
        Self { witness, says }
    }

    fn say(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().expect("not poisoned"));
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.witness.address())
    }

    /// Tells the truth.
    fn tells(&self, keys: &[&SigningKey]) {
        let document = json!({ "issuer": self.issuer(), "jwks_uri": format!("{}/keys", self.issuer()) }).to_string();
        self.say(|says| *says = Says { document: Some(answer(&document)), keys: Some(answer(&key_set(keys))) });
    }

    fn fetches(&self) -> usize {
        self.witness.texts().iter().filter(|text| text.starts_with("GET /keys ")).count()
    }

    fn token(&self, key: &SigningKey) -> String {
        let mut claims = claims(&self.issuer(), AUDIENCE);
        claims["scope"] = json!("orders:read");
        key.token(&claims)
    }
}

#[test]
fn e110_tokens_with_invented_keys_cause_no_more_fetches() {
    let (liar, key, witness) = (Liar::new(), SigningKey::p256("k1"), Witness::ok());
    liar.tells(&[&key]);
    let mut gateway = Gateway::start(&yaml(witness.address(), liar.witness.address(), ""));
    let token = liar.token(&key);
    assert_eq!(with(&gateway, &token).status, 200);
    let begin = std::time::Instant::now();
    for number in 0..300 {
        let mut header = key.header();
        header["kid"] = json!(format!("invented-{number}"));
        let mut claims = claims(&liar.issuer(), AUDIENCE);
        claims["jti"] = json!(number.to_string());
        let answer = with(&gateway, &key.sign(&header, &claims));
        assert!([401, 503].contains(&answer.status), "{}", answer.status);
        if number % 50 == 0 {
            assert_eq!(with(&gateway, &token).status, 200, "valid tokens go on");
        }
    }
    // One at the start, and one for each ten seconds that this has taken.
    let allowed = 2 + begin.elapsed().as_secs() as usize / 10;
    assert!(liar.fetches() <= allowed, "{} fetches in {:?}", liar.fetches(), begin.elapsed());
    gateway.is_well();
}

#[test]
fn a_provider_that_is_away_is_neither_access_nor_a_word_about_the_token() {
    let (liar, key, witness) = (Liar::new(), SigningKey::p256("k1"), Witness::ok());
    // From the start nobody is there.
    let mut gateway = Gateway::start(&yaml(witness.address(), liar.witness.address(), ""));
    let token = liar.token(&key);
    let answer = with(&gateway, &token);
    assert_eq!((answer.status, answer.code().as_str(), answer.field("retry-after")), (503, "keys_unavailable", Some("5")));
    assert_eq!(witness.texts(), Vec::<String>::new());
    holds("the trouble to be told", || gateway.stderr().contains("the keys of provider `id` cannot be fetched"));
    liar.tells(&[&key]);
    holds("the keys to be there", || with(&gateway, &token).status == 200);
    let fetches =
        |outcome: &str| gateway.metric(&format!("portcullis_key_set_fetches_total{{provider=\"id\",outcome=\"{outcome}\"}}"));
    assert!(
        fetches("failed") >= 1.0
            && fetches("fetched") >= 1.0
            && gateway.metric("portcullis_key_set_age_seconds{provider=\"id\"}") < 60.0
    );
    // Away again: what was fetched is used on, also by the next configuration.
    liar.say(|says| *says = Says::default());
    assert_eq!(with(&gateway, &token).status, 200);
    gateway.configure(&yaml(witness.address(), liar.witness.address(), "").replace("orders:read", "orders:list"));
    gateway.reaches_generation(2);
    assert_eq!(with(&gateway, &token).code(), "access_denied");
    gateway.is_well();
}

#[test]
fn e111_a_provider_that_lies_gives_no_keys_and_leads_nowhere() {
    let (liar, key, witness, elsewhere) = (Liar::new(), SigningKey::p256("k1"), Witness::ok(), Witness::ok());
    let issuer = liar.issuer();
    let document = |issuer: &str, uri: &str| Some(answer(&json!({ "issuer": issuer, "jwks_uri": uri }).to_string()));
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: http://{}/keys\r\nContent-Length: 0\r\n\r\n", elsewhere.address());
    let keys = format!("{issuer}/keys");
    let good = Some(answer(&key_set(&[&key])));
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", 10 << 20, " ".repeat(1 << 20));
    let endless = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(20)
    );
    let zipped = answer("x").replace("Content-Type", "Content-Encoding: gzip\r\nContent-Type");
    for (lie, says) in [
        ("another issuer", Says { document: document("https://id.test", &keys), keys: good.clone() }),
        (
            "keys elsewhere",
            Says { document: document(&issuer, &format!("http://{}/keys", elsewhere.address())), keys: good.clone() },
        ),
        ("keys at metadata", Says { document: document(&issuer, "http://169.254.169.254/latest"), keys: good.clone() }),
        ("a redirect", Says { document: Some(redirect.clone()), keys: good.clone() }),
        ("a redirect of the keys", Says { document: document(&issuer, &keys), keys: Some(redirect) }),
        ("ten mebibytes", Says { document: document(&issuer, &keys), keys: Some(huge) }),
        ("no end", Says { document: document(&issuer, &keys), keys: Some(endless) }),
        ("packed", Says { document: document(&issuer, &keys), keys: Some(zipped) }),
        ("no JSON", Says { document: Some(answer("<html>")), keys: good }),
        ("no keys", Says { document: document(&issuer, &keys), keys: Some(answer("{\"keys\":[]}")) }),
        (
            "a shared key",
            Says { document: document(&issuer, &keys), keys: Some(answer("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}")) },
        ),
    ] {
        liar.say(|told| *told = says);
        let mut gateway = Gateway::start(&yaml(witness.address(), liar.witness.address(), ""));
        assert_eq!(with(&gateway, &liar.token(&key)).code(), "keys_unavailable", "{lie}");
        holds("the trouble to be told", || gateway.stderr().contains("cannot be fetched"));
        gateway.is_well();
    }
    assert_eq!((elsewhere.connections(), witness.texts()), (0, Vec::new()), "nobody else was asked");
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/openid-connect.md")).expect("the guide");
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    let program = include_str!("../../js/openid_provider.mjs");
    let (provider, witness) = (NodeServer::running(program, &["keys.json"], &[("keys.json", &keys)]), Witness::ok());
    let ports = [(8443, free_port()), (9464, free_port()), (3000, witness.address().port())];
    let here = |text: &str| with_ports(text, &ports).replace("https://id.example.com", &format!("http://{}", provider.address()));
    let (folder, authority) = (TempDir::new(), Authority::new());
    let leaf = authority.leaf(&["api.example.com"]);
    folder.write("tls/ca.crt", &authority.certificate);
    folder.write("tls/api.crt", &leaf.certificate);
    folder.write("tls/api.key", &leaf.key);
    let [configuration] = blocks(&page, "yaml").try_into().expect("one configuration");
    folder.write("portcullis.yaml", here(&configuration));
    let said = run(folder.path(), &here(&blocks(&page, "sh").concat()));
    assert!(said.contains("credentials_missing") && said.contains("access_denied"), "{said}");
    assert_eq!(witness.requests().len(), 1, "{:#?}", witness.texts());
}
