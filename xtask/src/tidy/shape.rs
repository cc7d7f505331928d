//! The shares of the packages: worth a look when one outgrows the others, or when there are many.

use super::Finding;
use crate::metadata::Metadata;
use crate::repo::Repo;
use std::collections::BTreeMap;

/// About so many packages are understood at a glance.
const PACKAGES_MAX: usize = 24;
/// No package should have more than one part in this many of the product's code.
const SHARE: usize = 5;
/// Below this a share says nothing.
const LINES_MIN: usize = 5_000;

/// Looks at the number of packages and at the share of each.
pub fn check(repo: &Repo, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    if metadata.members.len() > PACKAGES_MAX {
        findings.push(Finding::warning(
            "Cargo.toml",
            format!("{} packages; about {PACKAGES_MAX} are understood at a glance", metadata.members.len()),
        ));
    }
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, source) in repo.product() {
        if let Some((folder, _)) = path.split_once("/src/") {
            *lines.entry(folder).or_default() += source.product.lines().filter(|line| !line.trim().is_empty()).count();
        }
    }
    let all: usize = lines.values().sum();
    for (folder, own) in lines.iter().filter(|(_, own)| all >= LINES_MIN && **own * SHARE > all) {
        findings.push(Finding::warning(
            folder,
            format!("has {own} of {all} lines of code, more than one in {SHARE}; is there a boundary in it?"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Metadata, Repo, check};

    #[test]
    fn a_package_that_outgrows_the_others_is_worth_a_look() {
        let even: Vec<_> = (0..6).map(|n| (format!("p{n}/src/lib.rs"), "a();\n".repeat(1000))).collect();
        assert_eq!(check(&Repo::of(even.clone()), &Metadata::default()), []);
        let mut odd = even;
        odd[0].1 = "a();\n".repeat(3000);
        let found = check(&Repo::of(odd), &Metadata::default());
        assert!(found.len() == 1 && found[0].warning && found[0].place == "p0", "{found:?}");
    }
}
