//! How sessions of logins go on, and how they end: with what their provider says, by logout there, and with what goes on by them.

use crate::browser::{Browser, ORIGIN, PAGE};
use crate::login::{SESSION, World, is_refused, wishes, yaml};
use crate::revocation::command;
use portcullis_testing_kit::{RawClient, SigningKey, Witness, base64url, get, holds, unix_seconds};
use serde_json::{Value, json};
use std::time::Instant;

const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const HANDSHAKE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// An application that has WebSockets, and sets cookies that it should not.
fn application() -> Witness {
    Witness::scripted(|side| {
        let Some(request) = side.request() else { return };
        side.remember(&request);
        if request.starts_with(b"GET /ws") {
            side.write(AGREES);
            side.drain();
        } else {
            side.write(format!(
                "HTTP/1.1 200 OK\r\nSet-Cookie: {SESSION}=planted; Path=/; Secure\r\nSet-Cookie: lang=en\r\nContent-Length: 2\r\n\
                 Connection: close\r\n\r\nok"
            ));
        }
    })
}

/// A world whose provider tells the gateway of logouts.
fn world(login: &str, wanted: Value) -> World {
    let mut all = json!({
        "client": { "backchannel_logout_uri": format!("{ORIGIN}/.portcullis/login/staff/backchannel"), "backchannel_logout_session_required": true },
    });
    wanted.as_object().expect("members").iter().for_each(|(name, value)| all[name] = value.clone());
    let world = World::with("ES256", application(), login, all.clone());
    all["gateway"] = json!(world.gateway.http().port());
    world.provider.write("wishes.json", &wishes(all));
    world
}

fn page() -> String {
    format!("{ORIGIN}/a")
}

/// Opens a WebSocket with the session of a browser.
#[track_caller]
fn open(world: &World, browser: &Browser) -> RawClient {
    let mut client = RawClient::connect(world.gateway.http());
    let cookie = browser.cookie(SESSION).expect("a session");
    client.send(format!("GET /ws HTTP/1.1\r\nHost: app.test\r\nOrigin: {ORIGIN}\r\nCookie: {SESSION}={cookie}\r\n{HANDSHAKE}\r\n"));
    assert_eq!(client.response_head().status, 101);
    client
}

/// What the provider has told the gateway, as the bodies of its requests.
fn told(world: &World) -> Vec<String> {
    let told = get(world.provider.address(), "a.test", "/told").json();
    told.as_array().expect("a list").iter().map(|body| body.as_str().expect("a body").to_owned()).collect()
}

fn tell(world: &World, body: &str) -> portcullis_testing_kit::Response {
    let url = format!("{ORIGIN}/.portcullis/login/staff/backchannel");
    world.browser().send("POST", &url, "Content-Type: application/x-www-form-urlencoded\r\n", body)
}

#[test]
fn e120_who_logs_out_ends_what_goes_on_by_the_session() {
    let mut world = world("", json!({}));
    let (mut alice, mut elsewhere) = (world.browser(), world.browser());
    assert_eq!(
        alice.log_in(&page(), "alice").1.fields("set-cookie").collect::<Vec<_>>(),
        ["lang=en"],
        "no session by the application"
    );
    elsewhere.log_in(&page(), "alice");
    let (mut mine, theirs) = (open(&world, &alice), open(&world, &elsewhere));
    let begin = Instant::now();
    let logout = format!("{ORIGIN}/.portcullis/login/staff/logout");
    assert_eq!(alice.send("POST", &logout, "Sec-Fetch-Site: same-origin\r\n", "").status, 303);
    mine.rest();
    assert!(begin.elapsed().as_secs_f64() < 1.0, "{:?}", begin.elapsed());
    world.gateway.record_of("credentials_revoked");
    // Another browser of the same person has a session of its own.
    assert_eq!(elsewhere.send("GET", &page(), "", "").status, 200);
    theirs.reset();
    world.gateway.is_well();
}

#[test]
fn e120_who_logs_out_at_the_provider_is_out_here() {
    let mut world = world("", json!({}));
    let (mut alice, mut bob) = (world.browser(), world.browser());
    alice.log_in(&page(), "alice");
    bob.log_in(&page(), "alice");
    let mut mine = open(&world, &alice);
    // At the provider's own page, of which the gateway sees nothing.
    let at = format!("http://{}", world.provider.address());
    let shown = alice.send("GET", &format!("{at}/session/end"), PAGE, "").text();
    let secret = shown.split("name=\"xsrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let confirmed = alice.send("POST", &format!("{at}/session/end/confirm"), form, &format!("xsrf={secret}&logout=yes"));
    assert!((200..400).contains(&confirmed.status), "{}", confirmed.text());
    holds("the session to be over", || alice.send("GET", &page(), "", "").status == 401);
    mine.rest();
    assert_eq!(bob.send("GET", &page(), "", "").status, 200, "another session of the same person goes on");
    // The token counts once, whoever sends it again.
    let bodies = told(&world);
    let [body] = bodies.as_slice() else { panic!("{bodies:?}") };
    is_refused(&tell(&world, body), 400, "logout_invalid");
    assert!(world.gateway.record_of("logout_invalid")["detail"].as_str().is_some_and(|text| text.contains("before")));
    world.gateway.is_well();
}

#[test]
fn e120_what_is_no_logout_token_of_the_provider_ends_nothing() {
    let mut world = world("", json!({}));
    let mut alice = world.browser();
    alice.log_in(&page(), "alice");
    let issuer = format!("http://{}", world.provider.address());
    let now = unix_seconds();
    let claims = json!({
        "iss": issuer, "aud": "app", "sub": "alice", "jti": "1", "iat": now, "exp": now + 100,
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let forged = SigningKey::p256("k1").sign(&json!({ "alg": "ES256", "kid": "k1", "typ": "logout+jwt" }), &claims);
    let part = |json: &Value| base64url(json.to_string().as_bytes());
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none", "typ": "logout+jwt" })), part(&claims));
    for body in [
        String::new(),
        "logout_token=".to_owned(),
        "logout_token=a.b.c".to_owned(),
        format!("logout_token={forged}"),
        format!("logout_token={unsigned}"),
        format!("logout_token={forged}&logout_token={forged}"),
        format!("logout_token={}", ".".repeat(16_000)),
    ] {
        is_refused(&tell(&world, &body), 400, "logout_invalid");
    }
    // However the body comes.
    let head = "POST /.portcullis/login/staff/backchannel HTTP/1.1\r\nHost: app.test\r\n";
    let mut client = RawClient::connect(world.gateway.http());
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nlogou\r\n")).send("9\r\nt_token=a\r\n0\r\n\r\n");
    assert_eq!(client.response().code(), "logout_invalid");
    // The connection goes on behind it.
    client.send(format!("{head}Expect: 100-continue\r\nContent-Length: 14\r\n\r\n"));
    client.until(b"100 Continue\r\n\r\n");
    client.send("logout_token=b");
    assert_eq!(client.response().code(), "logout_invalid");
    let huge = format!("logout_token={}", "a".repeat(20_000));
    is_refused(&tell(&world, &huge), 413, "body_too_large");
    assert_eq!(alice.send("GET", &page(), "", "").status, 200);
    world.gateway.is_well();
}

const REFRESHED: &str = ", scopes: [openid, offline_access], prompt: consent";

fn short_lived(seconds: u64, people: Value) -> Value {
    json!({ "id_token_ttl": seconds, "people": people })
}

/// A world whose sessions end after so many seconds, unless the provider says more.
fn short(seconds: u64, login: &str) -> World {
    let world = world(login, short_lived(seconds, json!({ "alice": ["members"] })));
    let exact = yaml(world.witness.address(), world.provider.address(), login)
        .replace("roles: { claim: groups }", "roles: { claim: groups }, leeway: 0s");
    world.gateway.configure(&exact);
    world.gateway.reaches_generation(2);
    world
}

#[test]
fn a_session_goes_on_with_what_its_provider_says_anew() {
    let mut world = short(2, REFRESHED);
    let mut alice = world.browser();
    assert_eq!(alice.log_in(&page(), "alice").1.status, 200);
    let session = alice.cookie(SESSION).expect("a session").to_owned();
    // Many at once cause one question.
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let mut browser = alice.clone();
            let world = &world;
            scope.spawn(move || {
                while world.asked("/token") < 3 {
                    assert_eq!(browser.send("GET", &page(), "", "").status, 200);
                }
            });
        }
    });
    let allowed = 2 + begin.elapsed().as_secs() / 2;
    assert!(world.asked("/token") <= allowed + 1, "{} in {:?}", world.asked("/token"), begin.elapsed());
    assert_eq!(alice.cookie(SESSION), Some(&*session));
    assert_eq!(world.asked("/auth"), 1, "nobody was sent to log in again");
    // A group that is taken away is gone with the next word.
    world.provider.write("wishes.json", &wishes(short_lived(2, json!({ "alice": [] }))));
    holds("the group to be gone", || alice.send("GET", &page(), "", "").code() == "access_denied");
    // The provider is away: neither access nor a word about the session, which goes on when it is there again.
    world.provider.kill();
    holds("the word to end", || alice.send("GET", &page(), "", "").code() == "login_unavailable");
    world.gateway.is_well();
}

#[test]
fn a_session_ends_with_what_its_provider_has_said() {
    // Long enough to begin something, on a machine however busy.
    let world = short(6, "");
    let mut alice = world.browser();
    assert_eq!(alice.log_in(&page(), "alice").1.status, 200);
    let mut mine = open(&world, &alice);
    holds("the session to end", || alice.send("GET", &page(), "", "").status == 401);
    mine.rest();
    world.gateway.record_of("credentials_expired");
    assert_eq!(alice.visit(&page()).1.status, 200, "the provider knows who it is and asks nothing");
}

#[test]
fn e120_who_is_revoked_comes_in_again_by_the_provider_alone() {
    let world = world("", json!({}));
    let mut alice = world.browser();
    alice.log_in(&page(), "alice");
    let mut mine = open(&world, &alice);
    command(&world.gateway, &["revoke", "subject", "alice", "--provider", "corp"]).expect("revoked");
    assert_eq!(alice.send("GET", &page(), "", "").status, 401);
    mine.rest();
    // What the provider says from now on counts, and what it has said before, in this very second, does not.
    holds("another login", || alice.clone().visit(&page()).1.status == 200);
    assert!(world.asked("/token") >= 2);
    // Somebody who stays out is told so, and not sent from here to there.
    let later = (unix_seconds() + 600).to_string();
    command(&world.gateway, &["revoke", "subject", "alice", "--provider", "corp", "--issued-until", &later]).expect("revoked");
    is_refused(&alice.visit(&page()).1, 403, "login_refused");
}

#[test]
fn a_login_that_was_gone_for_a_while_works_again() {
    let mut world = world("", json!({}));
    let mut alice = world.browser();
    alice.log_in(&page(), "alice");
    let with = yaml(world.witness.address(), world.provider.address(), "");
    let without = with
        .replace("  logins:\n", "  client_certificates: {}\n")
        .lines()
        .filter(|line| !line.contains("staff:"))
        .map(|line| line.replace("[staff]", "[corp], audiences: [a]").replace("staff/members", "corp/members"))
        .collect::<Vec<_>>()
        .join("\n");
    for (generation, text) in [(2, &without), (3, &with), (4, &without), (5, &with)] {
        world.gateway.configure(text);
        world.gateway.reaches_generation(generation);
    }
    assert_eq!(world.browser().log_in(&page(), "alice").1.status, 200);
    world.gateway.is_well();
}

#[test]
fn where_tokens_are_taken_too_either_is_asked_for() {
    let world = world("", json!({}));
    let mixed = yaml(world.witness.address(), world.provider.address(), "").replace("[staff]", "[staff, corp], audiences: [a]");
    world.gateway.configure(&mixed);
    world.gateway.reaches_generation(2);
    let answer = world.browser().send("GET", &page(), "", "");
    is_refused(&answer, 401, "credentials_missing");
    assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"api\", BrowserLogin realm=\"api\""));
    let answer = world.browser().send("GET", &page(), &format!("Authorization: Bearer x\r\n{PAGE}"), "");
    is_refused(&answer, 401, "credentials_invalid");
    assert_eq!(world.browser().log_in(&page(), "alice").1.status, 200);
}

#[test]
fn who_has_logged_out_comes_back_to_a_page_of_the_application() {
    let client = json!({ "post_logout_redirect_uris": [format!("{ORIGIN}/open")] });
    let world = world(", after_logout: /open", json!({ "client": client }));
    let mut alice = world.browser();
    alice.log_in(&page(), "alice");
    let logout = format!("{ORIGIN}/.portcullis/login/staff/logout");
    let out = alice.send("POST", &logout, "Sec-Fetch-Site: same-origin\r\n", "");
    let shown = alice.send("GET", out.field("location").expect("a place"), PAGE, "").text();
    let secret = shown.split("name=\"xsrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form");
    let confirm = format!("http://{}/session/end/confirm", world.provider.address());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let confirmed = alice.send("POST", &confirm, form, &format!("xsrf={secret}&logout=yes"));
    assert!(confirmed.field("location").is_some_and(|place| place.starts_with(&format!("{ORIGIN}/open"))), "{}", confirmed.head);
}

#[test]
fn e118_what_is_no_session_is_none() {
    let world = world("", json!({}));
    let mut alice = world.browser();
    alice.log_in(&page(), "alice");
    let session = alice.cookie(SESSION).expect("a session").to_owned();
    let count = world.witness.texts().len();
    for garbage in [
        "",
        "x",
        &session[1..],
        &format!("{session}A"),
        &session.to_ascii_lowercase(),
        "eyJhbGciOiJub25lIn0.e30.",
        &"A".repeat(4000),
    ] {
        let mut browser = world.browser();
        browser.cookies.insert(("app.test".to_owned(), SESSION.to_owned()), garbage.to_owned());
        is_refused(&browser.send("GET", &page(), "", ""), 401, "credentials_missing");
        is_refused(&browser.send("GET", &page(), "Authorization: Bearer x\r\n", ""), 401, "credentials_missing");
        assert_eq!(browser.send("GET", &page(), PAGE, "").status, 302, "{garbage}");
    }
    assert_eq!(world.witness.texts().len(), count);
}

#[test]
fn a_flood_of_logins_leaves_those_who_are_logged_in_alone() {
    let mut world = world("", json!({}));
    let mut alice = world.browser();
    alice.log_in(&page(), "alice");
    let before = world.gateway.resident_kib();
    let long = format!("{ORIGIN}/{}", "x".repeat(900));
    for _ in 0..3000 {
        assert_eq!(world.browser().send("GET", &long, PAGE, "").status, 302);
    }
    assert_eq!(alice.send("GET", &page(), "", "").status, 200);
    let grown = world.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    world.gateway.is_well();
}
