//! Guessing is counted by what fails, under every spelling of a name, and locks out whoever guesses; never a victim that is only named.

use crate::operations::{blocks, pages, run};
use crate::revocation::command;
use portcullis_testing_kit::{Gateway, Plain, RawClient, Response, SigningKey, UpstreamSide, Witness, claims, eventually, key_set};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex};

const LOGIN: &str = "- { name: sign_in, methods: [POST], path: \"/login\", access: { public: true }, \
                     login_account: { form: username, domains: [example.com] } }\n\
                     - { name: all, methods: [GET], path: \"/{*rest}\", access: { public: true } }";
const THREE: &str = "defend: { lockout: { failures: 3, within: 5m, for: 1h, for_max: 2h } }";

/// An upstream that knows one password.
fn checks(side: &mut UpstreamSide) {
    while let Some(request) = side.request() {
        let text = String::from_utf8_lossy(&request).into_owned();
        let status = if text.contains("password=guess") { "401 Unauthorized" } else { "200 OK" };
        side.write(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"));
    }
}

fn login_text(name: &str, password: &str) -> String {
    let body = format!("username={name}&password={password}");
    format!(
        "POST /login HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn from(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

fn send_from(gateway: &Gateway, source: u8, request: impl AsRef<[u8]>) -> RawClient {
    let mut client = RawClient::connect_from(from(source), gateway.http());
    client.send(request);
    client
}

#[track_caller]
fn ask_from(gateway: &Gateway, source: u8, request: impl AsRef<[u8]>) -> Response {
    send_from(gateway, source, request).response_to("GET").expect("an answer")
}

#[track_caller]
fn log_in(gateway: &Gateway, source: u8, name: &str, password: &str) -> u16 {
    let answer = ask_from(gateway, source, login_text(name, password));
    if answer.status == 429 {
        assert_eq!(answer.code(), "locked_out");
        assert!(answer.field("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0)));
    }
    answer.status
}

fn locked_out(gateway: &Gateway) -> Vec<String> {
    let all = command(gateway, &["lockout", "list"]).expect("a list");
    let shown = |row: &Value| format!("{} {}", row["per"].as_str().unwrap_or_default(), row["name"].as_str().unwrap_or_default());
    all.as_array().expect("a list").iter().map(shown).collect()
}

/// Waits until they are locked out: an outcome counts when its record leaves, a moment after the answer.
#[track_caller]
fn are_locked_out(gateway: &Gateway, whom: &[&str]) {
    eventually("the lockout", || (locked_out(gateway) == whom).then_some(()));
}

fn login_site(sections: &'static str) -> (Gateway, Witness) {
    let witness = Witness::scripted(checks);
    let plain = Plain { routes: LOGIN, sections, ..Plain::to(witness.address()) };
    (plain.start(), witness)
}

#[test]
fn e122_guesses_under_every_spelling_of_a_name_count_together_and_spare_where_the_account_is_at_home() {
    let (mut gateway, witness) = login_site(THREE);
    let (home, elsewhere) = (2, 3);
    assert_eq!(log_in(&gateway, home, "Bob", "right"), 200);
    gateway.records_when(1);
    // One guess from each of many addresses.
    let guesses = ["Bob", "bob", "BOB%20", "bob%40example.com", "%EF%BC%A2ob"];
    let outcomes: Vec<u16> = guesses.iter().zip(11..).map(|(name, source)| log_in(&gateway, source, name, "guess")).collect();
    assert_eq!(outcomes, [401, 401, 401, 429, 429]);
    are_locked_out(&gateway, &["login a/bob"]);
    assert_eq!(witness.requests().len(), 4, "the upstream has seen three guesses");
    assert_eq!(log_in(&gateway, home, "bob", "right"), 200, "where the account has been in");
    assert_eq!(log_in(&gateway, elsewhere, "bob", "right"), 429);
    assert_eq!(log_in(&gateway, elsewhere, "alice", "right"), 200, "other accounts are not concerned");
    are_locked_out(&gateway, &["login a/bob"]);
    eventually("the record to say why", || gateway.access_log().contains("the account of the login is locked out").then_some(()));
    assert!(!gateway.access_log().contains("bob"), "names that somebody gave are in no record");
    let metrics = |name: &str| gateway.metric(&format!("portcullis_lockouts{name}{{per=\"login\"}}"));
    assert_eq!((metrics(""), metrics("_made_total")), (1.0, 1.0));
    eventually("the lockout to be told", || gateway.stderr().contains("\"event\":\"locked_out\"").then_some(()));
    // It outlives the process, whatever ends it, and both processes of an upgrade know of it.
    let kept = || std::fs::read_to_string(gateway.folder().join("run/lockouts.jsonl")).unwrap_or_default();
    eventually("the lockout to be on the disk", || kept().contains("a/bob").then_some(()));
    gateway.kill_and_restart();
    assert_eq!(log_in(&gateway, elsewhere, "BOB", "right"), 429);
    gateway.upgrade(&[]).expect("upgraded");
    assert_eq!(log_in(&gateway, elsewhere, "BOB", "right"), 429);
    let told = command(&gateway, &["lockout", "lift", "login", "a/bob"]).expect("lifted");
    assert_eq!((&told["name"], &told["status"]), (&"a/bob".into(), &401.into()));
    assert_eq!(log_in(&gateway, elsewhere, "BOB", "right"), 200);
    let audit = std::fs::read_to_string(gateway.folder().join("run/audit.log")).expect("an audit log");
    assert!(audit.contains("unlock login `a/bob`"), "{audit}");
    for (arguments, problem) in [
        (["login", "a/bob"], "is not locked out"),
        (["mood", "a/bob"], "is none of"),
        (["client_ip", "10.0.0.0/8"], "is not an address"),
        (["account", "bob"], "is not a name"),
    ] {
        let told = command(&gateway, &[&["lockout", "lift"], &arguments[..]].concat()).expect_err("refused");
        assert!(told.contains(problem), "{told}");
    }
    gateway.is_well();
}

#[test]
fn guesses_at_once_are_no_more_than_those_one_after_the_other() {
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let gate = Arc::clone(&open);
    let witness = Witness::scripted(move |side| {
        while side.request().is_some() {
            let (opened, told) = &*gate;
            drop(told.wait_while(opened.lock().expect("a lock"), |opened| !*opened).expect("a lock"));
            side.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Plain { routes: LOGIN, sections: THREE, ..Plain::to(witness.address()) }.start();
    let mut under_way = Vec::new();
    for source in 11..14 {
        under_way.push(send_from(&gateway, source, login_text("bob", "guess")));
        eventually("the guess to be with the upstream", || (witness.requests().len() == under_way.len()).then_some(()));
    }
    assert_eq!([14, 15, 16].map(|source| log_in(&gateway, source, "Bob", "guess")), [429; 3]);
    assert_eq!(witness.requests().len(), 3);
    assert_eq!(locked_out(&gateway), Vec::<String>::new(), "none has failed yet");
    *open.0.lock().expect("a lock") = true;
    open.1.notify_all();
    let ends: Vec<u16> = under_way.iter_mut().filter_map(|client| client.response_to("POST")).map(|answer| answer.status).collect();
    assert_eq!(ends, [401; 3]);
    are_locked_out(&gateway, &["login a/bob"]);
}

#[test]
fn stuffing_from_one_address_is_cut_and_others_are_served_throughout() {
    let (mut gateway, witness) = login_site("defend: { lockout: { failures: 5, within: 5m, for: 1h, allow: [127.0.0.7] } }");
    let memory = gateway.resident_kib();
    let outcomes: Vec<u16> = (0..200).map(|number| log_in(&gateway, 9, &format!("user{number}"), "guess")).collect();
    let passed = outcomes.iter().filter(|status| **status == 401).count();
    assert!(passed == 5 && outcomes.contains(&429), "{passed}: {outcomes:?}");
    are_locked_out(&gateway, &["client_ip 127.0.0.9"]);
    assert_eq!(ask_from(&gateway, 9, "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").status, 429);
    assert_eq!(log_in(&gateway, 2, "user1", "right"), 200, "whoever else");
    assert_eq!([0; 20].map(|_| log_in(&gateway, 7, "user2", "guess")), [401; 20], "a scanner of the operator's own");
    are_locked_out(&gateway, &["client_ip 127.0.0.9"]);
    command(&gateway, &["lockout", "lift", "client_ip", "127.0.0.9"]).expect("lifted");
    assert_eq!(log_in(&gateway, 9, "user1", "right"), 200);
    let grown = gateway.resident_kib().saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
    assert!(witness.requests().len() < 80);
    gateway.is_well();
}

const ISSUER: &str = "https://id.test";
const TOKENS: &str = "- { name: read, methods: [GET], path: \"/read\", access: { allow: { scopes: [read] } } }\n\
                      - { name: admin, methods: [GET], path: \"/admin\", access: { allow: { scopes: [admin] } } }";
const PROVIDER: &str = "identity:\n  providers: { corp: { issuer: \"https://id.test\", keys: { file: id.json } } }\n\
                        defend: { lockout: { failures: 3, within: 5m, for: 1h, for_max: 1h } }";

struct Tokens {
    gateway: Gateway,
    signer: SigningKey,
    _witness: Witness,
}

impl Tokens {
    fn new() -> Self {
        let (witness, signer) = (Witness::ok(), SigningKey::p256("k"));
        let api = "authenticate: { any_of: [corp], audiences: [\"https://api.test\"] }";
        let plain = Plain { routes: TOKENS, api, sections: PROVIDER, ..Plain::to(witness.address()) };
        let gateway = Gateway::start_with(&[("id.json", &key_set(&[&signer]))], &plain.yaml());
        Self { gateway, signer, _witness: witness }
    }

    fn ask(&self, source: u8, path: &str, signer: Option<&SigningKey>) -> (u16, String) {
        let mut claims = claims(ISSUER, "https://api.test");
        (claims["sub"], claims["scope"]) = (json!("alice"), json!("read"));
        let shown = signer.map_or_else(String::new, |signer| format!("Authorization: Bearer {}\r\n", signer.token(&claims)));
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{shown}Connection: close\r\n\r\n");
        let answer = ask_from(&self.gateway, source, request);
        let code = if answer.status == 200 { String::new() } else { answer.code() };
        (answer.status, code)
    }
}

#[test]
fn forged_tokens_that_name_a_victim_lock_out_whoever_sends_them_and_nobody_else() {
    let world = Tokens::new();
    let (attacker, victim, forged) = (9, 2, SigningKey::p256("k"));
    // Nothing is tried where nothing is shown.
    assert_eq!([0; 9].map(|_| world.ask(attacker, "/read", None).0), [401; 9]);
    assert_eq!([0; 3].map(|_| world.ask(attacker, "/read", Some(&forged)).0), [401; 3]);
    are_locked_out(&world.gateway, &["client_ip 127.0.0.9"]);
    assert_eq!([0; 2].map(|_| world.ask(attacker, "/read", Some(&forged)).0), [429; 2]);
    // From many addresses, one each.
    for source in 20..40 {
        assert_eq!(world.ask(source, "/read", Some(&forged)).0, 401);
    }
    assert_eq!(world.ask(victim, "/read", Some(&world.signer)), (200, String::new()));
    assert_eq!(world.ask(attacker, "/read", Some(&world.signer)), (429, "locked_out".to_owned()));
    assert_eq!(locked_out(&world.gateway), ["client_ip 127.0.0.9"]);
}

#[test]
fn a_stolen_token_that_tries_doors_is_locked_out_and_its_owner_at_home_is_not() {
    let world = Tokens::new();
    let (home, signer) = (2, Some(&world.signer));
    assert_eq!(world.ask(home, "/read", signer).0, 200);
    world.gateway.records_when(1);
    assert_eq!([11, 12, 13].map(|source| world.ask(source, "/admin", signer).0), [403; 3]);
    are_locked_out(&world.gateway, &["account corp/alice"]);
    let locked = (429, "locked_out".to_owned());
    assert_eq!((world.ask(14, "/admin", signer), world.ask(15, "/read", signer)), (locked.clone(), locked));
    assert_eq!(world.ask(home, "/read", signer).0, 200);
    let all = command(&world.gateway, &["lockout", "list"]).expect("a list");
    assert_eq!((&all[0]["per"], &all[0]["name"], &all[0]["status"]), (&"account".into(), &"corp/alice".into(), &403.into()));
    assert_eq!(world.gateway.record_of("locked_out")["principal"], "alice");
}

#[test]
fn the_page_of_lockouts_works_as_written() {
    let (gateway, _witness) = login_site("defend: { lockout: { failures: 1, for: 1h } }");
    assert_eq!(log_in(&gateway, 9, "bob", "guess"), 401);
    are_locked_out(&gateway, &["client_ip 127.0.0.9", "login a/bob"]);
    let page = std::fs::read_to_string(pages().join("lockouts.md")).expect("the page");
    let script = blocks(&page, "sh").concat().replace("203.0.113.9", "127.0.0.9").replace("shop/bob", "a/bob");
    run(gateway.folder(), &script);
    assert_eq!(locked_out(&gateway), Vec::<String>::new());
}
