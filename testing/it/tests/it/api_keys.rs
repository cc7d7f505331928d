//! API keys: made by the command, known to the gateway by a file of hashes, never seen upstream.

use crate::operations::{blocks, pages, run, with_ports};
use portcullis_testing_kit::{
    Authority, Gateway, Plain, RawClient, Response, SigningKey, TempDir, Witness, ask, binary, claims, free_port, holds, key_set,
    output_of, unix_seconds,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const ROUTES: &str = "- { name: read, methods: [GET], path: \"/read\", access: { allow: { roles: [partners/reader] } } }\n\
                      - { name: pay, methods: [GET], path: \"/pay\", access: { allow: { scopes: [pay] } } }\n\
                      - { name: open, methods: [GET], path: \"/open\", access: { public: true } }";

fn yaml(witness: &Witness) -> String {
    let mut plain = Plain::to(witness.address());
    plain.routes = ROUTES;
    plain.api = "authenticate: { any_of: [partners] }";
    plain.sections = "identity: { api_keys: { partners: { header: X-Api-Key, store: { file: partners.keys } } } }";
    plain.yaml()
}

/// Runs `portcullis key`, and gives what it printed or what it complained of.
pub(crate) fn key_in(folder: &Path, arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(binary());
    command.arg("key").args(arguments).args(["--file", "partners.keys"]).current_dir(folder);
    let output = output_of(&mut command);
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON, as it is piped")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {value}")).to_owned()
}

/// A gateway whose API takes keys, and one key that is there from the beginning.
struct World {
    gateway: Gateway,
    witness: Witness,
    first: Value,
}

impl World {
    fn new() -> Self {
        Self::before(Witness::ok())
    }

    fn before(witness: Witness) -> Self {
        let folder = TempDir::new();
        let first = key_in(folder.path(), &["create", "--name", "partner-a", "--role", "reader"]).expect("a key");
        let file = std::fs::read_to_string(folder.path().join("partners.keys")).expect("the file");
        let gateway = Gateway::start_with(&[("partners.keys", &file)], &yaml(&witness));
        Self { gateway, witness, first }
    }

    fn key(&self, arguments: &[&str]) -> Value {
        key_in(self.gateway.folder(), arguments).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn ask(&self, path: &str, fields: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        ask(self.gateway.http(), request).remove(0)
    }

    fn with(&self, path: &str, key: &str) -> (u16, String) {
        let answer = self.ask(path, &format!("X-Api-Key: {key}\r\n"));
        (answer.status, if answer.status == 200 { String::new() } else { answer.code() })
    }

    /// Waits until a key is answered so, which is when the gateway has read the file again.
    #[track_caller]
    fn comes_to(&self, key: &str, status: u16) {
        holds(&format!("the key to be answered with {status}"), || self.with("/read", key).0 == status);
    }
}

#[test]
fn a_key_of_the_command_lets_its_caller_in_and_goes_no_further() {
    let mut world = World::new();
    let key = text(&world.first, "key");
    assert!(key.len() == 55 && key.starts_with(&format!("pck_{}_", text(&world.first, "id"))), "{key}");
    for _ in 0..2 {
        assert_eq!(world.with("/read", &key), (200, String::new()));
    }
    let denied = world.ask("/pay", &format!("X-Api-Key: {key}\r\n"));
    // There is no more of a key to show, and a token would not help whoever has none.
    assert_eq!((denied.status, denied.code().as_str(), denied.field("www-authenticate")), (403, "access_denied", None));
    // Under other spellings, and on a route for everybody, it is not the upstream's to see either.
    assert_eq!(world.ask("/read", &format!("x-api-key: {key}\r\nX.Api.Key: {key}\r\n")).status, 200);
    assert_eq!(world.ask("/open", &format!("X-API-KEY: {key}\r\n")).status, 200);
    let seen = world.witness.texts();
    assert_eq!(seen.len(), 4);
    assert!(!seen.concat().to_ascii_lowercase().contains("pck_") && !seen.concat().contains(&key), "{seen:#?}");
    let records = world.gateway.records_when(5);
    let told = ["provider", "principal", "principal_client"].map(|name| records[0][name].clone());
    assert_eq!(json!(told), json!(["partners", "partner-a", text(&world.first, "id")]), "{}", records[0]);
    let everything = format!("{}{}{}", world.gateway.access_log(), world.gateway.stderr(), world.gateway.stdout());
    assert!(!everything.contains(&key[17..]), "no key in any log");
    let file = std::fs::read_to_string(world.gateway.folder().join("partners.keys")).expect("the file");
    assert!(!file.contains(&key[17..]), "no key in the file");
    world.gateway.is_well();
}

#[test]
fn keys_that_are_none_are_refused_in_the_same_words() {
    let mut world = World::new();
    let key = text(&world.first, "key");
    let missing = world.ask("/read", "");
    assert_eq!((missing.status, missing.code().as_str()), (401, "credentials_missing"));
    assert_eq!(missing.field("www-authenticate"), Some("ApiKey realm=\"api\", header=\"x-api-key\""));
    let stranger = TempDir::new();
    let unlisted = text(&key_in(stranger.path(), &["create", "--name", "partner-a", "--role", "reader"]).expect("a key"), "key");
    let (cut, more, other_case) = (key[..54].to_owned(), format!("{key}0"), key.to_ascii_uppercase());
    let swapped = format!("{}{}", &key[..54], if key.ends_with('0') { '1' } else { '0' });
    let mut odd: Vec<String> = [&cut, &more, &other_case, &swapped, &unlisted, &format!("{key}, {key}"), &format!("Bearer {key}")]
        .into_iter()
        .map(|odd| format!("X-Api-Key: {odd}\r\n"))
        .collect();
    odd.extend(
        ["x".repeat(8_000), String::new(), "\u{e9}\u{20ac}".to_owned(), "pck_".to_owned()]
            .map(|odd| format!("X-Api-Key: {odd}\r\n")),
    );
    odd.push(format!("X-Api-Key: {key}\r\nX-Api-Key: {key}\r\n"));
    odd.push(format!("X-Api-Key: {key}\r\nx-api-key: {unlisted}\r\n"));
    let body = |answer: &Response| {
        let mut body = answer.json();
        body.as_object_mut().map(|body| body.remove("request_id"));
        body
    };
    let mut bodies = Vec::new();
    for fields in &odd {
        let answer = world.ask("/read", fields);
        assert_eq!((answer.status, answer.code().as_str()), (401, "credentials_invalid"), "{fields:.200}");
        assert_eq!(answer.field("www-authenticate"), Some("ApiKey realm=\"api\", header=\"x-api-key\""), "{fields:.200}");
        bodies.push(body(&answer));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
    // A byte that no field may have is refused before anybody asks whose key it is.
    assert_eq!(world.ask("/read", &format!("X-Api-Key: {key}\0\r\n")).code(), "request_malformed");
    assert_eq!(world.ask("/read", &format!("X-Api-Key: {}\r\n", "x".repeat(100_000))).status, 431);
    // A key where a token would stand, or in the path, is none.
    assert_eq!(world.ask("/read", &format!("Authorization: Bearer {key}\r\n")).status, 401);
    assert_eq!(world.ask(&format!("/read?api_key={key}"), "").status, 401);
    assert_eq!(world.witness.texts(), Vec::<String>::new());
    world.gateway.is_well();
}

#[test]
fn a_key_ends_when_it_is_revoked_has_expired_or_is_replaced() {
    let mut world = World::new();
    let (first, id) = (text(&world.first, "key"), text(&world.first, "id"));
    // A second one for the same partner, which ends soon; and one that ended long ago, as only the file can have it.
    let soon = world.key(&["create", "--name", "partner-a", "--role", "reader", "--expires", "90d"]);
    assert_eq!(soon["expires"].as_u64().map(|end| (end - unix_seconds()).div_ceil(86_400)), Some(90));
    world.comes_to(&text(&soon, "key"), 200);
    let file = std::fs::read_to_string(world.gateway.folder().join("partners.keys")).expect("the file");
    world.gateway.write("partners.keys", file.replace(&format!("\"expires\":{}", soon["expires"]), "\"expires\":1000000000"));
    world.comes_to(&text(&soon, "key"), 401);
    assert_eq!(world.with("/read", &first).0, 200, "the other one is as it was");
    // The new one is good at once and the old one still is, until its time is over.
    let next = world.key(&["rotate", &id, "--overlap", "24h"]);
    world.comes_to(&text(&next, "key"), 200);
    assert_eq!(world.with("/read", &first).0, 200);
    let listed = world.key(&["list"]);
    let old = listed.as_array().and_then(|keys| keys.iter().find(|key| key["id"] == json!(id))).expect("the old one").clone();
    let left = old["expires"].as_u64().expect("an end") - unix_seconds();
    assert!((86_000..=86_400).contains(&left) && old["state"] == "valid", "{old}");
    assert_eq!((&next["name"], &next["roles"]), (&json!("partner-a"), &json!(["reader"])));
    let last = world.key(&["rotate", &text(&next, "id"), "--overlap", "0s"]);
    world.comes_to(&text(&last, "key"), 200);
    assert_eq!(world.with("/read", &text(&next, "key")).0, 401);
    world.key(&["revoke", &text(&last, "id")]);
    world.comes_to(&text(&last, "key"), 401);
    for why in ["the key has been revoked", "the key has expired"] {
        holds(&format!("a record that says: {why}"), || world.gateway.records().iter().any(|record| record["detail"] == why));
    }
    assert!(key_in(world.gateway.folder(), &["revoke", "nobody"]).unwrap_err().contains("no key of the file has this id"));
    world.gateway.is_well();
}

#[test]
fn a_file_that_is_not_right_is_no_start_and_at_a_reload_replaces_nothing() {
    let world = World::new();
    let key = text(&world.first, "key");
    let file = std::fs::read_to_string(world.gateway.folder().join("partners.keys")).expect("the file");
    for (broken, said) in [
        (format!("{file}{{\"id\": \"a\"}}\n"), "partners.keys:3: `name` is missing"),
        (file.trim_end().to_owned(), "may have been cut off"),
        (String::new(), "the file is empty"),
        (format!("{file}{key}\n"), "partners.keys:3: column 1: the line is not one JSON object"),
    ] {
        world.gateway.write("partners.keys", &broken);
        holds("the broken file to be told of", || world.gateway.stderr().contains(said));
        assert_eq!(world.with("/read", &key).0, 200, "what was read before stays in force");
        let check = |folder: &Path| {
            let output = output_of(
                Command::new(binary()).args(["--format", "text", "check", "--config", "portcullis.yaml"]).current_dir(folder),
            );
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (sound, told) = check(world.gateway.folder());
        assert!(!sound && told.contains(said), "{told}");
        assert!(key_in(world.gateway.folder(), &["list"]).unwrap_err().contains(said.rsplit(": ").next().unwrap_or_default()));
    }
    std::fs::remove_file(world.gateway.folder().join("partners.keys")).expect("the file is there");
    holds("the missing file to be told of", || world.gateway.stderr().contains("cannot be read"));
    assert_eq!(world.with("/read", &key).0, 200);
    assert!(!world.gateway.stderr().contains(&key[17..]), "what may be a key is not told");
    world.gateway.write("partners.keys", &file);
    let next = world.key(&["create", "--name", "b", "--role", "reader"]);
    world.comes_to(&text(&next, "key"), 200);
}

#[test]
fn commands_at_once_lose_nothing_and_keep_the_files_access() {
    let folder = TempDir::new();
    let create =
        |name: usize| key_in(folder.path(), &["create", "--name", &format!("partner-{name}"), "--role", "reader"]).expect("a key");
    create(0);
    let path = folder.path().join("partners.keys");
    let mode = || std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("a mode can be set");
    std::fs::write(folder.path().join(".partners.keys.new"), "left behind").expect("a file");
    std::thread::scope(|scope| (1..=8).for_each(|name| drop(scope.spawn(move || create(name)))));
    let listed = key_in(folder.path(), &["list"]).expect("a list");
    let mut names: Vec<&str> = listed.as_array().expect("keys").iter().filter_map(|key| key["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!((names.len(), names[8], mode()), (9, "partner-8", 0o640));
    assert!(listed.as_array().is_some_and(|keys| keys.iter().all(|key| key.get("key").is_none() && key.get("hash").is_none())));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("the folder").filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["partners.keys"], "nothing is left behind");
}

#[test]
fn a_hundred_thousand_keys_of_another_program_are_known() {
    let mut world = World::new();
    let old = |number: usize| format!("legacy-{number:06}-3f0d6a5e93b14f77");
    let mut lines = String::new();
    for number in 0..100_000 {
        let _written = writeln!(lines, "{{\"key\":\"{}\",\"name\":\"partner-{number}\",\"roles\":[\"reader\"]}}", old(number));
    }
    world.gateway.write("old.jsonl", lines);
    assert_eq!(world.key(&["import", "old.jsonl"]), json!({ "imported": 100_000 }));
    world.comes_to(&old(99_999), 200);
    for (number, status) in [(0, 200), (50_000, 200), (100_000, 401)] {
        assert_eq!(world.with("/read", &old(number)).0, status, "{number}");
    }
    assert_eq!(world.with("/read", &text(&world.first, "key")).0, 200);
    assert!(key_in(world.gateway.folder(), &["import", "old.jsonl"]).unwrap_err().contains("nothing was imported"));
    world.gateway.is_well();
}

#[test]
fn a_key_and_a_token_are_two_ways_in_and_both_at_once_are_none() {
    let (folder, witness, signer) = (TempDir::new(), Witness::ok(), SigningKey::p256("k"));
    let key = text(&key_in(folder.path(), &["create", "--name", "partner-a", "--role", "reader"]).expect("a key"), "key");
    let file = std::fs::read_to_string(folder.path().join("partners.keys")).expect("the file");
    let mut plain = Plain::to(witness.address());
    plain.routes = "- { name: read, methods: [GET], path: \"/read\", access: { allow: [ { roles: [partners/reader] }, { scopes: [read] } ] } }";
    plain.api = "authenticate: { any_of: [corp, partners], audiences: [\"https://api.test\"] }";
    plain.sections = "identity:\n  api_keys: { partners: { store: { file: partners.keys } } }\n  \
                      providers: { corp: { issuer: \"https://id.test\", keys: { file: id.json } } }";
    let gateway = Gateway::start_with(&[("partners.keys", &file), ("id.json", &key_set(&[&signer]))], &plain.yaml());
    let mut claims = claims("https://id.test", "https://api.test");
    claims["scope"] = json!("read");
    let token = signer.token(&claims);
    let ask = |fields: &str| {
        ask(gateway.http(), format!("GET /read HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n")).remove(0)
    };
    let (by_key, by_token) = (format!("X-Api-Key: {key}\r\n"), format!("Authorization: Bearer {token}\r\n"));
    assert_eq!((ask(&by_key).status, ask(&by_token).status), (200, 200));
    let both = ask(&format!("{by_key}{by_token}"));
    assert_eq!((both.status, both.code().as_str()), (400, "credentials_ambiguous"));
    let (none, bad_key) = (ask(""), ask("X-Api-Key: nothing\r\n"));
    for answer in [none, bad_key] {
        assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"api\", ApiKey realm=\"api\", header=\"x-api-key\""));
    }
    let command = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["--format", "json"]).args(arguments).args(["--config", "portcullis.yaml"]).current_dir(gateway.folder());
        serde_json::from_slice::<Value>(&output_of(&mut command).stdout).expect("JSON")
    };
    assert_eq!(command(&["exposure"])[0]["credentials"], json!(["token", "key"]));
    let explain = |role: &str| command(&["explain", "--request", "GET", "https://a.test/read", "--as", "partners", "--role", role]);
    assert_eq!((&explain("reader")["allow_line"], &explain("writer")["decision"]), (&json!(1), &json!("access_denied")));
}

#[test]
fn what_goes_on_by_a_key_ends_when_it_is_revoked_at_the_gateway() {
    let world = World::before(Witness::scripted(|side| {
        let Some(request) = side.request() else { return };
        if request.starts_with(b"GET /read?events") {
            side.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n");
            side.drain();
        } else {
            side.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    }));
    let (key, id) = (text(&world.first, "key"), text(&world.first, "id"));
    let mut open = RawClient::connect(world.gateway.http());
    open.send(format!("GET /read?events HTTP/1.1\r\nHost: a.test\r\nX-Api-Key: {key}\r\n\r\n"));
    assert_eq!(open.response_head().status, 200);
    let other = text(&world.key(&["create", "--name", "partner-b", "--role", "reader"]), "key");
    world.comes_to(&other, 200);
    let asked =
        |id: &str, provider: &str| crate::revocation::command(&world.gateway, &["revoke", "key", id, "--provider", provider]);
    assert!(asked(&id, "nobody").unwrap_err().contains("there is no store of keys `nobody`"));
    assert_eq!(asked(&id, "partners").unwrap()["kind"], "key");
    drop(open.rest());
    assert_eq!((world.with("/read", &key), world.with("/read", &other).0), ((401, "credentials_revoked".to_owned()), 200));
    let revoked = world.ask("/read", &format!("X-Api-Key: {key}\r\n"));
    let asked = revoked.field("www-authenticate").unwrap_or_default();
    assert!(asked.contains("ApiKey realm=\"api\", header=\"x-api-key\"") && !asked.contains("error="), "{asked}");
}

fn uses_file(world: &World) -> std::path::PathBuf {
    world.gateway.folder().join("run/key-uses/partners.jsonl")
}

fn listed(world: &World, id: &str) -> Value {
    let socket = world.gateway.folder().join("run/portcullis.sock");
    let all = world.key(&["list", "--socket", &socket.to_string_lossy()]);
    all.as_array().and_then(|keys| keys.iter().find(|key| key["id"] == json!(id))).expect("the key").clone()
}

#[test]
fn when_a_key_was_used_last_is_shown_and_outlives_upgrades_and_crashes() {
    let mut world = World::new();
    let (key, id) = (text(&world.first, "key"), text(&world.first, "id"));
    let before = unix_seconds();
    let unused = listed(&world, &id);
    assert!(unused["used"].is_null() && unused["state"] == "valid" && unused["used_known_since"].is_u64(), "{unused}");
    assert_eq!(world.with("/read", "nothing").0, 401);
    assert!(listed(&world, &id)["used"].is_null(), "what is refused is no use");
    assert_eq!(world.with("/read", &key).0, 200);
    let first = listed(&world, &id)["used"].as_u64().expect("a use");
    assert!((before..=unix_seconds()).contains(&first), "{first}");
    // A file that is read again forgets nothing, and its new keys are known.
    let next = world.key(&["create", "--name", "b", "--role", "reader"]);
    world.comes_to(&text(&next, "key"), 200);
    assert!(listed(&world, &id)["used"].as_u64() >= Some(first) && listed(&world, &text(&next, "id"))["used"].is_u64());
    world.gateway.upgrade(&[]).expect("an upgrade");
    holds("the version before to have written what it knew", || listed(&world, &id)["used"].as_u64() >= Some(first));
    assert_eq!(world.with("/read", &key).0, 200);
    holds("the uses to be on the disk", || std::fs::read_to_string(uses_file(&world)).is_ok_and(|text| text.contains(&id)));
    world.gateway.kill_and_restart();
    assert!(listed(&world, &id)["used"].as_u64() >= Some(first));
    assert!(!std::fs::read_to_string(uses_file(&world)).expect("the file").contains(&key[17..]), "no key in it");
    let wrong = key_in(world.gateway.folder(), &["list", "--socket", "run/nobody.sock"]).unwrap_err();
    assert!(wrong.contains("no gateway answers there"), "{wrong}");
}

#[test]
fn a_key_that_nobody_has_used_for_too_long_is_refused_and_audited() {
    let world = World::new();
    let (key, id) = (text(&world.first, "key"), text(&world.first, "id"));
    assert_eq!(world.with("/read", &key).0, 200);
    world.gateway.configure(&world.gateway.config().replace("X-Api-Key, ", "X-Api-Key, idle_after: 90d, "));
    world.gateway.reaches_generation(2);
    assert_eq!((world.with("/read", &key).0, listed(&world, &id)["state"].clone()), (200, json!("valid")));
    // Another gateway finds that the key was used a hundred days ago, and another one that uses are not known for long.
    let file = std::fs::read_to_string(world.gateway.folder().join("partners.keys")).expect("the file");
    let old_file = file.replace(&format!("\"created\":{}", world.first["created"]), "\"created\":1000000000");
    let ago = |days: u64| unix_seconds() - days * 86_400;
    let other = |since: u64, used: u64| {
        let uses = format!("{{\"portcullis_key_uses\":1,\"since\":{since}}}\n{{\"id\":\"{id}\",\"used\":{used}}}\n");
        let witness = Witness::ok();
        let files = [("partners.keys", &*old_file), ("run/key-uses/partners.jsonl", &*uses)];
        let gateway = Gateway::start_with(&files, &yaml(&witness).replace("X-Api-Key, ", "X-Api-Key, idle_after: 90d, "));
        World { gateway, witness, first: world.first.clone() }
    };
    let mut idle = other(ago(200), ago(100));
    assert_eq!(idle.with("/read", &key), (401, "credentials_invalid".to_owned()));
    assert_eq!(idle.with("/read", &key).0, 401, "asking does not make it used");
    assert_eq!(listed(&idle, &id)["state"], "idle");
    let audit = || std::fs::read_to_string(idle.gateway.folder().join("run/audit.log")).unwrap_or_default();
    holds("the refusal to be audited", || audit().contains(&format!("key `{id}` of `partners` refused: idle")));
    assert_eq!(idle.gateway.stderr().matches("\"key_idle\"").count(), 1, "it is told once");
    let why = "the key has not been used for `idle_after` of its store";
    holds("a record that says why", || idle.gateway.records().iter().any(|record| record["detail"] == why));
    // Somebody who needs it gets a new one; what was rotated has no past.
    let next = idle.key(&["rotate", &id, "--overlap", "1h"]);
    idle.comes_to(&text(&next, "key"), 200);
    idle.gateway.is_well();
    let young = other(ago(10), ago(10));
    assert_eq!(young.with("/read", &key).0, 200);
    let short = other(ago(200), ago(89));
    assert_eq!(short.with("/read", &key).0, 200);
}

#[test]
fn uses_that_cannot_be_read_are_no_start() {
    let folder = TempDir::new();
    key_in(folder.path(), &["create", "--name", "a", "--role", "reader"]).expect("a key");
    folder.write("run/key-uses/partners.jsonl", "nonsense\n");
    let witness = Witness::ok();
    folder.write(
        "portcullis.yaml",
        yaml(&witness).replace("@http@", &free_port().to_string()).replace("@probes@", &free_port().to_string()),
    );
    let output = output_of(Command::new(binary()).args(["run", "--config", "portcullis.yaml"]).current_dir(folder.path()));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("partners.jsonl") && told.contains("take it away"), "{told}");
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/api-keys.md")).expect("the guide");
    let witness = Witness::ok();
    let ports = [(8443, free_port()), (9464, free_port()), (3000, witness.address().port())];
    let (folder, authority) = (TempDir::new(), Authority::new());
    let leaf = authority.leaf(&["api.example.com"]);
    folder.write("tls/ca.crt", &authority.certificate);
    folder.write("tls/api.crt", &leaf.certificate);
    folder.write("tls/api.key", &leaf.key);
    let [configuration] = blocks(&page, "yaml").try_into().expect("one configuration");
    folder.write("portcullis.yaml", with_ports(&configuration, &ports));
    let said = run(folder.path(), &with_ports(&blocks(&page, "sh").concat(), &ports));
    assert!(said.contains("credentials_revoked") && said.contains("access_denied"), "{said}");
    assert_eq!(witness.texts().iter().filter(|text| text.contains("pck_")).count(), 0, "{:#?}", witness.texts());
}
