//! Tokens that the gateway has at a provider for an upstream: a real provider, and providers that are away, slow or lying.

use crate::openid::{private_keys, written};
use portcullis_testing_kit::{
    Gateway, NodeServer, Plain, Response, SigningKey, UpstreamSide, Witness, ask, eventually, get, holds, key_set, output_of,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

fn yaml(upstream: SocketAddr, provider: SocketAddr, more: &str) -> String {
    let credentials = format!(
        "upstream: u\n    credentials: {{ client_credentials: {{ provider: id, client_id: shop, client_secret: \"file:secret\"{more} }} }}"
    );
    let id = format!("upstreams:\n  id: {{ endpoints: [ {{ url: \"http://{provider}\" }} ], timeouts: {{ connect: 1s }} }}\n");
    let section =
        format!("identity:\n  providers:\n    id: {{ issuer: \"http://{provider}\", keys: {{ discover: {{ upstream: id }} }} }}\n");
    let plain = Plain::to(upstream).yaml().replacen("upstreams:\n", &id, 1).replacen("upstream: u", &credentials, 1);
    format!("{plain}{section}")
}

fn start(config: &str) -> Gateway {
    Gateway::start_with(&[("secret", "only-for-tests\n")], config)
}

/// The claims of a token.
pub(crate) fn payload(token: &str) -> Value {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let part = token.split('.').nth(1).expect("a signed token");
    let value = |byte: u8| digits.iter().position(|digit| *digit == byte).expect("base64url") as u32;
    let quads = part.as_bytes().chunks(4);
    let bytes = quads.flat_map(|quad| {
        let bits = quad.iter().fold(0, |bits, byte| bits << 6 | value(*byte)) << (6 * (4 - quad.len()));
        bits.to_be_bytes()[1..quad.len()].to_vec()
    });
    serde_json::from_slice(&bytes.collect::<Vec<u8>>()).expect("claims in JSON")
}

/// Asks with a credential of the client's own, which nobody may see.
fn call(gateway: &Gateway) -> Response {
    let fields = "Authorization: Bearer of-the-client\r\nConnection: close";
    let answer = ask(gateway.http(), format!("GET /orders HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n")).remove(0);
    assert!(!answer.text().contains("of-the-client"));
    answer
}

/// The tokens that the upstream was shown, in order.
fn shown(witness: &Witness) -> Vec<String> {
    let value = |text: &String| {
        let line = text.lines().find_map(|line| line.strip_prefix("authorization: "));
        line.unwrap_or_else(|| panic!("no token: {text}")).to_owned()
    };
    witness.texts().iter().map(value).collect()
}

#[test]
fn a_real_providers_token_goes_to_the_upstream_and_is_asked_for_once() {
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    let provider = NodeServer::running(include_str!("../../js/openid_provider.mjs"), &["keys.json"], &[("keys.json", &keys)]);
    let witness = Witness::ok();
    let more = ", scopes: [\"orders:read\"], resource: \"https://orders.test\"";
    let mut gateway = start(&yaml(witness.address(), provider.address(), more));
    for _ in 0..20 {
        assert_eq!(call(&gateway).status, 200, "{}", gateway.stderr());
    }
    let shown = shown(&witness);
    assert!(shown.iter().all(|token| *token == shown[0] && token.starts_with("Bearer ey")), "{shown:?}");
    let claims = payload(shown[0].strip_prefix("Bearer ").unwrap());
    assert_eq!(
        (&claims["aud"], &claims["client_id"], &claims["scope"]),
        (&json!("https://orders.test"), &json!("shop"), &json!("orders:read"))
    );
    assert_eq!(get(provider.address(), "a.test", "/asked").json()["/token"], json!(1));
    // A reload of something else keeps it.
    gateway.configure(&gateway.config().replace("connect: 1s", "connect: 2s"));
    gateway.reaches_generation(2);
    assert_eq!(call(&gateway).status, 200);
    gateway.is_well();
}

#[test]
fn the_gateway_proves_itself_by_a_key_that_the_provider_does_not_know() {
    let arguments = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let made = || String::from_utf8(output_of(Command::new("openssl").args(arguments)).stdout).expect("PEM");
    let (key, other) = (made(), made());
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    let files = [("keys.json", &*keys), ("client.pem", &*key)];
    let provider = NodeServer::running(include_str!("../../js/openid_provider.mjs"), &["keys.json"], &files);
    let witness = Witness::ok();
    let config = yaml(witness.address(), provider.address(), ", resource: \"https://orders.test\"");
    let config = config.replace("client_id: shop", "client_id: keyed");
    let gateway = Gateway::start_with(&[("secret", &key)], &config);
    assert_eq!(call(&gateway).status, 200, "{}", gateway.stderr());
    assert_eq!(payload(shown(&witness)[0].strip_prefix("Bearer ").unwrap())["client_id"], "keyed");
    // Another key is nobody's, and it is never sent as a secret.
    let stranger = Gateway::start_with(&[("secret", &other)], &config);
    holds("it to be told", || stranger.stderr().contains("status 401; check `client_id` and `client_secret`"));
    assert_eq!(call(&stranger).code(), "upstream_token_unavailable");
    let told = Told::new(Some(token("t", 600)));
    let config = yaml(witness.address(), told.witness.address(), "").replace("client_id: shop", "client_id: keyed");
    let gateway = Gateway::start_with(&[("secret", &key)], &config);
    assert_eq!(call(&gateway).status, 200, "{}", gateway.stderr());
    let form = told.asked().remove(0);
    let assertion = form.split("client_assertion=").nth(1).expect("an assertion");
    let claims = payload(assertion);
    let issuer = format!("http://{}", told.witness.address());
    assert_eq!((&claims["iss"], &claims["sub"], &claims["aud"]), (&json!("keyed"), &json!("keyed"), &json!(issuer)));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert!(!form.contains("authorization:") && !form.contains("PRIVATE"), "{form}");
}

/// A provider that answers for tokens as it is told; nothing at all when it is away.
pub(crate) struct Told {
    pub(crate) witness: Witness,
    says: Arc<Mutex<Option<String>>>,
    /// What signs the tokens of its callers.
    pub(crate) key: SigningKey,
}

pub(crate) fn http(status: &str, body: &str) -> String {
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close", body.len());
    format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}")
}

fn token(name: &str, seconds: u64) -> String {
    http("200 OK", &json!({ "access_token": name, "token_type": "Bearer", "expires_in": seconds }).to_string())
}

impl Told {
    pub(crate) fn new(first: Option<String>) -> Self {
        let says = Arc::new(Mutex::new(first));
        let key = SigningKey::p256("k1");
        let (told, keys) = (Arc::clone(&says), key_set(&[&key]));
        let witness = Witness::scripted(move |side: &mut UpstreamSide| {
            let Some(request) = side.request() else { return };
            let text = String::from_utf8_lossy(&request).into_owned();
            let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            if text.contains("/.well-known/openid-configuration") {
                let issuer = format!("http://{host}");
                let at = |path: &str| format!("{issuer}/{path}");
                let document = json!({ "issuer": issuer, "jwks_uri": at("keys"), "token_endpoint": at("token") });
                side.write(http("200 OK", &document.to_string()));
            } else if text.starts_with("GET /keys") {
                side.write(http("200 OK", &keys));
            } else {
                match told.lock().expect("not poisoned").clone() {
                    Some(answer) => {
                        side.write(answer);
                    }
                    None => side.reset(),
                }
            }
        });
        Self { witness, says, key }
    }

    pub(crate) fn says(&self, answer: Option<String>) {
        *self.says.lock().expect("not poisoned") = answer;
    }

    /// What it was asked for tokens with.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.witness.texts().into_iter().filter(|text| text.starts_with("POST /token ")).collect()
    }
}

#[test]
fn a_token_is_renewed_before_it_ends_and_one_that_is_valid_outlives_an_outage() {
    let (provider, witness) = (Told::new(Some(token("first", 4))), Witness::ok());
    let gateway = start(&yaml(witness.address(), provider.witness.address(), ""));
    assert_eq!((call(&gateway).status, provider.asked().len()), (200, 1), "{}", gateway.stderr());
    // Traffic while it is renewed loses nothing.
    provider.says(Some(token("second", 5)));
    eventually("the second token", || {
        assert_eq!(call(&gateway).status, 200, "{}", gateway.stderr());
        shown(&witness).contains(&"Bearer second".to_owned()).then_some(())
    });
    // Away: what is valid is used to its end, then nothing is sent, and nothing of the client's.
    provider.says(None);
    holds("the provider to be asked again", || provider.asked().len() >= 3);
    assert_eq!(call(&gateway).status, 200);
    let refused = eventually("the token to end", || Some(call(&gateway)).filter(|answer| answer.status != 200));
    assert_eq!(
        (refused.status, refused.code().as_str(), refused.field("retry-after")),
        (503, "upstream_token_unavailable", Some("5"))
    );
    assert!(gateway.stderr().contains("gives no token for the upstream"), "{}", gateway.stderr());
    provider.says(Some(token("third", 600)));
    holds("the provider to be believed again", || call(&gateway).status == 200);
    assert!(gateway.stderr().contains("gives tokens for the upstream again"), "{}", gateway.stderr());
    assert!(shown(&witness).iter().all(|token| !token.contains("of-the-client")));
    let form = provider.asked().remove(0);
    assert!(form.contains("authorization: Basic ") && form.ends_with("grant_type=client_credentials"), "{form}");
}

#[test]
fn e111_a_provider_that_lies_gives_no_token() {
    let huge = json!({ "access_token": "a".repeat(70 * 1024), "token_type": "Bearer", "expires_in": 60 }).to_string();
    for (answer, said) in [
        (http("200 OK", "<html>"), "not a JSON object"),
        (http("200 OK", "{\"access_token\":\"a\",\"token_type\":\"Bearer\"}"), "`expires_in`"),
        (http("200 OK", "{\"access_token\":\"a\",\"token_type\":\"mac\",\"expires_in\":9}"), "`token_type`"),
        (http("200 OK", &huge), "too long"),
        (http("401 Unauthorized", "{}"), "check `client_id` and `client_secret`"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "redirects are not followed",
        ),
    ] {
        let (provider, witness) = (Told::new(Some(answer)), Witness::ok());
        let gateway = start(&yaml(witness.address(), provider.witness.address(), ""));
        holds("it to be told", || gateway.stderr().contains(said));
        assert_eq!(call(&gateway).code(), "upstream_token_unavailable", "{said}");
        assert!(witness.texts().is_empty(), "nothing was sent");
    }
}
