//! Who may do what, by the words that do it.

use super::Finding;
use crate::repo::Repo;
use crate::source::{line_of, words};

/// A word of the product's code, and the only places (beginnings of paths) that may use it.
struct Rule {
    word: &'static str,
    only: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule { word: "std::env", only: &["app/"], why: "only app reads the environment: hand the value over" },
    Rule { word: "env::var", only: &["app/"], why: "only app reads the environment: hand the value over" },
    Rule { word: "env::var_os", only: &["app/"], why: "only app reads the environment: hand the value over" },
    Rule { word: "env::args", only: &["app/"], why: "only app reads the command line: hand the value over" },
    Rule {
        word: "new_local",
        only: &["gateway/proxy/src/respond.rs", "wire/src/"],
        why: "only gateway/proxy/src/respond.rs makes answers of the gateway's own: return a Rejection",
    },
    Rule {
        word: "reset_local",
        only: &["gateway/proxy/src/respond.rs", "wire/src/"],
        why: "only gateway/proxy/src/respond.rs makes answers of the gateway's own: return a Rejection",
    },
];

/// Checks every rule in the product's code.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in repo.product() {
        for rule in RULES.iter().filter(|rule| !rule.only.iter().any(|place| path.starts_with(place))) {
            for at in words(&source.product, rule.word) {
                findings.push(Finding::at(path, line_of(&source.product, at), format!("`{}`: {}", rule.word, rule.why)));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Repo, check};

    #[test]
    fn the_environment_is_for_app_and_tests() {
        let text = "fn a() { std::env::var(\"X\"); }";
        assert_eq!(check(&Repo::sample(&[("app/src/main.rs", text), ("wire/tests/a.rs", text)])), []);
        let found = check(&Repo::sample(&[("wire/src/lib.rs", text)]));
        assert!(found.iter().any(|finding| finding.line == 1 && finding.text.contains("only app")), "{found:?}");
        assert_eq!(
            check(&Repo::sample(&[("wire/src/lib.rs", "// std::env::var\nconst V: &str = env!(\"CARGO_PKG_VERSION\");")])),
            []
        );
    }

    #[test]
    fn only_respond_makes_answers() {
        let text = "fn a() { ResponseHead::new_local(500); b.reset_local(500); }";
        assert_eq!(check(&Repo::sample(&[("gateway/proxy/src/respond.rs", text)])), []);
        assert_eq!(check(&Repo::sample(&[("gateway/proxy/src/route.rs", text)])).len(), 2);
    }
}
