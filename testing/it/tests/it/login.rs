//! Logging in with a browser at a real provider: what becomes of a login, and of those who would have one that is not theirs.

use crate::browser::{Browser, ORIGIN, PAGE};
use crate::openid::{private_keys, written};
use portcullis_testing_kit::{Gateway, NodeServer, Response, Witness, get, run_node};
use serde_json::{Value, json};
use std::net::SocketAddr;

pub(crate) const SESSION: &str = "__Host-portcullis-session-staff";
pub(crate) const PENDING: &str = "__Host-portcullis-login-staff";

/// A provider, a gateway that protects an application by a login there, and the application.
pub(crate) struct World {
    pub(crate) provider: NodeServer,
    pub(crate) gateway: Gateway,
    pub(crate) witness: Witness,
}

pub(crate) fn yaml(witness: SocketAddr, provider: SocketAddr, login: &str) -> String {
    format!(
        r#"version: 1
listeners:
  plain:
    address: 127.0.0.1:@http@
    protocols: [h1]
    danger_plaintext: {{ reason: test, owner: test, expires: 2099-01-01 }}
    limits: {{ connection_rate_per_client: 1000000/s }}
management: {{ socket: run/portcullis.sock, probes: 127.0.0.1:@probes@ }}
upstreams:
  u: {{ endpoints: [ {{ url: "http://{witness}" }} ] }}
  id: {{ endpoints: [ {{ url: "http://{provider}" }} ], timeouts: {{ connect: 1s }} }}
identity:
  providers:
    corp: {{ issuer: "http://{provider}", keys: {{ discover: {{ upstream: id }} }}, roles: {{ claim: groups }} }}
  logins:
    staff: {{ provider: corp, client_id: app, client_secret: "file:secret", origin: "{ORIGIN}"{login} }}
roles: {{ member: [staff/members] }}
apis:
  a:
    hosts: [app.test]
    upstream: u
    authenticate: {{ any_of: [staff] }}
    routes:
      - {{ name: open, methods: [GET], path: "/open", access: {{ public: true }} }}
      - {{ name: all, methods: [GET, HEAD, POST, DELETE], path: "/{{*rest}}", websocket: true, access: {{ allow: {{ roles: [member] }} }} }}
record: {{ access_log: {{ to: file, path: access.log, format: json }} }}
"#
    )
}

/// What the tests want of the provider.
pub(crate) fn wishes(change: Value) -> String {
    let mut wishes = json!({ "origin": ORIGIN, "people": { "alice": ["members"], "bob": [] } });
    change.as_object().expect("members").iter().for_each(|(name, value)| wishes[name] = value.clone());
    wishes.to_string()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("ES256", Witness::ok(), "", json!({}))
    }

    pub(crate) fn with(algorithm: &str, witness: Witness, login: &str, wanted: Value) -> Self {
        let keys = written(algorithm, &[&private_keys(algorithm, "k1")]);
        let program = include_str!("../../js/login_provider.mjs");
        let files = [("keys.json", &*keys), ("wishes.json", &wishes(wanted))];
        let provider = NodeServer::running(program, &["keys.json", "wishes.json"], &files);
        let gateway = Gateway::start_with(&[("secret", "only-for-tests\n")], &yaml(witness.address(), provider.address(), login));
        Self { provider, gateway, witness }
    }

    /// With a gateway that proves itself to the provider by a key (RFC 7523).
    fn with_key() -> Self {
        let program = "import { createPublicKey, generateKeyPairSync } from 'node:crypto';\nimport { pathToFileURL } from 'node:url';\n\
            const { calculateJwkThumbprint } = await import(pathToFileURL(`${process.argv[2]}/jose/dist/webapi/index.js`).href);\n\
            const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });\n\
            const key = pair.publicKey.export({ format: 'jwk' });\n\
            const jwks = { keys: [{ ...key, kid: await calculateJwkThumbprint(key), alg: 'ES256', use: 'sig' }] };\n\
            console.log(JSON.stringify({ jwks, pem: pair.privateKey.export({ format: 'pem', type: 'pkcs8' }) }));";
        let made: Value = serde_json::from_str(&run_node(program, &[])).expect("a key");
        let by_key = json!({ "client": {
            "client_secret": null, "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256",
            "jwks": made["jwks"],
        } });
        let keys = written("ES256", &[&private_keys("ES256", "k1")]);
        let files = [("keys.json", &*keys), ("wishes.json", &wishes(by_key))];
        let provider = NodeServer::running(include_str!("../../js/login_provider.mjs"), &["keys.json", "wishes.json"], &files);
        let witness = Witness::ok();
        let secret = made["pem"].as_str().expect("PEM");
        let gateway = Gateway::start_with(&[("secret", secret)], &yaml(witness.address(), provider.address(), ""));
        Self { provider, gateway, witness }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(self.gateway.http(), self.provider.address())
    }

    /// How often the provider was asked for a path.
    pub(crate) fn asked(&self, path: &str) -> u64 {
        get(self.provider.address(), "a.test", "/asked").json()[path].as_u64().unwrap_or(0)
    }
}

#[track_caller]
pub(crate) fn is_refused(answer: &Response, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}{}", answer.head, answer.text());
    assert_eq!(answer.fields("set-cookie").count(), 0, "{}", answer.head);
}

#[test]
fn somebody_who_wants_to_see_a_page_logs_in_and_sees_it() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let mut world = World::with(algorithm, Witness::ok(), "", json!({}));
        let mut browser = world.browser();
        browser.cookies.insert(("app.test".to_owned(), "theme".to_owned()), "dark".to_owned());
        let wanted = format!("{ORIGIN}/orders?page=2&q=a%2Fb");
        let (seen, answer) = browser.log_in(&wanted, "alice");
        assert_eq!((seen, answer.status), (wanted.clone(), 200), "{}", world.gateway.stderr());
        assert_eq!(browser.visit(&wanted).1.status, 200, "and again, without the provider");
        assert_eq!((world.asked("/token"), world.asked("/auth")), (1, 1));
        // The application hears of its own cookies alone, and so does a page that everybody may see.
        browser.visit(&format!("{ORIGIN}/open"));
        let texts = world.witness.texts();
        assert_eq!(texts.len(), 3, "{texts:#?}");
        for text in &texts {
            assert!(text.to_ascii_lowercase().contains("\r\ncookie: theme=dark\r\n") && !text.contains("__Host"), "{text}");
        }
        let records = world.gateway.records_when(5);
        let of_alice = records.iter().filter(|record| record["provider"] == "staff" && record["principal"] == "alice");
        assert_eq!(of_alice.count(), 2, "{records:#?}");
        assert!(!world.gateway.access_log().contains(browser.cookie(SESSION).expect("a session")), "no session in the log");
        world.gateway.is_well();
    }
}

#[test]
fn the_gateway_may_prove_itself_to_the_provider_by_a_key() {
    let world = World::with_key();
    let wanted = format!("{ORIGIN}/orders");
    let (seen, answer) = world.browser().log_in(&wanted, "alice");
    assert_eq!((seen, answer.status), (wanted, 200), "{}", world.gateway.stderr());
}

#[test]
fn the_cookies_are_for_this_host_and_no_script() {
    let world = World::new();
    let mut browser = world.browser();
    let begun = browser.send("GET", &format!("{ORIGIN}/a"), PAGE, "");
    assert_eq!((begun.status, begun.field("cache-control")), (302, Some("no-store")));
    let location = begun.field("location").expect("a place");
    assert!(
        location.starts_with(&format!("http://{}/auth?response_type=code&client_id=app&", world.provider.address())),
        "{location}"
    );
    assert!(location.contains("&code_challenge_method=S256") && location.contains("&state=") && location.contains("&nonce="));
    let flags = "; Path=/; Secure; HttpOnly; SameSite=Lax";
    let cookie = begun.field("set-cookie").expect("a cookie");
    assert!(cookie.starts_with(&format!("{PENDING}=")) && cookie.ends_with(&format!("{flags}; Max-Age=600")), "{cookie}");
    let callback = browser.log_in_to_callback(&format!("{ORIGIN}/a"), "alice");
    let done = browser.send("GET", &callback, PAGE, "");
    assert_eq!(
        (done.status, done.field("location"), done.field("cache-control")),
        (303, Some("https://app.test/a"), Some("no-store"))
    );
    let cookies: Vec<&str> = done.fields("set-cookie").collect();
    let [session, gone] = cookies.as_slice() else { panic!("{cookies:?}") };
    assert!(session.starts_with(&format!("{SESSION}=")) && session.ends_with(flags), "{session}");
    assert!(session.len() >= SESSION.len() + 1 + 43 + flags.len(), "256 bits: {session}");
    assert_eq!(*gone, format!("{PENDING}={flags}; Max-Age=0"));
}

#[test]
fn who_logs_in_may_do_what_their_groups_may_and_no_more() {
    let world = World::new();
    let mut bob = world.browser();
    let (_, answer) = bob.log_in(&format!("{ORIGIN}/orders"), "bob");
    is_refused(&answer, 403, "access_denied");
    assert_eq!(world.gateway.record_of("access_denied")["principal"], json!("bob"));
    assert_eq!(world.witness.texts(), Vec::<String>::new());
}

#[test]
fn only_a_page_is_sent_to_log_in() {
    let world = World::new();
    let mut browser = world.browser();
    for (method, fields) in [
        ("GET", "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: text/html\r\n"),
        ("GET", "Accept: application/json\r\n"),
        ("POST", PAGE),
        ("GET", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
    ] {
        let fields = if fields.contains("websocket") { format!("{fields}Connection: Upgrade\r\n") } else { fields.to_owned() };
        let answer = browser.send(method, &format!("{ORIGIN}/orders"), &fields, "");
        is_refused(&answer, 401, "credentials_missing");
        assert_eq!(answer.field("www-authenticate"), Some("BrowserLogin realm=\"api\""));
        assert_eq!(answer.field("location"), None);
    }
}

#[test]
fn e121_an_answer_counts_once_for_who_asked_and_from_whom() {
    let world = World::new();
    let (mut alice, mut mallory) = (world.browser(), world.browser());
    let stolen = mallory.log_in_to_callback(&format!("{ORIGIN}/m"), "bob");
    let callback = alice.log_in_to_callback(&format!("{ORIGIN}/a"), "alice");
    let waiting = alice.clone();
    // Somebody else's answer in alice's browser, and alice's answer in somebody else's.
    is_refused(&alice.send("GET", &stolen, PAGE, ""), 400, "login_invalid");
    is_refused(&mallory.send("GET", &callback, PAGE, ""), 400, "login_invalid");
    is_refused(&world.browser().send("GET", &callback, PAGE, ""), 400, "login_invalid");
    // An answer of another provider, and one that does not say whose it is although this provider always does.
    let (before, issuer) = callback.rsplit_once("iss=").expect("RFC 9207");
    let rest = issuer.split_once('&').map_or("", |(_, rest)| rest);
    for forged in [format!("{before}iss=https%3A%2F%2Fevil.test&{rest}"), format!("{before}{rest}")] {
        is_refused(&waiting.clone().send("GET", &forged, PAGE, ""), 400, "login_invalid");
    }
    assert_eq!(world.asked("/token"), 0, "nobody was asked for tokens");
    // That has used the login up: it counts once.
    is_refused(&alice.send("GET", &callback, PAGE, ""), 400, "login_invalid");
    let callback = alice.log_in_to_callback(&format!("{ORIGIN}/a"), "alice");
    for odd in ["&state=x", "&code=x", "&iss=x"] {
        is_refused(&alice.clone().send("GET", &format!("{callback}{odd}"), PAGE, ""), 400, "login_invalid");
    }
    let mut twice = alice.clone();
    assert_eq!(alice.send("GET", &callback, PAGE, "").status, 303);
    is_refused(&twice.send("GET", &callback, PAGE, ""), 400, "login_invalid");
    assert_eq!(world.asked("/token"), 1);
}

#[test]
fn a_provider_that_refuses_is_told_and_not_asked_again() {
    let world = World::new();
    let mut browser = world.browser();
    let (page, _) = browser.visit(&format!("{ORIGIN}/a"));
    let next = browser.tell_name(&page, "");
    let (seen, answer) = browser.visit(&next);
    assert!(seen.starts_with(&format!("{ORIGIN}/.portcullis/login/staff/callback?error=access_denied")), "{seen}");
    is_refused(&answer, 403, "login_refused");
    assert!(world.gateway.record_of("login_refused")["detail"].as_str().is_some_and(|text| text.contains("access_denied")));
}

#[test]
fn e119_after_a_login_nobody_is_sent_elsewhere() {
    let world = World::new();
    for target in ["/a?next=//evil.test", "/@evil.test", "/a?x=https://evil.test", "/https:evil.test", "/.evil.test/"] {
        let (seen, answer) = world.browser().log_in(&format!("{ORIGIN}{target}"), "alice");
        assert_eq!((seen, answer.status), (format!("{ORIGIN}{target}"), 200));
    }
    for target in ["//evil.test", "/\\evil.test", "/%5cevil.test", "/a/..;/b"] {
        assert_eq!(world.browser().send("GET", &format!("{ORIGIN}{target}"), PAGE, "").status, 400, "{target}");
    }
}

#[test]
fn e120_a_session_is_never_one_that_was_planted() {
    let world = World::new();
    let mut browser = world.browser();
    browser.cookies.insert(("app.test".to_owned(), SESSION.to_owned()), "A".repeat(43));
    let (_, answer) = browser.log_in(&format!("{ORIGIN}/a"), "alice");
    assert_eq!(answer.status, 200);
    let first = browser.cookie(SESSION).expect("a session").to_owned();
    assert_ne!(first, "A".repeat(43));
    // With another login the session before is over.
    let before = browser.clone();
    let mut again = browser.clone();
    again.cookies.remove(&("app.test".to_owned(), SESSION.to_owned()));
    let begun = again.send("GET", &format!("{ORIGIN}/a"), PAGE, "");
    let (url, answer) = again.visit_until(begun.field("location").expect("a place"), |url| url.starts_with(ORIGIN));
    let callback = answer.field("location").unwrap_or_else(|| panic!("{url}")).to_owned();
    again.cookies.insert(("app.test".to_owned(), SESSION.to_owned()), first.clone());
    assert_eq!(again.visit(&callback).1.status, 200);
    assert_ne!(again.cookie(SESSION), Some(&*first));
    assert_eq!(before.clone().send("GET", &format!("{ORIGIN}/a"), "", "").status, 401);
}

#[test]
fn another_page_does_nothing_with_a_session() {
    let world = World::new();
    let mut browser = world.browser();
    browser.log_in(&format!("{ORIGIN}/a"), "alice");
    let count = world.witness.texts().len();
    for fields in
        ["", "Origin: https://evil.test\r\n", "Origin: null\r\n", "Origin: https://app.test\r\nSec-Fetch-Site: cross-site\r\n"]
    {
        is_refused(&browser.send("POST", &format!("{ORIGIN}/pay"), fields, "x=1"), 403, "cross_origin_refused");
        is_refused(&browser.send("DELETE", &format!("{ORIGIN}/pay"), fields, ""), 403, "cross_origin_refused");
        let upgrade = format!(
            "{fields}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        );
        let answer =
            browser.send("GET", &format!("{ORIGIN}/live"), &upgrade.replace("Connection: Upgrade", "Connection: upgrade"), "");
        is_refused(&answer, 403, "cross_origin_refused");
    }
    assert_eq!(world.witness.texts().len(), count);
    assert_eq!(browser.send("POST", &format!("{ORIGIN}/pay"), "Origin: https://app.test\r\n", "x=1").status, 200);
    assert_eq!(browser.send("POST", &format!("{ORIGIN}/pay"), "Sec-Fetch-Site: same-origin\r\n", "x=1").status, 200);
}

#[test]
fn e142_a_reload_keeps_sessions_and_what_it_grants_less_is_gone_at_once() {
    let mut world = World::new();
    let mut browser = world.browser();
    let page = format!("{ORIGIN}/a");
    browser.log_in(&page, "alice");
    let (witness, provider) = (world.witness.address(), world.provider.address());
    world.gateway.configure(&yaml(witness, provider, ", idle: 30m"));
    world.gateway.reaches_generation(2);
    assert_eq!(browser.visit(&page).1.status, 200);
    world.gateway.configure(&yaml(witness, provider, "").replace("[staff/members]", "[staff/admins]"));
    world.gateway.reaches_generation(3);
    is_refused(&browser.visit(&page).1, 403, "access_denied");
    assert_eq!(world.asked("/token"), 1);
    // A restart ends them: they are nowhere else.
    world.gateway.configure(&yaml(witness, provider, ""));
    world.gateway.reaches_generation(4);
    assert_eq!(browser.visit(&page).1.status, 200);
    world.gateway.kill_and_restart();
    assert_eq!(browser.send("GET", &page, "", "").status, 401);
    assert_eq!(browser.visit(&page).1.status, 200, "the provider knows who it is");
    assert_eq!(world.asked("/token"), 2);
}

#[test]
fn who_logs_out_is_out_here_and_at_the_provider() {
    let world = World::new();
    let mut browser = world.browser();
    browser.log_in(&format!("{ORIGIN}/a"), "alice");
    let logout = format!("{ORIGIN}/.portcullis/login/staff/logout");
    let mut thief = browser.clone();
    is_refused(&browser.send("POST", &logout, "Origin: https://evil.test\r\n", ""), 403, "cross_origin_refused");
    assert_eq!(browser.send("GET", &format!("{ORIGIN}/a"), "", "").status, 200, "another page logs nobody out");
    let out = browser.send("POST", &logout, "Origin: https://app.test\r\n", "");
    assert_eq!((out.status, browser.cookie(SESSION)), (303, None), "{}", out.head);
    let location = out.field("location").expect("a place").to_owned();
    assert!(
        location.starts_with(&format!("http://{}/session/end?client_id=app&id_token_hint=ey", world.provider.address())),
        "{location}"
    );
    assert_eq!(browser.send("GET", &location, PAGE, "").status, 200);
    assert_eq!(thief.send("GET", &format!("{ORIGIN}/a"), "", "").status, 401, "the session is over, whoever has its name");
}

#[test]
fn without_its_provider_nobody_logs_in_and_who_has_stays() {
    let mut world = World::new();
    let mut browser = world.browser();
    browser.log_in(&format!("{ORIGIN}/a"), "alice");
    let mut late = world.browser();
    let callback = late.log_in_to_callback(&format!("{ORIGIN}/a"), "alice");
    world.provider.kill();
    assert_eq!(browser.visit(&format!("{ORIGIN}/a")).1.status, 200);
    is_refused(&late.send("GET", &callback, PAGE, ""), 503, "login_unavailable");
    world.gateway.is_well();
}
