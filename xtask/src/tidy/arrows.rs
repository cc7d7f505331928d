//! Which package may depend on which: the arrows of ARCHITECTURE.md.

use super::Finding;
use crate::metadata::Metadata;
use crate::repo::Repo;

const WORDS: &[&str] = &["portcullis-model", "portcullis-model-settings", "portcullis-wire", "portcullis-engines-"];

/// Who (a name, or a beginning that ends with `-`), and what it may depend on. The first line that fits counts.
const ALLOWED: &[(&str, &[&str])] = &[
    ("portcullis-model", &[]),
    ("portcullis-model-settings", &["portcullis-model"]),
    ("portcullis-wire", &["portcullis-model"]),
    ("portcullis-engines-", &["portcullis-model", "portcullis-wire"]),
    ("portcullis-gateway-router", &["portcullis-model", "portcullis-wire"]),
    ("portcullis-gateway-tls", &["portcullis-model"]),
    ("portcullis-gateway-h2", &["portcullis-model", "portcullis-wire"]),
    ("portcullis-gateway-listener", &["portcullis-model", "portcullis-wire", "portcullis-gateway-tls"]),
    ("portcullis-gateway-policy", WORDS),
    ("portcullis-gateway-cache", &["portcullis-model", "portcullis-wire", "portcullis-gateway-policy"]),
    (
        "portcullis-gateway-upstream",
        &[
            "portcullis-model",
            "portcullis-wire",
            "portcullis-engines-",
            "portcullis-gateway-policy",
            "portcullis-gateway-tls",
            "portcullis-gateway-h2",
        ],
    ),
    ("portcullis-gateway-proxy", &["portcullis-model", "portcullis-wire", "portcullis-gateway-"]),
    (
        "portcullis-policies",
        &["portcullis-model", "portcullis-model-settings", "portcullis-wire", "portcullis-engines-", "portcullis-gateway-policy"],
    ),
    (
        "portcullis-control-",
        &[
            "portcullis-model",
            "portcullis-model-settings",
            "portcullis-wire",
            "portcullis-engines-",
            "portcullis-gateway-",
            "portcullis-policies",
            "portcullis-control-",
        ],
    ),
    ("portcullis-insight-", &["portcullis-model", "portcullis-engines-"]),
    ("portcullis-stores-", &["portcullis-model", "portcullis-engines-"]),
    ("portcullis-testing-kit", &[]),
    ("portcullis-testing-", &["portcullis-"]),
    ("portcullis-bench", &["portcullis-"]),
    ("portcullis-fuzz", &["portcullis-"]),
    ("xtask", &["portcullis-"]),
    ("portcullis", &["portcullis-"]),
];

/// What only tools are: nothing of the product may depend on them.
const TOOLS: &[&str] = &["portcullis-testing-", "portcullis-bench", "portcullis-fuzz", "xtask"];

/// What pure packages never reach, however far away: those that do I/O, run tasks, or decide for the operator.
const PURE: &[&str] =
    &["portcullis-model", "portcullis-model-settings", "portcullis-wire", "portcullis-engines-", "portcullis-gateway-router"];
const IMPURE: &[&str] = &["tokio", "hyper", "h2", "quinn", "mio", "socket2", "portcullis-control-"];

/// Checks the arrows.
pub fn check(_: &Repo, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, package) in metadata.own() {
        let own = |needed: &str| metadata.own().any(|(_, other)| other.name == needed);
        let Some((_, allowed)) = ALLOWED.iter().find(|(who, _)| fits(&package.name, who)) else {
            findings.push(Finding::of(&package.name, "no line in xtask/src/tidy/arrows.rs says what this package may depend on"));
            continue;
        };
        for needed in package.declares.iter().filter(|needed| own(needed)) {
            let tool = TOOLS.iter().any(|tool| fits(needed, tool)) && !TOOLS.iter().any(|tool| fits(&package.name, tool));
            let for_tests =
                needed == "portcullis-testing-kit" && !package.needs.iter().any(|need| name_of(metadata, need) == Some(needed));
            if !for_tests && (tool || !allowed.iter().any(|name| fits(needed, name))) {
                findings.push(Finding::of(
                    &package.name,
                    format!("depends on `{needed}`, which the arrows of ARCHITECTURE.md do not allow"),
                ));
            }
        }
        if PURE.iter().any(|pure| fits(&package.name, pure)) {
            for (reached, way) in metadata.reaches(id) {
                if IMPURE.iter().any(|impure| fits(reached, impure)) {
                    findings.push(Finding::of(&package.name, format!("is pure, but reaches `{reached}` by {}", way.join(" -> "))));
                }
            }
        }
    }
    findings
}

fn name_of<'a>(metadata: &'a Metadata, id: &str) -> Option<&'a String> {
    metadata.packages.get(id).map(|package| &package.name)
}

fn fits(name: &str, pattern: &str) -> bool {
    if pattern.ends_with('-') { name.starts_with(pattern) } else { name == pattern }
}

#[cfg(test)]
mod tests {
    use super::{Metadata, Repo, check};

    fn found(packages: &[(&str, Option<&str>, &[&str])]) -> String {
        let findings = check(&Repo::default(), &Metadata::sample(packages));
        findings.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn the_proxy_may_not_know_policies() {
        let good = found(&[("portcullis-gateway-proxy", None, &["portcullis-wire"]), ("portcullis-wire", None, &[])]);
        assert_eq!(good, "");
        let bad = found(&[("portcullis-gateway-proxy", None, &["portcullis-policies"]), ("portcullis-policies", None, &[])]);
        assert!(bad.contains("portcullis-gateway-proxy: depends on `portcullis-policies`"), "{bad}");
    }

    #[test]
    fn wire_and_engines_reach_no_runtime_however_far() {
        let bad = found(&[("portcullis-engines-jose", None, &["x"]), ("x", Some("MIT"), &["tokio"]), ("tokio", Some("MIT"), &[])]);
        assert!(bad.contains("reaches `tokio` by x -> tokio"), "{bad}");
    }

    #[test]
    fn tools_are_not_part_of_the_product() {
        let bad = found(&[("portcullis", None, &["portcullis-testing-kit"]), ("portcullis-testing-kit", None, &[])]);
        assert!(bad.contains("portcullis: depends on `portcullis-testing-kit`"), "{bad}");
        let bad = found(&[("portcullis", None, &["xtask"]), ("xtask", None, &[])]);
        assert!(bad.contains("depends on `xtask`"), "{bad}");
    }

    #[test]
    fn a_new_package_needs_a_line() {
        assert!(found(&[("newcomer", None, &[])]).contains("newcomer: no line"));
    }
}
