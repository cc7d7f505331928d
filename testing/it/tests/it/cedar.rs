//! Policies in Cedar decide on real requests with real tokens, wherever what they ask of is.

use crate::operations::{blocks, pages, run};
use portcullis_testing_kit::{
    Authority, Gateway, Plain, Response, SigningKey, TempDir, Witness, ask, binary, claims, key_set, output_of,
};
use serde_json::{Value, json};
use std::process::Command;

const API: &str = "authenticate: { any_of: [corp], audiences: [\"https://api.test\"] }";
const SECTIONS: &str = "identity:\n  providers: { corp: { issuer: \"https://id.test\", keys: { file: id.json }, roles: { claim: roles } } }\n\
                        roles: { admin: [corp/boss] }\n\
                        consumers: { mobile: { match: { provider: corp, claim: { azp: app } } } }";
const ROUTES: &str = "- { name: read, methods: [GET, PUT], path: \"/people/{who}/{*rest}\", access: { policy: api.cedar } }\n\
                      - { name: list, methods: [GET], path: /people, access: { allow: { scopes: [list] }, policy: api.cedar } }";
const OWN: &str = "permit (principal, action == Action::\"a/read\", resource)\nwhen { context.path.who == principal.subject };\n";

struct World {
    gateway: Gateway,
    signer: SigningKey,
    witness: Witness,
}

impl World {
    fn new(policies: &str) -> Self {
        let (witness, signer) = (Witness::ok(), SigningKey::p256("k"));
        let plain = Plain { routes: ROUTES, api: API, sections: SECTIONS, ..Plain::to(witness.address()) };
        let gateway = Gateway::start_with(&[("api.cedar", policies), ("id.json", &key_set(&[&signer]))], &plain.yaml());
        Self { gateway, signer, witness }
    }

    /// The answer to a request of somebody with these claims.
    fn ask(&self, method: &str, target: &str, own: &Value) -> Response {
        let mut claims = claims("https://id.test", "https://api.test");
        claims["sub"] = json!("alice");
        own.as_object().expect("claims").iter().for_each(|(name, value)| claims[name] = value.clone());
        let token = self.signer.token(&claims);
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        ask(self.gateway.http(), request).remove(0)
    }

    fn status(&self, target: &str, own: &Value) -> u16 {
        self.ask("GET", target, own).status
    }

    /// Puts other policies in force.
    fn permit(&self, policies: &str, generation: u64) {
        self.gateway.write("api.cedar", policies);
        self.gateway.reaches_generation(generation);
    }

    fn detail(&self) -> String {
        self.gateway.record_of("access_denied")["detail"].as_str().expect("a detail").to_owned()
    }
}

/// A policy that permits reading when something holds.
fn when(condition: &str) -> String {
    format!("permit (principal, action == Action::\"a/read\", resource)\nwhen {{ {condition} }};\n")
}

#[test]
fn e_objects_are_for_those_whose_they_are_and_nobody_is_let_in_by_default() {
    let mut world = World::new(OWN);
    assert_eq!(world.status("/people/alice/", &json!({})), 200);
    assert_eq!(world.status("/people/%61lice/orders", &json!({})), 200);
    for target in ["/people/bob/", "/people/bob/alice", "/people/Alice/", "/people/alice%20/"] {
        assert_eq!(world.status(target, &json!({})), 403, "{target}");
    }
    assert_eq!(world.status("/people/bob/", &json!({ "sub": "bob" })), 200);
    // Of the other route the file says nothing, so its line alone lets nobody in.
    assert_eq!(world.status("/people", &json!({ "scope": "list" })), 403);
    assert!(world.detail().contains("no policy of api.cedar permits it"), "{}", world.detail());
    let refused = world.ask("GET", "/people/bob/", &json!({}));
    assert!(!refused.text().contains("cedar") && !refused.text().contains("policy"), "{refused:?}");
    assert_eq!(world.witness.texts().len(), 3, "what is refused goes nowhere");
    world.gateway.is_well();
}

#[test]
fn e_query_network_time_method_role_scope_and_consumer_decide() {
    let mut world = World::new(OWN);
    let (dry, app) = ("/people/x/?dry=1", json!({ "azp": "app" }));
    let cases = [
        (
            "context.query.hasTag(\"dry\") && context.query.getTag(\"dry\") == [\"1\"]",
            dry,
            json!({}),
            "/people/x/?dry=1&dry=2",
            json!({}),
        ),
        (
            "context.query.hasTag(\"a b\") && context.query.getTag(\"a b\") == [\"&\"]",
            "/people/x/?a%20b=%26",
            json!({}),
            dry,
            json!({}),
        ),
        (
            "context.method == \"GET\" && principal in Role::\"admin\"",
            dry,
            json!({ "roles": ["boss"] }),
            dry,
            json!({ "roles": ["admin"] }),
        ),
        ("principal in Role::\"corp/chief\"", dry, json!({ "roles": ["chief"] }), dry, json!({ "roles": ["boss"] })),
        ("principal in Scope::\"read\"", dry, json!({ "scope": "a read" }), dry, json!({ "scope": "reader" })),
        ("principal has consumer && principal.consumer == \"mobile\"", dry, app, dry, json!({ "azp": "other" })),
        (
            "principal.credential == \"token\" && context.address.isLoopback() && context.path.rest == \"a/b\"",
            "/people/x/a/b",
            json!({}),
            dry,
            json!({}),
        ),
        (
            "context.address.isInRange(ip(\"127.0.0.0/8\")) && context.time > datetime(\"2020-01-01\")",
            dry,
            json!({}),
            "/people",
            json!({}),
        ),
    ];
    for (generation, (condition, good, who, bad, other)) in (2..).zip(cases) {
        world.permit(&when(condition), generation);
        assert_eq!((world.status(good, &who), world.status(bad, &other)), (200, 403), "{condition}");
    }
    world.permit(&when("context.time < datetime(\"2020-01-01\") || context.address.isInRange(ip(\"10.0.0.0/8\"))"), 10);
    assert_eq!(world.status(dry, &json!({})), 403);
    world.gateway.is_well();
}

#[test]
fn e_what_forbids_wins_and_a_failure_refuses_and_the_record_alone_says_which() {
    let world = World::new(&format!("{OWN}\nforbid (principal, action, resource)\nwhen {{ context.query.hasTag(\"admin\") }};\n"));
    assert_eq!(world.status("/people/alice/", &json!({})), 200);
    let refused = world.ask("GET", "/people/alice/?admin", &json!({}));
    assert!(refused.status == 403 && !refused.text().contains("cedar"), "{refused:?}");
    assert_eq!(world.detail(), "forbidden by api.cedar:4");
    // The types are right and the number is not: it is beyond what there is.
    let failing =
        "forbid (principal, action, resource)\nwhen { 9223372036854775807 + (if context.method == \"GET\" then 1 else 0) < 0 };\n";
    world.permit(&format!("{OWN}{failing}"), 2);
    assert_eq!(world.status("/people/alice/", &json!({})), 403);
    assert_eq!(world.ask("PUT", "/people/alice/", &json!({})).status, 200);
    let records = world.gateway.records_when(4);
    let detail = records.iter().filter_map(|record| record["detail"].as_str()).find(|detail| detail.contains("failed"));
    assert!(detail.is_some_and(|detail| detail.contains("api.cedar:3")), "{records:#?}");
}

#[test]
fn e_lines_and_policies_must_both_let_in() {
    let world = World::new("permit (principal in Scope::\"extra\", action == Action::\"a/list\", resource);");
    let with = |scope: &str| world.status("/people", &json!({ "scope": scope }));
    assert_eq!([with("list extra"), with("list"), with("extra"), with("")], [200, 403, 403, 403]);
}

#[test]
fn e142_policies_that_change_are_in_force_at_once_and_wrong_ones_replace_nothing() {
    let world = World::new(OWN);
    assert_eq!(world.status("/people/alice/", &json!({})), 200);
    world.permit(&format!("{OWN}forbid (principal, action, resource);\n"), 2);
    assert_eq!(world.status("/people/alice/", &json!({})), 403);
    for (count, wrong) in
        (1..).zip([when("context.path.whom == \"x\""), when("principal.subject == 5"), "permit".to_owned(), String::new()])
    {
        world.gateway.write("api.cedar", &wrong);
        world.gateway.refuses_reload(count);
        assert_eq!(world.status("/people/alice/", &json!({})), 403, "{wrong}");
    }
    assert!(world.gateway.stderr().contains("api.cedar:2:8"), "{}", world.gateway.stderr());
}

#[test]
fn commands_say_what_policies_decide_and_whether_a_change_may_widen() {
    let folder = TempDir::new();
    let plain = Plain { routes: ROUTES, api: API, sections: SECTIONS, ..Plain::to("127.0.0.1:7".parse().expect("an address")) };
    folder.write("id.json", key_set(&[&SigningKey::p256("k")]));
    let written = |name: &str, policies: &str| {
        folder.write(&format!("{name}.cedar"), policies);
        folder.write(
            &format!("{name}.yaml"),
            plain.yaml().replace("api.cedar", &format!("{name}.cedar")).replace("@http@", "8").replace("@probes@", "9"),
        );
    };
    let more = format!("{OWN}forbid (principal, action, resource)\nwhen {{ context.path.rest == \"secret\" }};\n")
        .replace("action, ", "action == Action::\"a/read\", ");
    written("old", OWN);
    written("stricter", &more);
    written("looser", &when("true"));
    let run = |arguments: &[&str]| {
        let output = output_of(Command::new(binary()).args(arguments).current_dir(folder.path()));
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let plan = |old: &str, new: &str| run(&["plan", &format!("{old}.yaml"), &format!("{new}.yaml"), "--format", "text"]);
    for (old, new, code, told) in [
        ("old", "stricter", 0, "policies of `stricter.cedar` forbid more"),
        ("stricter", "old", 3, "policies of `old.cedar` have changed, and may let more through"),
        ("old", "looser", 3, "policies of `looser.cedar` have changed, and may let more through"),
    ] {
        let (ended, said) = plan(old, new);
        assert!(ended == Some(code) && said.contains(told), "{old} {new}: {said}");
    }
    let explain = |path: &str| {
        let url = format!("http://a.test{path}");
        run(&[
            "explain",
            "--config",
            "stricter.yaml",
            "--format",
            "text",
            "--request",
            "GET",
            &url,
            "--as",
            "corp",
            "--subject",
            "alice",
        ])
        .1
    };
    let (good, bad, none) = (explain("/people/alice/x"), explain("/people/alice/secret"), explain("/people/bob/x"));
    assert!(good.contains("permitted by stricter.cedar:1") && good.contains("goes to"), "{good}");
    assert!(bad.contains("forbidden by stricter.cedar:3") && bad.contains("403 access_denied"), "{bad}");
    assert!(none.contains("no policy of stricter.cedar permits it"), "{none}");
    let (_, exposed) = run(&["exposure", "--config", "old.yaml", "--format", "text"]);
    assert!(exposed.contains("whom policies of old.cedar permit") && exposed.contains("scope list, whom policies"), "{exposed}");
    folder.write(
        "tests.yaml",
        "configuration: stricter.yaml\ntests:\n  - request: GET http://a.test/people/bob/x\n    caller: { provider: corp, subject: bob }\n    \
         expect: { decision: allow }\n  - request: GET http://a.test/people/bob/x\n    caller: { provider: corp }\n    \
         expect: { decision: refuse, status: 403, code: access_denied }\n",
    );
    let (ended, tested) = run(&["test", "tests.yaml", "--format", "text"]);
    assert!(ended == Some(0) && tested.contains("2 tests: 2 passed"), "{tested}");
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/policies.md")).expect("the guide");
    let (folder, leaf) = (TempDir::new(), Authority::new().leaf(&["api.example.com"]));
    let [configuration, tests] = blocks(&page, "yaml").try_into().expect("a configuration and tests");
    let [policies] = blocks(&page, "cedar").try_into().expect("policies");
    folder.write("tls/api.crt", &leaf.certificate);
    folder.write("tls/api.key", &leaf.key);
    folder.write("corp.jwks.json", key_set(&[&SigningKey::p256("k")]));
    folder.write("portcullis.yaml", configuration);
    folder.write("people.tests.yaml", tests);
    folder.write("people.cedar", policies);
    let said = run(folder.path(), &blocks(&page, "sh").concat());
    for told in [
        "6 tests: 6 passed",
        "forbidden by people.cedar:8",
        "whom policies of people.cedar permit",
        "action \"people/read\" appliesTo",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
}
