//! Callers' tokens that become tokens for the upstream (RFC 8693): a real provider, and providers that are away, slow or lying.

use crate::client_credentials::{Told, http, payload};
use crate::openid::{private_keys, token_from, written};
use crate::revocation::command;
use portcullis_testing_kit::{
    Gateway, NodeServer, Plain, RawClient, Response, SigningKey, UpstreamSide, Witness, ask, claims, eventually, get, holds,
    key_set,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

const API: &str = "authenticate: { any_of: [id], audiences: [\"https://api.test\"] }\n    credentials: {}";
const ROUTES: &str = "- { name: read, methods: [GET], path: \"/orders\", access: { allow: { scopes: [\"orders:read\"] } } }
- { name: open, methods: [GET], path: \"/open\", access: { public: true } }";

fn yaml(upstream: SocketAddr, provider: SocketAddr, more: &str) -> String {
    let exchange =
        format!("credentials: {{ exchange: {{ provider: id, client_id: shop, client_secret: \"file:secret\"{more} }} }}");
    let id = format!("upstreams:\n  id: {{ endpoints: [ {{ url: \"http://{provider}\" }} ], timeouts: {{ connect: 1s }} }}\n");
    let section =
        format!("identity:\n  providers:\n    id: {{ issuer: \"http://{provider}\", keys: {{ discover: {{ upstream: id }} }} }}\n");
    let plain = Plain { api: API, routes: ROUTES, ..Plain::to(upstream) }.yaml().replacen("credentials: {}", &exchange, 1);
    format!("{}{section}", plain.replacen("upstreams:\n", &id, 1))
}

fn start(config: &str) -> Gateway {
    Gateway::start_with(&[("secret", "only-for-tests\n")], config)
}

fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
}

fn with(gateway: &Gateway, token: &str) -> Response {
    let answer = ask(gateway.http(), request("/orders", token)).remove(0);
    assert!(!answer.text().contains(token));
    answer
}

/// What the upstream was shown, in order.
fn shown(witness: &Witness) -> Vec<String> {
    let value = |text: &String| text.lines().find_map(|line| line.strip_prefix("authorization: Bearer ").map(str::to_owned));
    witness.texts().iter().map(|text| value(text).unwrap_or_default()).collect()
}

#[test]
fn a_real_provider_exchanges_each_callers_token_once() {
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    let provider = NodeServer::running(include_str!("../../js/openid_provider.mjs"), &["keys.json"], &[("keys.json", &keys)]);
    let asked = || get(provider.address(), "a.test", "/asked").json()["/token"].as_u64().unwrap_or(0);
    let witness = Witness::ok();
    let more = ", audience: \"https://orders.test\", scopes: [\"orders:read\"]";
    let mut gateway = start(&yaml(witness.address(), provider.address(), more));
    let token = |client| token_from(provider.address(), client, "api.test", "orders%3Aread", "");
    let (phone, shop) = (token("phone"), token("shop"));
    for _ in 0..5 {
        assert_eq!(with(&gateway, &phone).status, 200, "{}", gateway.stderr());
    }
    assert_eq!(with(&gateway, &shop).status, 200);
    assert_eq!(asked(), 4, "two tokens of callers, and one for each");
    let seen = shown(&witness);
    assert!(seen[..5].iter().all(|one| *one == seen[0]) && seen[5] != seen[0], "{seen:?}");
    for (token, subject) in [(&seen[0], "phone"), (&seen[5], "shop")] {
        let claims = payload(token);
        assert_eq!(
            (&claims["aud"], &claims["sub"], &claims["client_id"], &claims["scope"]),
            (&json!("https://orders.test"), &json!(subject), &json!("shop"), &json!("orders:read"))
        );
    }
    assert!(witness.texts().iter().all(|text| !text.contains(&phone) && !text.contains(&shop)));
    // On a route for everybody there is nobody whose token it would be.
    assert_eq!(ask(gateway.http(), request("/open", &phone)).remove(0).status, 200);
    assert_eq!(shown(&witness)[6], "");
    // A reload of something else keeps what is known; what is revoked is out, whatever was exchanged for it.
    gateway.configure(&gateway.config().replace("connect: 1s", "connect: 2s"));
    gateway.reaches_generation(2);
    assert_eq!((with(&gateway, &phone).status, asked()), (200, 4));
    command(&gateway, &["revoke", "subject", "phone", "--provider", "id"]).unwrap();
    assert_eq!(with(&gateway, &phone).code(), "credentials_revoked");
    // The provider gives nobody a token for this, and says so.
    gateway.configure(&gateway.config().replace("https://orders.test", "https://nobody.test"));
    gateway.reaches_generation(3);
    let seen = witness.texts().len();
    for _ in 0..3 {
        let answer = with(&gateway, &shop);
        assert_eq!((answer.status, answer.code().as_str()), (403, "token_exchange_refused"));
    }
    assert_eq!((asked(), witness.texts().len()), (5, seen), "asked once, and nothing was sent");
    holds("it to be told", || gateway.stderr().contains("refuses to exchange a caller's token: status 400"));
    gateway.is_well();
}

/// A token of a caller at a provider that is played.
fn caller(key: &SigningKey, provider: SocketAddr, id: &str) -> String {
    let mut claims = claims(&format!("http://{provider}"), "https://api.test");
    claims["scope"] = json!("orders:read");
    claims["jti"] = json!(id);
    key.token(&claims)
}

fn issued(name: &str) -> Value {
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    json!({ "access_token": name, "token_type": "Bearer", "expires_in": 600, "issued_token_type": kind })
}

#[test]
fn what_was_exchanged_outlives_an_outage_and_nothing_else_is_sent() {
    let (provider, witness) = (Told::new(Some(http("200 OK", &issued("for-the-upstream").to_string()))), Witness::ok());
    let address = provider.witness.address();
    let mut gateway = start(&yaml(witness.address(), address, ", resource: \"https://orders.test\", audience: orders"));
    let (known, new) = (caller(&provider.key, address, "known"), caller(&provider.key, address, "new"));
    assert_eq!(with(&gateway, &known).status, 200, "{}", gateway.stderr());
    let form = provider.asked().remove(0);
    assert!(form.contains("authorization: Basic "), "{form}");
    let body = form.split("\r\n\r\n").nth(1).expect("a form");
    let kind = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
    assert_eq!(
        body,
        format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={known}&subject_token_type={kind}&\
             requested_token_type={kind}&audience=orders&resource=https%3A%2F%2Forders.test"
        )
    );
    provider.says(None);
    for _ in 0..3 {
        let answer = with(&gateway, &new);
        assert_eq!(
            (answer.status, answer.code().as_str(), answer.field("retry-after"), answer.field("www-authenticate")),
            (503, "token_exchange_unavailable", Some("5"), None)
        );
        assert_eq!(with(&gateway, &known).status, 200, "what it has given before is used to its end");
    }
    holds("it to be told", || gateway.stderr().contains("the provider exchanges no tokens for the upstream"));
    assert_eq!(gateway.stderr().matches("exchanges no tokens").count(), 1, "once");
    provider.says(Some(http("200 OK", &issued("again").to_string())));
    assert_eq!(with(&gateway, &new).status, 200);
    holds("it to be told", || gateway.stderr().contains("exchanges tokens for the upstream again"));
    let shown = shown(&witness);
    assert_eq!((shown.len(), shown.last().unwrap().as_str()), (5, "again"));
    assert!(shown[..4].iter().all(|one| one == "for-the-upstream"), "{shown:?}");
    gateway.is_well();
}

#[test]
fn e111_a_provider_that_lies_gives_no_token_for_the_upstream() {
    let (provider, witness) = (Told::new(None), Witness::ok());
    let address = provider.witness.address();
    let mut gateway = start(&yaml(witness.address(), address, ", audience: orders"));
    let changed = |name: &str, to: Value| {
        let mut answer = issued("a");
        answer[name] = to;
        http("200 OK", &answer.to_string())
    };
    let own = caller(&provider.key, address, "own");
    for (number, lie) in [
        http("200 OK", "<html>"),
        changed("access_token", json!("a b")),
        changed("access_token", json!("a".repeat(70 * 1024))),
        changed("token_type", json!("N_A")),
        changed("expires_in", json!("soon")),
        changed("issued_token_type", json!("urn:ietf:params:oauth:token-type:refresh_token")),
        changed("issued_token_type", Value::Null),
        http("302 Found", "").replace("Connection", "Location: http://169.254.169.254/latest\r\nConnection"),
        http("401 Unauthorized", "{}"),
        http("500 Internal Server Error", &issued("a").to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        let begin: String = lie.chars().take(80).collect();
        provider.says(Some(lie));
        let answer = with(&gateway, &caller(&provider.key, address, &number.to_string()));
        assert_eq!((answer.status, answer.code().as_str()), (503, "token_exchange_unavailable"), "{begin}");
    }
    // The caller's own token never passes, also when the provider hands it over.
    provider.says(Some(changed("access_token", json!(own))));
    assert_eq!(with(&gateway, &own).code(), "token_exchange_unavailable");
    assert_eq!(witness.texts(), Vec::<String>::new(), "nothing was sent");
    gateway.is_well();
}

#[test]
fn requests_at_once_are_one_exchange_and_a_slow_provider_is_no_access() {
    let says: Arc<(Mutex<Option<String>>, Condvar)> = Arc::default();
    let told = Arc::clone(&says);
    let key = SigningKey::p256("k1");
    let keys = key_set(&[&key]);
    let provider = Witness::scripted(move |side: &mut UpstreamSide| {
        let Some(request) = side.request() else { return };
        let text = String::from_utf8_lossy(&request).into_owned();
        let issuer = format!("http://{}", text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default());
        if text.contains("/.well-known/openid-configuration") {
            let document =
                json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys"), "token_endpoint": format!("{issuer}/token") });
            side.write(http("200 OK", &document.to_string()));
        } else if text.starts_with("GET /keys") {
            side.write(http("200 OK", &keys));
        } else {
            let says = told.1.wait_while(told.0.lock().expect("not poisoned"), |says| says.is_none());
            let answer = says.expect("not poisoned").clone().unwrap_or_default();
            side.write(answer);
        }
    });
    let asked = || provider.texts().iter().filter(|text| text.starts_with("POST /token ")).count();
    let witness = Witness::ok();
    let slow = start(&yaml(witness.address(), provider.address(), ", audience: orders, deadline: 100ms"));
    let answer = with(&slow, &caller(&key, provider.address(), "slow"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "token_exchange_unavailable"));
    holds("it to be told", || slow.stderr().contains("no whole answer in time"));
    let mut gateway = start(&yaml(witness.address(), provider.address(), ", audience: orders, deadline: 10s"));
    let (token, before) = (caller(&key, provider.address(), "one"), asked());
    let mut clients: Vec<RawClient> = (0..50).map(|_| RawClient::connect(gateway.http())).collect();
    for client in &mut clients {
        client.send(request("/orders", &token));
    }
    eventually("the question", || (asked() > before).then_some(()));
    *says.0.lock().expect("not poisoned") = Some(http("200 OK", &issued("shared").to_string()));
    says.1.notify_all();
    for client in &mut clients {
        assert_eq!(client.responses().remove(0).status, 200);
    }
    assert_eq!(asked(), before + 1);
    assert!(shown(&witness).iter().all(|one| one == "shared"));
    gateway.is_well();
}
