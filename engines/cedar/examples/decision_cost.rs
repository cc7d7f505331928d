//! What a decision costs where there are 10,000 policies over 500 operations:
//! `cargo run --profile dist -p portcullis-engines-cedar --example decision_cost`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a measurement, of what it makes itself")]
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints, and takes real time")]

use portcullis_engines_cedar::{Answer, Bucket, Caller, Operation, Policies, Question, Schema};
use std::fmt::Write;
use std::time::Instant;

const OPERATIONS: usize = 500;
const EACH: usize = 20;
const ROUNDS: usize = 100_000;

/// Of the policies of an operation one forbids, one permits who asks, and the others ask about them and do not.
fn text() -> String {
    let mut out = String::new();
    for operation in 0..OPERATIONS {
        for number in 0..EACH {
            let (effect, condition) = match number {
                0 => ("forbid", "context.query.hasTag(\"admin\")".to_owned()),
                1 => ("permit", "context.path.who == principal.subject".to_owned()),
                2 | 3 => ("permit", format!("context.address.isInRange(ip(\"10.{number}.0.0/16\"))")),
                4 | 5 => ("permit", format!("context.time < datetime(\"200{number}-01-01\")")),
                _ => ("permit", format!("principal in Role::\"role-{number}\" && context.path.who == \"p{number}\"")),
            };
            writeln!(out, "{effect} (principal, action == Action::\"api/o{operation}\", resource) when {{ {condition} }};")
                .unwrap();
        }
    }
    out
}

fn main() {
    let operation =
        |number: usize| Operation { api: "api".into(), route: format!("o{number}").into(), parameters: vec!["who".into()] };
    let operations: Vec<Operation> = (0..OPERATIONS).map(operation).collect();
    let begun = Instant::now();
    let schema = Schema::new(&operations, &[]).unwrap();
    let policies = Policies::parse("api.cedar", &text()).unwrap_or_else(|faults| panic!("{faults:?}"));
    policies.check(&schema).unwrap_or_else(|faults| panic!("{faults:?}"));
    let checked = begun.elapsed();
    let buckets: Vec<Bucket> = operations.iter().map(|one| policies.bucket(&one.api, &one.route).unwrap()).collect();
    let loaded = begun.elapsed();
    let caller = Caller {
        provider: "corp",
        subject: "alice",
        credential: "token",
        client: Some("app"),
        consumer: Some("mobile"),
        roles: &["role-7", "role-200"],
        scopes: &["read"],
    };
    let (path, query) = ([("who", "alice".to_owned())], [("page".to_owned(), "2".to_owned())]);
    let address = "192.0.2.1".parse().unwrap();
    let question = Question { caller, path: &path, query: &query, method: "GET", address, unix_seconds: 1_800_000_000 };
    let mut nanos: Vec<u128> = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let bucket = &buckets[round * 7 % OPERATIONS];
        let before = Instant::now();
        let answer = bucket.decide(&question);
        nanos.push(before.elapsed().as_nanos());
        assert!(matches!(answer, Answer::Permitted(_)), "{answer:?}");
    }
    nanos.sort_unstable();
    println!(
        "{} policies over {OPERATIONS} operations: a decision {} ns (median), {} ns (99 of 100); read and checked in {} ms, with buckets {} ms",
        OPERATIONS * EACH,
        nanos[ROUNDS / 2],
        nanos[ROUNDS / 100 * 99],
        checked.as_millis(),
        loaded.as_millis(),
    );
}
