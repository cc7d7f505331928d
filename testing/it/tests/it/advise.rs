//! Advice by real traffic: what nobody needed is found, and what is written instead lets every recorded call through.

use crate::operations::{blocks, pages, run, with_ports};
use portcullis_testing_kit::{
    Authority, Gateway, Plain, SigningKey, TempDir, Witness, ask, binary, claims, free_port, holds, key_set, output_of,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const ROUTES: &str = "- { name: health, methods: [GET], path: \"/health\", access: { public: true } }\n\
                      - { name: docs, methods: [GET], path: \"/docs\", access: { public: true } }\n\
                      - { name: list, methods: [GET], path: \"/list\", access: { allow: [ { roles: [reader, corp/auditor] }, { roles: [corp/admin] }, { scopes: [all] } ] } }\n\
                      - { name: pay, methods: [POST], path: \"/pay/{id}\", access: { allow: { roles: [corp/admin, corp/clerk], scopes: [\"orders:pay\"] } } }\n\
                      - { name: wipe, methods: [DELETE], path: \"/list\", access: { allow: { roles: [corp/root] } } }";

struct World {
    gateway: Gateway,
    _witness: Witness,
    signer: SigningKey,
    partner: String,
}

fn portcullis(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = output_of(Command::new(binary()).args(arguments).current_dir(folder));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    let (code, told, problem) = portcullis(folder, arguments);
    assert_eq!(code, Some(0), "{problem}");
    serde_json::from_str(&told).expect("JSON, as it is piped")
}

impl World {
    fn new() -> Self {
        let (folder, witness, signer) = (TempDir::new(), Witness::ok(), SigningKey::p256("k"));
        let create = |name: &str, roles: &[&str]| {
            let roles: Vec<&str> = roles.iter().flat_map(|role| ["--role", role]).collect();
            json_of(folder.path(), &[&["key", "create", "--file", "partners.keys", "--name", name][..], &roles].concat())
        };
        let made = create("shop", &["reader", "writer"]);
        let other = create("forgotten", &["reader"]);
        // All of them have been there for long.
        let keys = std::fs::read_to_string(folder.path().join("partners.keys")).expect("the file");
        let long_ago =
            |keys: &str, made: &Value| keys.replace(&format!("\"created\":{}", made["created"]), "\"created\":1000000000");
        let keys = long_ago(&long_ago(&keys, &made), &other);
        let mut plain = Plain::to(witness.address());
        plain.routes = ROUTES;
        plain.api = "authenticate: { any_of: [corp, partners], audiences: [\"https://api.test\"] }";
        plain.sections = "identity:\n  api_keys: { partners: { store: { file: partners.keys } } }\n  \
                          providers: { corp: { issuer: \"https://id.test\", keys: { file: id.json }, roles: { claim: roles } } }\n\
                          roles: { reader: [corp/reader, partners/reader] }";
        let gateway = Gateway::start_with(&[("partners.keys", &keys), ("id.json", &key_set(&[&signer]))], &plain.yaml());
        let partner = made["key"].as_str().expect("a key").to_owned();
        Self { gateway, _witness: witness, signer, partner }
    }

    fn status(&self, request: &str, field: &str) -> u16 {
        let request = format!("{request} HTTP/1.1\r\nHost: a.test\r\n{field}Content-Length: 0\r\nConnection: close\r\n\r\n");
        ask(self.gateway.http(), request).remove(0).status
    }

    fn token(&self, roles: &[&str], scope: &str) -> String {
        let mut claims = claims("https://id.test", "https://api.test");
        claims["roles"] = json!(roles);
        claims["scope"] = json!(scope);
        format!("Authorization: Bearer {}\r\n", self.signer.token(&claims))
    }

    /// What is called; each is allowed but the last.
    fn traffic(&self) -> Vec<u16> {
        let clerk = self.token(&["clerk", "reader", "root"], "orders:pay other");
        vec![
            self.status("GET /health", ""),
            self.status("GET /list", &format!("X-Api-Key: {}\r\n", self.partner)),
            self.status("GET /list", &clerk),
            self.status("POST /pay/17", &clerk),
            self.status("POST /pay/18", &self.token(&["admin"], "other")),
        ]
    }

    fn advise(&self, arguments: &[&str]) -> Value {
        json_of(self.gateway.folder(), &[&["advise", "--config", "portcullis.yaml"], arguments].concat())
    }
}

/// The configuration with what the advice says, from its end to its begin.
fn applied(text: &str, advice: &[Value]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut at: Vec<(usize, usize, &Value)> = advice
        .iter()
        .filter(|one| one["place"].as_str().is_some_and(|place| place.contains("portcullis.yaml:")))
        .map(|one| {
            let mut parts = one["place"].as_str().unwrap_or_default().rsplit(':').map(|part| part.parse().expect("a number"));
            let column: usize = parts.next().expect("a column");
            (parts.next().expect("a line"), column, one)
        })
        .collect();
    at.sort_unstable_by_key(|(line, column, _)| std::cmp::Reverse((*line, *column)));
    for (line, column, one) in at {
        let (begin, end) = lines[line - 1].split_at(column - 1);
        let (begin, end) = (begin.to_owned(), end.to_owned());
        match one["kind"].as_str().expect("a kind") {
            "route_unused" | "public_route_unused" => drop(lines.remove(line - 1)),
            "line_unused" => {
                let rest = end.split_once('}').expect("a line in one line").1;
                lines[line - 1] = format!("{}{rest}", begin.trim_end().trim_end_matches(','));
            }
            "roles_unused" => {
                let rest = end.split_once('}').expect("a line in one line").1;
                lines[line - 1] = format!("{begin}{}{rest}", one["write"].as_str().expect("what to write"));
            }
            other => panic!("{other} is not in the configuration"),
        }
    }
    format!("{}\n", lines.join("\n"))
}

#[test]
fn what_nobody_needed_is_found_and_the_recorded_calls_pass_without_it() {
    let mut world = World::new();
    assert_eq!(world.traffic(), [200, 200, 200, 200, 403]);
    let records = world.gateway.records_when(5);
    let words = |name: &str| {
        let mut all: Vec<Value> = records.iter().filter_map(|record| record.get(name).cloned()).collect();
        all.sort_by_key(ToString::to_string);
        all
    };
    assert_eq!(words("allow_roles"), [json!(["corp/clerk"]), json!(["corp/reader"]), json!(["partners/reader"])]);
    assert_eq!(words("allow_scopes"), [json!(["orders:pay"])]);
    let told = world.advise(&["--tests", "calls.yaml", "access.log"]);
    let advice = told["advice"].as_array().expect("advice").clone();
    let brief = |one: &Value| {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let of = if one["key"].is_null() { format!("{} {}", text("route"), one["allow_line"]) } else { text("name") };
        (text("kind"), of, text("write"))
    };
    let found: Vec<_> = advice.iter().map(brief).collect();
    let kinds: Vec<(&str, &str)> = found.iter().map(|(kind, of, _)| (&**kind, &**of)).collect();
    let expected = [
        ("public_route_unused", "docs null"),
        ("roles_unused", "list 1"),
        ("line_unused", "list 2"),
        ("line_unused", "list 3"),
        ("roles_unused", "pay 1"),
        ("route_unused", "wipe null"),
        ("key_unused", "forgotten"),
        ("key_holds_more", "shop"),
    ];
    assert_eq!(kinds, expected, "{told:#}");
    assert_eq!(found[1].2, "{ roles: [corp/reader, partners/reader] }");
    assert_eq!(found[4].2, "{ roles: [corp/clerk], scopes: [\"orders:pay\"] }");
    assert!(found[7].2.ends_with("--name shop --role reader"), "{}", found[7].2);
    assert_eq!(
        (&told["unused_roles"], &told["unused_scopes"]),
        (&json!(["corp/admin", "corp/auditor", "corp/root"]), &json!(["all"]))
    );
    assert!(told["enough"] == false && told["doubts"].to_string().contains("the records begin"), "{told:#}");
    // It is taken: nobody may do more, somebody may do less, and what was called still passes; in the tests and in the running gateway.
    let (folder, before) = (world.gateway.folder().to_owned(), world.gateway.config());
    let after = applied(&before, &advice);
    std::fs::write(folder.join("next.yaml"), &after).expect("a file");
    let plan = json_of(&folder, &["plan", "portcullis.yaml", "next.yaml"]);
    assert!(plan["widens"] == false && plan.to_string().contains("closes"), "{plan:#}");
    let tests = json_of(&folder, &["test", "calls.yaml", "--config", "next.yaml"]);
    assert_eq!((&tests["passed"], &tests["failed"]), (&json!(4), &json!(0)), "{tests:#}");
    world.gateway.configure(&after);
    world.gateway.reaches_generation(2);
    assert_eq!(world.traffic(), [200, 200, 200, 200, 403]);
    world.gateway.records_when(10);
    let again = world.advise(&["access.log"]);
    let left: Vec<&str> = again["advice"].as_array().expect("advice").iter().filter_map(|one| one["kind"].as_str()).collect();
    assert_eq!(left, ["key_unused", "key_holds_more"], "{again:#}");
    // Had something been taken that was called, the tests would say so.
    std::fs::write(folder.join("next.yaml"), after.replace("corp/clerk", "corp/admin")).expect("a file");
    assert_eq!(portcullis(&folder, &["test", "calls.yaml", "--config", "next.yaml"]).0, Some(1));
    world.gateway.is_well();
}

#[test]
fn rotated_files_a_pipe_and_records_of_other_days_and_versions_are_told_apart() {
    let world = World::new();
    assert_eq!(world.traffic(), [200, 200, 200, 200, 403]);
    world.gateway.records_when(5);
    let folder = world.gateway.folder();
    let log = world.gateway.access_log();
    let day = |record: &str, days: u64| {
        let mut record: Value = serde_json::from_str(record).expect("a record");
        let at = portcullis_testing_kit::unix_seconds() - days * 86_400;
        let date = output_of(Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%Y-%m-%dT%H:%M:%S.000000Z"]));
        record["time"] = json!(String::from_utf8_lossy(&date.stdout).trim());
        record
    };
    let lines: Vec<&str> = log.lines().collect();
    let paid = lines.iter().find(|line| line.contains("/pay/17")).expect("the record");
    // Of a version that did not tell roles, of a line that is gone, and of long ago by somebody who is an admin.
    let mut old = day(paid, 20);
    old.as_object_mut().expect("an object").remove("allow_roles");
    let mut gone = day(paid, 10);
    gone["allow_roles"] = json!(["corp/nobody"]);
    let mut ancient = day(paid, 200);
    ancient["allow_roles"] = json!(["corp/admin"]);
    std::fs::write(folder.join("access.log.1"), format!("{old}\n{gone}\nnonsense\n{ancient}\n")).expect("a file");
    let told = world.advise(&["access.log.1", "access.log"]);
    let numbers = ["records", "older", "not_understood"].map(|name| told[name].as_u64());
    assert_eq!(numbers, [Some(7), Some(1), Some(1)], "{told:#}");
    let doubts = told["doubts"].to_string();
    for said in ["there is no record", "1 allowed calls were by a route or line", "1 allowed calls do not say", "access.log.1:3"] {
        assert!(doubts.contains(said), "{said}: {doubts}");
    }
    let pay = told["advice"].as_array().expect("advice").iter().filter(|one| one["route"] == "pay").count();
    assert_eq!(pay, 0, "what is not told counts as used: {told:#}");
    assert_eq!(
        (&told["enough"], &told["covers"]["days_with_records"]),
        (&json!(true), &json!(3)),
        "older ones show that the time is whole"
    );
    // In text and from standard input, the same.
    let mut command = Command::new("sh");
    let script = "cat access.log | \"$0\" --format text advise --config portcullis.yaml --days 30";
    command.args(["-c", script]).arg(binary()).current_dir(folder);
    let said = String::from_utf8_lossy(&output_of(&mut command).stdout).into_owned();
    for told in ["5 records, from", "line 2 of `allow` of a/list", "write  take it out"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    for (arguments, told) in [
        (vec!["advise", "--config", "portcullis.yaml", "partners.keys"], "this is no access log"),
        (vec!["advise", "--config", "portcullis.yaml", "gone.log"], "cannot be read"),
        (vec!["advise", "--config", "gone.yaml", "access.log"], "gone.yaml"),
    ] {
        let (code, out, err) = portcullis(folder, &arguments);
        assert!(code == Some(1) && format!("{out}{err}").contains(told), "{told}: {out}{err}");
    }
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/least-privilege.md")).expect("the guide");
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
    for told in ["route orders/docs", "line 2 of `allow` of orders/create", "2 tests: 2 passed", "nobody may do more than before"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    holds("four calls to have come through", || witness.texts().len() == 4);
}
