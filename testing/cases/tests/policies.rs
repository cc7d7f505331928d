//! Every case of every policy.

use portcullis_policies::POLICIES;
use portcullis_testing_cases::{Case, cases_of, check, difference, run};

fn names() -> impl Iterator<Item = &'static str> {
    POLICIES.iter().map(|policy| policy.settings.name)
}

#[test]
fn every_case_ends_as_it_is_written() {
    let cases = names().flat_map(cases_of);
    let wrong: Vec<String> = cases.filter_map(|(path, text)| check(&path, &text).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_policy_has_a_case_that_passes_and_one_that_is_refused() {
    for policy in names() {
        let cases: Vec<Case> = cases_of(policy).iter().map(|(path, text)| Case::read(&path.display().to_string(), text)).collect();
        assert!(cases.iter().any(Case::passes), "no case of `{policy}` in which a request is forwarded");
        assert!(cases.iter().any(Case::refuses), "no case of `{policy}` in which a request is refused");
    }
}

const CASE: &str = "# A case.\n== defaults\nrequest_limits: { uri_bytes_max: 10B }\n== request\nGET /x HTTP/1.1\nHost: a.test\n\
                    == client\nscheme http\n== upstream answers\n201\nX-A: b\n== request\nGET /longer/than/that HTTP/1.1\nHost: a.test\n";

#[test]
fn what_becomes_of_requests_is_found_out() {
    let case = run(Case::read("case", CASE));
    let [passed, refused] = case.exchanges.as_slice() else { panic!("{case}") };
    let forwarded = passed.forwarded.as_deref().unwrap_or_default();
    assert!(forwarded.starts_with("GET /x HTTP/1.1\nhost: a.test") && forwarded.contains("192.0.2.1"), "{forwarded}");
    let answer = passed.answer.as_deref().unwrap_or_default();
    assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("\nx-a: b") && !answer.contains("strict-transport"), "{answer}");
    let answer = refused.answer.as_deref().unwrap_or_default();
    assert!(answer.starts_with("HTTP/1.1 414 ") && answer.contains("strict-transport") && !answer.contains("\nx-a"), "{answer}");
    assert!(refused.forwarded.is_none() && case.passes() && case.refuses(), "{case}");
    // What was found out is written as it is read.
    assert_eq!(Case::read("case", &case.to_string()), case);
}

#[test]
fn a_case_that_ends_otherwise_than_written_is_told() {
    let right = run(Case::read("case", CASE)).to_string();
    let path = std::path::Path::new("case");
    assert_eq!(difference(path, &right), None);
    let found = difference(path, &right.replace("HTTP/1.1 414", "HTTP/1.1 200"));
    assert_eq!(found, Some(right));
}
