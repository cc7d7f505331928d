//! Tokens that their provider is asked about (RFC 7662): a real provider, and providers that are away, slow or lying.

use crate::openid::{post, private_keys, token_from, written};
use crate::revocation::command;
use portcullis_testing_kit::{
    Gateway, NodeServer, Plain, RawClient, Response, SigningKey, UpstreamSide, Witness, ask, eventually, get, holds, key_set,
    output_of,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

const ROUTES: &str = "- { name: read, methods: [GET], path: \"/orders\", access: { allow: { scopes: [\"orders:read\"] } } }";
const API: &str = "authenticate: { any_of: [id], audiences: [\"https://api.test\", \"https://opaque.test\"] }";

/// A gateway whose provider is asked about tokens, at an upstream of its own.
fn yaml(upstream: SocketAddr, provider: SocketAddr, keys: &str, accept: &str, more: &str) -> String {
    let plain = Plain { api: API, routes: ROUTES, ..Plain::to(upstream) };
    let section = format!(
        "identity:
  providers:
    id:
      issuer: http://{provider}
      keys: {keys}
      accept: {accept}
      introspection: {{ client_id: shop, client_secret: \"file:secret\"{more} }}
"
    );
    let id = format!("upstreams:\n  id: {{ endpoints: [ {{ url: \"http://{provider}\" }} ], timeouts: {{ connect: 1s }} }}\n");
    format!("{}{section}", plain.yaml().replacen("upstreams:\n", &id, 1))
}

fn start(config: &str) -> Gateway {
    let keys = key_set(&[&SigningKey::p256("k1")]);
    Gateway::start_with(&[("secret", "only-for-tests\n"), ("id.jwks.json", &keys)], config)
}

#[test]
fn the_gateway_may_prove_itself_by_a_key() {
    let arguments = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let key = String::from_utf8(output_of(Command::new("openssl").args(arguments)).stdout).expect("PEM");
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    let files = [("keys.json", &*keys), ("client.pem", &*key)];
    let provider = NodeServer::running(include_str!("../../js/openid_provider.mjs"), &["keys.json"], &files);
    let witness = Witness::ok();
    let config = yaml(witness.address(), provider.address(), DISCOVERED, "[introspection]", "")
        .replace("client_id: shop", "client_id: keyed");
    let gateway = Gateway::start_with(&[("secret", &key)], &config);
    let answer = with(&gateway, &opaque(&provider, "orders%3Aread"));
    assert_eq!(answer.status, 200, "{}{}", answer.text(), gateway.stderr());
}

fn real() -> NodeServer {
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    NodeServer::running(include_str!("../../js/openid_provider.mjs"), &["keys.json"], &[("keys.json", &keys)])
}

const DISCOVERED: &str = "{ discover: { upstream: id } }";

/// An opaque token of a real provider.
fn opaque(provider: &NodeServer, scope: &str) -> String {
    let token = token_from(provider.address(), "shop", "opaque.test", scope, "");
    assert!(!token.contains('.'), "{token}");
    token
}

/// How often a real provider has been asked about tokens.
fn asked(provider: &NodeServer) -> u64 {
    get(provider.address(), "a.test", "/asked").json()["/token/introspection"].as_u64().unwrap_or(0)
}

fn request(token: &str) -> String {
    format!("GET /orders HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
}

fn with(gateway: &Gateway, token: &str) -> Response {
    ask(gateway.http(), request(token)).remove(0)
}

#[test]
fn a_real_providers_opaque_tokens_are_asked_about_once_for_a_while() {
    let (provider, witness) = (real(), Witness::ok());
    let mut gateway =
        start(&yaml(witness.address(), provider.address(), DISCOVERED, "[bearer, dpop, introspection]", ", tokens: opaque"));
    let token = opaque(&provider, "orders%3Aread");
    for _ in 0..5 {
        assert_eq!(with(&gateway, &token).status, 200, "{}", gateway.stderr());
    }
    assert_eq!(asked(&provider), 1);
    assert!(witness.texts().iter().all(|text| !text.contains(&token)), "the token goes no further");
    // Another scope, and tokens that are none: asked about once, and neither is access.
    assert_eq!(with(&gateway, &opaque(&provider, "orders%3Awrite")).code(), "access_denied");
    let record = gateway.record_of("access_denied");
    assert_eq!((&record["provider"], &record["principal"]), (&json!("id"), &json!("shop")), "{record}");
    for _ in 0..3 {
        let answer = with(&gateway, "invented");
        assert_eq!((answer.status, answer.code().as_str()), (401, "credentials_invalid"));
    }
    assert_eq!(asked(&provider), 3);
    // A signed one is verified here.
    let signed = token_from(provider.address(), "shop", "api.test", "orders%3Aread", "");
    assert_eq!((with(&gateway, &signed).status, asked(&provider)), (200, 3));
    // One that is bound to a key is worth something with its proof alone.
    let own = SigningKey::p256("own");
    let proof = own.proof("POST", &format!("http://{}/token", provider.address()), None, &json!({}));
    let bound = token_from(provider.address(), "shop", "opaque.test", "orders%3Aread", &format!("DPoP: {proof}\r\n"));
    let proof = own.proof("GET", "http://a.test/orders", Some(&bound), &json!({}));
    let shown = request(&bound).replace("Bearer", "DPoP").replace("Connection", &format!("DPoP: {proof}\r\nConnection"));
    assert_eq!(
        (ask(gateway.http(), &shown).remove(0).status, ask(gateway.http(), &shown).remove(0).code().as_str()),
        (200, "proof_invalid")
    );
    assert_eq!(with(&gateway, &bound).code(), "credentials_invalid");
    // What somebody revokes here is out, whatever is known of it.
    assert_eq!(with(&gateway, &token).status, 200);
    command(&gateway, &["revoke", "subject", "shop", "--provider", "id"]).unwrap();
    assert_eq!(with(&gateway, &token).code(), "credentials_revoked");
    gateway.is_well();
}

#[test]
fn e120_what_its_provider_has_revoked_is_out_when_it_is_asked_again() {
    let (provider, witness) = (real(), Witness::ok());
    let gateway = |cache: &str| start(&yaml(witness.address(), provider.address(), DISCOVERED, "[introspection]", cache));
    let (mut soon, mut never, mut later) = (gateway(", cache: 100ms"), gateway(", cache: 0s"), gateway(", cache: 10m"));
    let token = opaque(&provider, "orders%3Aread");
    for gateway in [&soon, &never, &later] {
        assert_eq!(with(gateway, &token).status, 200, "{}", gateway.stderr());
    }
    let before = asked(&provider);
    assert_eq!((with(&never, &token).status, asked(&provider)), (200, before + 1), "each time");
    let gone = post(provider.address(), "/token/revocation", "shop", "", &format!("token={token}"));
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(with(&never, &token).code(), "credentials_invalid");
    holds("the token to be out", || with(&soon, &token).code() == "credentials_invalid");
    assert_eq!(with(&later, &token).status, 200, "what was said is believed for as long as it is configured");
    [&mut soon, &mut never, &mut later].into_iter().for_each(Gateway::is_well);
}

#[test]
fn a_provider_that_is_away_is_neither_access_nor_a_word_about_the_token() {
    let (mut provider, witness) = (real(), Witness::ok());
    let gateway = |cache: &str| start(&yaml(witness.address(), provider.address(), DISCOVERED, "[introspection]", cache));
    let (mut long, mut short) = (gateway(", cache: 10m"), gateway(", cache: 100ms"));
    let (known, new) = (opaque(&provider, "orders%3Aread"), opaque(&provider, "orders%3Aread"));
    assert_eq!((with(&long, &known).status, with(&short, &known).status), (200, 200));
    provider.kill();
    for _ in 0..3 {
        let answer = with(&long, &new);
        assert_eq!(
            (answer.status, answer.code().as_str(), answer.field("retry-after")),
            (503, "introspection_unavailable", Some("5"))
        );
        assert_eq!(with(&long, &known).status, 200, "what it has said before is believed for its time");
    }
    holds("the answer to be too old", || with(&short, &known).code() == "introspection_unavailable");
    holds("the trouble to be told", || long.stderr().contains("provider `id` cannot be asked about tokens: no connection"));
    assert_eq!(long.stderr().matches("cannot be asked about tokens").count(), 1, "once");
    let answers =
        |outcome: &str| long.metric(&format!("portcullis_introspection_answers_total{{provider=\"id\",outcome=\"{outcome}\"}}"));
    assert_eq!((answers("answered"), answers("failed")), (1.0, 3.0));
    [&mut long, &mut short].into_iter().for_each(Gateway::is_well);
}

/// A provider that answers as it is told, when it is told; it counts.
struct Teller {
    witness: Witness,
    says: Arc<(Mutex<Option<String>>, Condvar)>,
}

impl Teller {
    /// One that answers nothing until it is told.
    fn new() -> Self {
        let says: Arc<(Mutex<Option<String>>, Condvar)> = Arc::default();
        let told = Arc::clone(&says);
        let witness = Witness::scripted(move |side: &mut UpstreamSide| {
            if side.request().is_none() {
                return;
            }
            let says = told.1.wait_while(told.0.lock().expect("not poisoned"), |says| says.is_none());
            let answer = says.expect("not poisoned").clone().unwrap_or_default();
            side.write(answer);
        });
        Self { witness, says }
    }

    fn says(&self, answer: &str) {
        *self.says.0.lock().expect("not poisoned") = Some(answer.to_owned());
        self.says.1.notify_all();
    }

    fn gateway(&self, upstream: SocketAddr, more: &str) -> Gateway {
        let more = format!(", upstream: id, path: /ask{more}");
        start(&yaml(upstream, self.witness.address(), "{ file: id.jwks.json }", "[introspection]", &more))
    }
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn good() -> Value {
    let expires = portcullis_testing_kit::unix_seconds() + 600;
    json!({ "active": true, "token_type": "Bearer", "client_id": "shop", "aud": "https://opaque.test", "exp": expires, "scope": "orders:read" })
}

#[test]
fn fifty_requests_at_once_are_one_question() {
    let (teller, witness) = (Teller::new(), Witness::ok());
    let mut gateway = teller.gateway(witness.address(), ", deadline: 10s");
    let mut clients: Vec<RawClient> = (0..50).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut clients {
        client.send(request("one-and-the-same"));
    }
    eventually("the question", || (!teller.witness.texts().is_empty()).then_some(()));
    teller.says(&answer("200 OK", &good().to_string()));
    for client in &mut clients {
        assert_eq!(client.responses().remove(0).status, 200);
    }
    assert_eq!(teller.witness.texts().len(), 1);
    let question = teller.witness.sole_text();
    assert!(question.starts_with("POST /ask HTTP/1.1\r\n"), "{question}");
    assert!(question.contains("\r\nauthorization: Basic c2hvcDpvbmx5LWZvci10ZXN0cw==\r\n"), "{question}");
    assert!(question.ends_with("\r\n\r\ntoken=one-and-the-same&token_type_hint=access_token"), "{question}");
    gateway.is_well();
}

#[test]
fn a_provider_that_is_slow_or_lies_is_neither_access_nor_a_word_about_the_token() {
    let (teller, witness) = (Teller::new(), Witness::ok());
    let mut gateway = teller.gateway(witness.address(), ", deadline: 200ms");
    let slow = with(&gateway, "slow");
    assert_eq!((slow.status, slow.code().as_str()), (503, "introspection_unavailable"));
    holds("the trouble to be told", || gateway.stderr().contains("no whole answer in time"));
    let changed = |name: &str, to: Value| {
        let mut answer = good();
        answer[name] = to;
        answer.to_string()
    };
    teller.says("");
    for (number, lie) in [
        answer("200 OK", "{}"),
        answer("200 OK", "<html>"),
        answer("200 OK", &changed("active", json!("true"))),
        answer("200 OK", &changed("exp", json!("tomorrow"))),
        answer("200 OK", &format!("{{\"active\":false,{}", &good().to_string()[1..])),
        answer("200 OK", &changed("scope", json!("x".repeat(10 << 20)))),
        answer("302 Found", "").replace("Connection", "Location: http://169.254.169.254/latest\r\nConnection"),
        answer("401 Unauthorized", &good().to_string()),
        answer("500 Internal Server Error", &good().to_string()),
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{\"active\":true".to_owned(),
        "nonsense".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        teller.says(lie);
        let answer = with(&gateway, &format!("lie-{number}"));
        let begin: String = lie.chars().take(60).collect();
        assert_eq!((answer.status, answer.code().as_str()), (503, "introspection_unavailable"), "{begin}");
    }
    // What it says of the token is judged as what a token says of itself.
    for (number, refused) in [
        changed("active", json!(false)),
        changed("iss", json!("https://other.test")),
        changed("aud", json!("https://other.test")),
        changed("exp", json!(1)),
        changed("nbf", json!(u32::MAX)),
        changed("token_type", json!("refresh_token")),
        changed("cnf", json!({ "jkt": "A".repeat(43) })),
    ]
    .iter()
    .enumerate()
    {
        teller.says(&answer("200 OK", refused));
        let answer = with(&gateway, &format!("refused-{number}"));
        assert_eq!((answer.status, answer.code().as_str()), (401, "credentials_invalid"), "{refused}");
    }
    assert_eq!(witness.texts(), Vec::<String>::new());
    teller.says(&answer("200 OK", &good().to_string()));
    assert_eq!(with(&gateway, "good").status, 200);
    // A signed token that is no good one is not asked about.
    let seen = teller.witness.texts().len();
    assert_eq!(with(&gateway, "eyJhbGciOiJub25lIn0.e30.AA").code(), "credentials_invalid");
    assert_eq!(teller.witness.texts().len(), seen);
    gateway.is_well();
}
