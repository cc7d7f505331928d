use crate::{Allow, Belongs, ConsumerRow, Consumers, Line, NAMES_MAX, Vocabulary};
use portcullis_model::Grants;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn line(roles: &[(&str, &str)], scopes: &[&str], consumers: &[&str]) -> Line {
    Line {
        roles: roles.iter().map(|(provider, role)| ((*provider).into(), (*role).into())).collect(),
        scopes: scopes.iter().map(|scope| (*scope).into()).collect(),
        consumers: consumers.iter().map(|name| (*name).into()).collect(),
    }
}

#[test]
fn nobody_is_allowed_by_no_line_or_by_an_empty_one() {
    for lines in [vec![], vec![Line::default()]] {
        let words = Vocabulary::of(&lines, []).unwrap();
        let grants = words.grants("corp", ["admin"], ["all"]);
        assert_eq!(Allow::compile(&lines, &words).decide(&grants, Some(0)), None);
    }
}

#[test]
fn equal_names_of_two_providers_are_two_roles() {
    let lines = [line(&[("corp", "admin")], &[], &[])];
    let words = Vocabulary::of(&lines, []).unwrap();
    let allow = Allow::compile(&lines, &words);
    assert_eq!(allow.decide(&words.grants("corp", ["admin"], []), None), Some(0));
    for (provider, role) in [("partner", "admin"), ("corp", "Admin"), ("corp", "corp/admin"), ("corp", ""), ("", "corp/admin")] {
        assert_eq!(allow.decide(&words.grants(provider, [role], ["admin"]), None), None, "{provider}/{role}");
    }
}

#[test]
fn words_of_another_vocabulary_allow_nobody() {
    let lines = [line(&[], &["read"], &[]), line(&[("corp", "admin")], &[], &[]), line(&[], &[], &["app"])];
    let allow = Allow::compile(&lines, &Vocabulary::default());
    assert_eq!(allow.decide(&Grants::none(0), Some(0)), None);
}

#[test]
fn a_vocabulary_is_bounded() {
    let scopes: Vec<Arc<str>> = (0..=NAMES_MAX).map(|number| number.to_string().into()).collect();
    let (within, beyond) = (Line { scopes: scopes[1..].to_vec(), ..Line::default() }, Line { scopes, ..Line::default() });
    assert!(Vocabulary::of([&within], []).is_ok() && Vocabulary::of([&beyond], []).is_err());
}

const PROVIDERS: [&str; 2] = ["a", "b"];
const ROLES: [&str; 3] = ["x", "y", "z"];
const CONSUMERS: [&str; 3] = ["p", "q", "r"];

/// Who calls, as the brute force sees it.
#[derive(Clone, Debug)]
struct Caller {
    provider: &'static str,
    roles: BTreeSet<&'static str>,
    scopes: BTreeSet<String>,
    consumer: Option<&'static str>,
}

fn words() -> impl Strategy<Value = Vec<String>> {
    // Enough of them that bits lie in more than one word.
    proptest::collection::vec((0..100_u32).prop_map(|number| format!("s{number}")), 0..4)
}

fn a_line() -> impl Strategy<Value = Line> {
    let role = (proptest::sample::select(&PROVIDERS[..]), proptest::sample::select(&ROLES[..]));
    let consumer = proptest::sample::select(&CONSUMERS[..]);
    (proptest::collection::vec(role, 0..3), words(), proptest::collection::vec(consumer, 0..2)).prop_map(
        |(roles, scopes, consumers)| {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            line(&roles, &scopes, &consumers)
        },
    )
}

fn a_caller() -> impl Strategy<Value = Caller> {
    let roles = proptest::collection::btree_set(proptest::sample::select(&ROLES[..]), 0..3);
    let consumer = proptest::option::of(proptest::sample::select(&CONSUMERS[..]));
    (proptest::sample::select(&PROVIDERS[..]), roles, proptest::collection::vec(words(), 0..40), consumer).prop_map(
        |(provider, roles, scopes, consumer)| Caller { provider, roles, scopes: scopes.into_iter().flatten().collect(), consumer },
    )
}

fn brute_force(lines: &[Line], caller: &Caller) -> Option<usize> {
    lines.iter().position(|line| {
        let role = line.roles.iter().any(|(provider, role)| **provider == *caller.provider && caller.roles.contains(&**role));
        let scopes = line.scopes.iter().all(|scope| caller.scopes.contains(&**scope));
        let consumer = line.consumers.iter().any(|name| caller.consumer == Some(&**name));
        let empty = line.roles.is_empty() && line.scopes.is_empty() && line.consumers.is_empty();
        !empty && (line.roles.is_empty() || role) && scopes && (line.consumers.is_empty() || consumer)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn bits_decide_what_brute_force_decides(lines in proptest::collection::vec(a_line(), 0..6), caller in a_caller()) {
        let consumers: Vec<Arc<str>> = CONSUMERS.iter().map(|name| (*name).into()).collect();
        let words = Vocabulary::of(&lines, &consumers).unwrap();
        let grants = words.grants(caller.provider, caller.roles.iter().copied(), caller.scopes.iter().map(String::as_str));
        let consumer = caller.consumer.and_then(|name| words.consumer(name));
        prop_assert_eq!(Allow::compile(&lines, &words).decide(&grants, consumer), brute_force(&lines, &caller));
    }
}

#[test]
fn consumers_are_found_by_what_is_theirs_and_by_nothing_else() {
    let name = |text: &str| -> Arc<str> { text.into() };
    let (app, partner, corp, store) = (name("app"), name("partner"), name("corp"), name("store"));
    let row = |name, provider, belongs| ConsumerRow { name, provider, belongs, plan: None };
    let all = [row(&app, &corp, Belongs::Claim("azp", "mobile")), row(&partner, &store, Belongs::Subject("a"))];
    let consumers = Consumers::new(all, [1; 32]);
    let found = |consumer: Option<portcullis_model::Consumer>| consumer.map(|one| (one.name.to_string(), one.number));
    assert_eq!(found(consumers.of_claim("corp", "mobile")), Some(("app".to_owned(), 0)));
    assert_eq!(found(consumers.of_subject("store", "a")), Some(("partner".to_owned(), 1)));
    assert_eq!((consumers.claim("corp"), consumers.claim("store")), (Some("azp"), None));
    for nobody in [consumers.of_subject("corp", "mobile"), consumers.of_subject("corp", "a"), consumers.of_claim("store", "a")] {
        assert_eq!(nobody, None);
    }
    let words = Vocabulary::default();
    assert_ne!(words.fingerprint(), words.clone().knowing(consumers).fingerprint(), "what is known by other words is known anew");
}
