use crate::{Answer, Caller, Operation, Policies, Question, Schema};
use std::sync::Arc;

fn schema() -> Schema {
    let operation = |route: &str, parameters: &[&str]| Operation {
        api: "orders".into(),
        route: route.into(),
        parameters: parameters.iter().map(|name| Arc::from(*name)).collect(),
    };
    Schema::new(&[operation("read", &["id"]), operation("list", &[])], &[]).unwrap()
}

fn question<'q>(path: &'q [(&'q str, String)], query: &'q [(String, String)], roles: &'q [&'q str]) -> Question<'q> {
    let caller =
        Caller { provider: "corp", subject: "alice", credential: "token", client: None, consumer: Some("app"), roles, scopes: &[] };
    // 2026-11-25T15:35:35Z
    Question { caller, path, query, method: "GET", address: "192.0.2.1".parse().unwrap(), unix_seconds: 1_795_620_935 }
}

fn decide(text: &str, query: &[(&str, &str)], roles: &[&str]) -> Answer {
    let policies = Policies::parse("p.cedar", text).unwrap();
    policies.check(&schema()).unwrap();
    let query: Vec<(String, String)> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    policies.bucket("orders", "read").unwrap().decide(&question(&[("id", "alice".to_owned())], &query, roles))
}

fn permitted(text: &str) -> bool {
    matches!(decide(text, &[("dry", "1"), ("dry", "2"), ("x", "y")], &["admin"]), Answer::Permitted(_))
}

const READ: &str = "permit (principal, action == Action::\"orders/read\", resource)";

#[test]
fn what_a_request_is_can_be_asked() {
    for when in [
        "context.path.id == principal.subject",
        "context.query.hasTag(\"x\") && context.query.getTag(\"x\") == [\"y\"]",
        "context.query.hasTag(\"dry\") && context.query.getTag(\"dry\").containsAll([\"1\", \"2\"])",
        "context.address.isInRange(ip(\"192.0.2.0/24\"))",
        "context.time > datetime(\"2026-11-25T15:35:34Z\") && context.time < datetime(\"2026-11-25T15:35:36Z\")",
        "context.method == \"GET\" && principal.credential == \"token\" && principal.provider == \"corp\"",
        "principal has consumer && principal.consumer == \"app\" && !(principal has client)",
        "principal in Role::\"admin\" && !(principal in Scope::\"admin\") && resource in Api::\"orders\"",
    ] {
        assert!(permitted(&format!("{READ} when {{ {when} }};")), "{when}");
        assert!(!permitted(&format!("{READ} unless {{ {when} }};")), "{when}");
    }
}

#[test]
fn nothing_is_permitted_by_default_and_what_forbids_wins() {
    let list = "permit (principal, action == Action::\"orders/list\", resource);";
    assert_eq!(decide(list, &[], &[]), Answer::Unmatched);
    let both = format!("// who\n{READ};\n\nforbid (principal, action, resource) when {{ context.method == \"GET\" }};");
    assert_eq!(decide(&both, &[], &[]), Answer::Forbidden(vec!["p.cedar:4".to_owned()]));
    assert_eq!(decide(&format!("\n{READ};"), &[], &[]), Answer::Permitted(vec!["p.cedar:2".to_owned()]));
}

#[test]
fn what_cannot_be_evaluated_refuses_even_if_something_else_permits() {
    // Beyond what a whole number can be: the types are right, the value is not.
    let overflow = "9223372036854775807 + (if context.method == \"GET\" then 1 else 0) > 0";
    for effect in ["permit", "forbid"] {
        let answer = decide(&format!("{READ};\n{effect} (principal, action, resource) when {{ {overflow} }};"), &[], &[]);
        assert!(matches!(&answer, Answer::Failed(what) if what.contains("p.cedar:2")), "{answer:?}");
    }
}

fn faults(text: &str) -> Vec<(u32, u32, String)> {
    let checked = Policies::parse("p.cedar", text).and_then(|policies| policies.check(&schema()).map(|_| ()));
    checked.unwrap_err().into_iter().map(|fault| (fault.line, fault.column, fault.what)).collect()
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, place, word) in [
        (format!("{READ}\nwhen {{ context.path.order == \"x\" }};"), (2, 8), "order"),
        (format!("{READ}\nwhen {{ context.method == 1 }};"), (2, 8), "type"),
        (format!("{READ};\n\n  permit (principal, action == Action::\"orders/raed\", resource);"), (3, 32), "orders/raed"),
        (format!("{READ};\n{READ} when {{ }};"), (2, 0), ""),
        (format!("{READ};\n{READ} whn {{ true }};"), (2, 0), ""),
        ("permit (principal, action, resource".to_owned(), (1, 0), ""),
        (format!("{READ}; {READ};"), (1, 0), "line of its own"),
        (format!("{READ} when {{ {}true{} }};", "(".repeat(40), ")".repeat(40)), (1, 1), "deep"),
        (format!("{READ} when {{ \"{}\" == \"\" }};", "x".repeat(20_000)), (1, 1), "16 KiB"),
        ("// nothing".to_owned(), (1, 1), "no policy"),
    ] {
        let found = faults(&text);
        let (line, column, what) = &found[0];
        assert!(*line == place.0 && (place.1 == 0 || *column == place.1) && what.contains(word), "{text}: {found:?}");
    }
}

#[test]
fn texts_and_comments_end_no_policy() {
    let text = format!("{READ} when {{ context.method == \"GET\" && \"a;\\\"//;\" != \"b\" }}; // one; two\n{READ} // ;\n;");
    assert_eq!(Policies::parse("p", &text).unwrap().bucket("orders", "read").unwrap().len(), 2);
}

#[test]
fn an_operation_keeps_what_can_apply_to_it_and_sees_what_only_forbids_more() {
    let bucket = |text: &str| Policies::parse("p", text).unwrap().bucket("orders", "read").unwrap();
    let list = "permit (principal, action in [Action::\"orders/list\"], resource);";
    let forbid = "forbid (principal, action, resource) when { context.method == \"PUT\" };";
    let (old, more) = (bucket(&format!("{READ};\n{list}")), bucket(&format!("{READ};\n{forbid}\n{list}")));
    assert_eq!((old.len(), more.len()), (1, 2));
    assert!(more.only_forbids_more_than(&old) && !old.only_forbids_more_than(&more) && old == bucket(&format!("\n\n{READ};")));
    assert!(!bucket(&format!("{READ};\npermit (principal, action, resource);")).only_forbids_more_than(&old));
    let mentions =
        Policies::parse("p", "permit (principal in Role::\"a/b\", action, resource);").unwrap().check(&schema()).unwrap();
    assert!(mentions.iter().any(|one| one.kind == "Role" && one.name == "a/b" && one.column == 28), "{mentions:?}");
}
