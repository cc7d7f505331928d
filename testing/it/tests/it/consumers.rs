//! Consumers: whoever they are known by, their requests are counted together, told in the record and to the upstream.

use portcullis_testing_kit::{Gateway, Plain, Response, SigningKey, TempDir, Witness, ask, binary, claims, key_set, output_of};
use serde_json::{Value, json};
use std::process::Command;

const ROUTES: &str =
    "- { name: read, methods: [GET], path: \"/read\", access: { allow: [ { roles: [partners/reader] }, { scopes: [read] } ] } }";
const OWN: &str = "- { name: own, methods: [GET], path: \"/read\", access: { allow: [ { consumers: [mobile] }, \
                   { roles: [partners/reader], consumers: [partner-a] } ] } }";
const API: &str = "authenticate: { any_of: [consumer, partners], audiences: [\"https://api.test\"] }\n    \
                   limits: [ { per: consumer, rate: 1/h, burst: 2 } ]\n    \
                   header_rules: { request: { set: { X-Plan-Of: \"{consumer}\" } } }";
const SECTIONS: &str = "identity:\n  api_keys: { partners: { store: { file: partners.keys } } }\n  \
                        providers: { consumer: { issuer: \"https://id.test\", keys: { file: id.json } } }\n\
                        consumers:\n  mobile: { match: { provider: consumer, claim: { tenant: mobile } } }\n  \
                        partner-a: { match: { api_key: partners/partner-a } }";

struct World {
    gateway: Gateway,
    witness: Witness,
    signer: SigningKey,
    keys: Vec<String>,
}

impl World {
    fn new(sections: &'static str) -> Self {
        Self::with(API, sections)
    }

    fn with(api: &'static str, sections: &'static str) -> Self {
        Self::of(ROUTES, api, sections)
    }

    fn of(routes: &'static str, api: &'static str, sections: &'static str) -> Self {
        let (folder, witness, signer) = (TempDir::new(), Witness::ok(), SigningKey::p256("k"));
        let key = |name: &&str| {
            let mut command = Command::new(binary());
            command
                .args(["key", "create", "--file", "partners.keys", "--role", "reader", "--name", name])
                .current_dir(folder.path());
            let made: Value = serde_json::from_slice(&output_of(&mut command).stdout).expect("a key in JSON");
            made["key"].as_str().expect("the key").to_owned()
        };
        let keys = ["partner-a", "partner-a", "partner-b"].iter().map(key).collect();
        let file = std::fs::read_to_string(folder.path().join("partners.keys")).expect("the file");
        let plain = Plain { routes, api, sections, ..Plain::to(witness.address()) };
        let gateway = Gateway::start_with(&[("partners.keys", &file), ("id.json", &key_set(&[&signer]))], &plain.yaml());
        Self { gateway, witness, signer, keys }
    }

    fn ask(&self, field: &str) -> Response {
        let request = format!("GET /read HTTP/1.1\r\nHost: a.test\r\nX-Plan-Of: me\r\n{field}\r\nConnection: close\r\n\r\n");
        ask(self.gateway.http(), request).remove(0)
    }

    fn by_key(&self, key: usize) -> Response {
        self.ask(&format!("X-Api-Key: {}", self.keys[key]))
    }

    fn by_token(&self, subject: &str, tenant: &Value) -> Response {
        let mut claims = claims("https://id.test", "https://api.test");
        (claims["sub"], claims["tenant"], claims["scope"]) = (json!(subject), tenant.clone(), json!("read"));
        self.ask(&format!("Authorization: Bearer {}", self.signer.token(&claims)))
    }
}

#[test]
fn a_consumer_is_one_by_whatever_credential_and_who_is_none_counts_alone() {
    let mut world = World::new(SECTIONS);
    // Two keys of one partner are one consumer; another partner is none, and counts for itself.
    assert_eq!([0, 1, 0, 2, 2, 2].map(|key| world.by_key(key).status), [200, 200, 429, 200, 200, 429]);
    // Whoever belongs to the tenant, the tenant is the consumer; others count one by one, whatever they
    // and their provider are called.
    let (mobile, other) = (json!("mobile"), json!("other"));
    assert_eq!(["alice", "bob", "carol"].map(|who| world.by_token(who, &mobile).status), [200, 200, 429]);
    assert_eq!(["alice", "alice", "alice", "partner-a"].map(|who| world.by_token(who, &other).status), [200, 200, 429, 200]);
    // A claim of two texts does not say which of them counts.
    assert_eq!(world.by_token("dave", &json!(["mobile", "other"])).status, 200);
    let refused = world.by_token("erin", &mobile);
    assert!(refused.field("ratelimit-policy").is_some_and(|policy| policy.starts_with("\"consumer\"")), "{refused:?}");
    let seen: Vec<String> = world.witness.texts();
    let told = |name: &str| seen.iter().filter(|text| text.contains(&format!("x-plan-of: {name}\r\n"))).count();
    assert_eq!((told("partner-a"), told("mobile"), told("-"), told("me")), (2, 2, 6, 0), "{seen:#?}");
    let records = world.gateway.records_when(15);
    let of = |name: &str| records.iter().filter(|record| record["consumer"] == name).count();
    assert_eq!((of("partner-a"), of("mobile")), (3, 4), "{records:#?}");
    world.gateway.is_well();
}

#[test]
fn a_line_may_name_consumers_and_nobody_else_gets_in_by_it_whatever_they_are_called() {
    let mut world = World::of(OWN, "authenticate: { any_of: [consumer, partners], audiences: [\"https://api.test\"] }", SECTIONS);
    assert_eq!([0, 1, 2].map(|key| world.by_key(key).status), [200, 200, 403]);
    let cases = [("alice", json!("mobile"), 200), ("mobile", json!("other"), 403), ("partner-a", json!(["mobile"]), 200)];
    for (who, tenant, status) in cases {
        assert_eq!(world.by_token(who, &tenant).status, status, "{who} {tenant}");
    }
    for tenant in [json!("partner-a"), json!("Mobile"), json!(["mobile", "x"]), Value::Null] {
        assert_eq!(world.by_token("alice", &tenant).status, 403, "{tenant}");
    }
    let record = world.gateway.record_of("access_denied");
    assert_eq!(record["detail"], "no line of the route's allow fits the caller");
    world.gateway.is_well();
}

#[test]
fn a_change_of_consumers_is_in_force_for_what_is_known_already() {
    let world = World::new(SECTIONS);
    let mobile = json!("mobile");
    assert_eq!(world.by_token("alice", &mobile).status, 200);
    let changed = world.gateway.config().replace("tenant: mobile", "tenant: desktop");
    world.gateway.configure(&changed);
    world.gateway.reaches_generation(2);
    assert_eq!(world.by_token("alice", &mobile).status, 200);
    let seen = world.witness.texts();
    assert!(seen[0].contains("x-plan-of: mobile\r\n") && seen[1].contains("x-plan-of: -\r\n"), "{seen:#?}");
}

#[test]
fn a_consumer_with_a_plan_has_what_that_says_and_everybody_else_what_the_limit_says() {
    const API_WITH_PLANS: &str = "authenticate: { any_of: [consumer, partners], audiences: [\"https://api.test\"] }\n    \
        limits: [ { per: consumer, rate: 1/h, use: plan }, { per: header, header: X-Tenant, rate: 1/h, mode: report, name: tenants }, { per: client_ip, rate: 100/s } ]";
    const PLANNED: &str = "identity:\n  api_keys: { partners: { store: { file: partners.keys } } }\n  \
        providers: { consumer: { issuer: \"https://id.test\", keys: { file: id.json } } }\n\
        consumers:\n  mobile: { match: { provider: consumer, claim: { tenant: mobile } }, plan: gold }\n  \
        partner-a: { match: { api_key: partners/partner-a }, plan: silver }\n\
        plans:\n  gold: { rate: 1/h, burst: 3 }\n  silver: { rate: 1/h, burst: 2 }";
    let mut world = World::with(API_WITH_PLANS, PLANNED);
    assert_eq!([0, 1, 0, 2, 2].map(|key| world.by_key(key).status), [200, 200, 429, 200, 429], "silver, and no plan");
    let mobile = json!("mobile");
    let tokens = ["alice", "bob", "alice", "carol"].map(|who| world.by_token(who, &mobile));
    assert_eq!(tokens.each_ref().map(|answer| answer.status), [200, 200, 200, 429], "gold");
    let policy = |answer: &Response| answer.field("ratelimit-policy").unwrap_or_default().to_owned();
    assert_eq!(policy(&tokens[0]), "\"gold\";q=3;w=10800");
    assert_eq!(tokens[3].field("retry-after"), Some("3600"));
    // A plan that is changed is in force at once, also for tokens that are known, and what was used stays used.
    world.gateway.configure(&world.gateway.config().replace("gold: { rate: 1/h, burst: 3 }", "gold: { rate: 1/h, burst: 5 }"));
    world.gateway.reaches_generation(2);
    let tokens = ["alice", "dave", "erin"].map(|who| world.by_token(who, &mobile).status);
    assert_eq!(tokens, [200, 200, 429]);
    // The limit on trial has refused nobody, and is counted and recorded.
    for tenant in ["a", "a", "b", "a"] {
        let request = format!("GET /read HTTP/1.1\r\nHost: a.test\r\nX-Tenant: {tenant}\r\nConnection: close\r\n\r\n");
        assert_eq!(ask(world.gateway.http(), request).remove(0).status, 401);
    }
    let records = world.gateway.records_when(16);
    let over = records.iter().filter(|record| record["limits_over"] == json!(["tenants"])).count();
    assert!(over >= 2, "{records:#?}");
    let counted = || world.gateway.metric("portcullis_limits_over_total{limit=\"tenants\"}");
    portcullis_testing_kit::holds("the metric", || counted() == over as f64);
    world.gateway.is_well();
}
