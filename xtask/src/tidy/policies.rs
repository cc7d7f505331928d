//! The constant table of policies: every folder is in it, sorted by phase, and each folder has what a policy needs.

use super::Finding;
use crate::repo::Repo;
use crate::source::line_of;
use std::collections::BTreeSet;

const TABLE: &str = "policies/src/lib.rs";
const REFERENCE: &str = "docs/reference/configuration.md";
const PHASES: &[&str] = &["Admit", "Authenticate", "Limit", "Authorize", "Validate", "Inspect", "Shape"];
/// Only where a policy is written under its own name; else its settings are sections of the configuration.
const CONFIG: &str = "config.rs";
const FILES: &[&str] = &["mod.rs", CONFIG, "policy.rs", "tests.rs"];

/// Checks the table against the folders.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let Some(text) = repo.text(TABLE) else { return vec![Finding::of(TABLE, "is not here")] };
    let rows = rows(text);
    let mut findings = Vec::new();
    let folders: BTreeSet<&str> =
        repo.files.keys().filter_map(|path| Some(path.strip_prefix("policies/src/")?.split_once('/')?.0)).collect();
    for folder in &folders {
        if rows.iter().filter(|row| row.name == *folder).count() != 1 {
            findings.push(Finding::of(TABLE, format!("the folder `{folder}` is not in the table POLICIES exactly once")));
        }
        let own = rows.iter().any(|row| row.name == *folder && row.has_settings);
        for file in
            FILES.iter().filter(|file| (own || **file != CONFIG) && repo.text(&format!("policies/src/{folder}/{file}")).is_none())
        {
            findings.push(Finding::of(&format!("policies/src/{folder}"), format!("has no {file}")));
        }
        let cases = format!("policies/src/{folder}/cases/");
        if !repo.files.keys().any(|path| path.starts_with(&cases) && path.ends_with(".case")) {
            let what = "has no case: one that passes and one that is refused (see testing/cases/src/lib.rs)";
            findings.push(Finding::of(&cases, what));
        }
    }
    for row in rows.iter().filter(|row| !folders.contains(row.name)) {
        findings.push(Finding::at(TABLE, row.line, format!("there is no folder for `{}`", row.name)));
    }
    let reference = repo.text(REFERENCE).unwrap_or_default();
    // The settings of a policy are a section, or a list of them.
    let has_section = |name: &str| {
        reference.lines().any(|line| [format!("### `{name}`"), format!("### `{name}[]`")].iter().any(|wanted| wanted == line))
    };
    for row in rows.iter().filter(|row| row.has_settings && !has_section(row.name)) {
        findings.push(Finding::of(REFERENCE, format!("has no section for the policy `{}`", row.name)));
    }
    for pair in rows.windows(2) {
        let [before, after] = pair else { continue };
        if place(before.phase) > place(after.phase) {
            findings.push(Finding::at(
                TABLE,
                after.line,
                format!("`{}` ({}) stands after `{}` ({})", after.name, after.phase, before.name, before.phase),
            ));
        }
    }
    findings
}

struct Row<'a> {
    name: &'a str,
    phase: &'a str,
    line: usize,
    has_settings: bool,
}

/// The rows of the table: each names its settings, then its phase.
fn rows(text: &str) -> Vec<Row<'_>> {
    let marks = ["PolicySchema::of::<", "PolicySchema::elsewhere"];
    let row = |(at, mark): (usize, &str)| {
        let rest = text.get(at..)?;
        let name = rest.split_once("(\"")?.1.split_once('"')?.0;
        let phase = rest.split_once("Phase::")?.1.split(|c: char| !c.is_alphanumeric()).next()?;
        Some(Row { name, phase, line: line_of(text, at), has_settings: mark == marks[0] })
    };
    let mut found: Vec<_> = marks.iter().flat_map(|mark| text.match_indices(mark)).collect();
    found.sort_unstable();
    found.into_iter().filter_map(row).collect()
}

/// The place of a phase in the fixed order; an unknown one stands before all, so that what follows it cannot be in order by accident.
fn place(phase: &str) -> Option<usize> {
    PHASES.iter().position(|known| *known == phase)
}

#[cfg(test)]
mod tests {
    use super::{FILES, REFERENCE, Repo, TABLE, check};

    fn found(rows: &[(&str, &str)], folders: &[&str]) -> String {
        let row = |(name, phase): &(&str, &str)| {
            format!("PolicyDefinition {{ settings: PolicySchema::of::<a::A>(\"{name}\"), phase: Phase::{phase} }},\n")
        };
        let section = |(name, _): &(&str, &str)| format!("### `{name}`\n");
        let reference = rows.iter().map(section).collect::<String>();
        let mut files = vec![(TABLE.to_owned(), rows.iter().map(row).collect::<String>()), (REFERENCE.to_owned(), reference)];
        for folder in folders {
            files
                .extend(FILES.iter().chain(&["cases/a.case"]).map(|file| (format!("policies/src/{folder}/{file}"), String::new())));
        }
        check(&Repo::of(files)).iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn settings_may_be_sections_of_the_configuration() {
        let table = "PolicyDefinition { settings: PolicySchema::elsewhere(\"a\"), phase: Phase::Limit },\n";
        let mut files = vec![(TABLE.to_owned(), table.to_owned()), (REFERENCE.to_owned(), String::new())];
        files.extend(
            ["mod.rs", "policy.rs", "tests.rs", "cases/a.case"].map(|file| (format!("policies/src/a/{file}"), String::new())),
        );
        let found = check(&Repo::of(files));
        assert!(found.is_empty(), "{}", found.iter().map(|finding| format!("{finding}\n")).collect::<String>());
    }

    #[test]
    fn folders_and_rows_belong_together() {
        assert_eq!(found(&[("a", "Admit"), ("b", "Limit")], &["a", "b"]), "");
        assert!(found(&[("a", "Admit")], &["a", "b"]).contains("`b` is not in the table"));
        assert!(found(&[("a", "Admit"), ("a", "Admit")], &["a"]).contains("exactly once"));
        assert!(found(&[("a", "Admit"), ("b", "Limit")], &["a"]).contains("no folder for `b`"));
    }

    #[test]
    fn the_table_is_sorted_by_phase() {
        assert!(found(&[("a", "Limit"), ("b", "Admit")], &["a", "b"]).contains("`b` (Admit) stands after `a` (Limit)"));
    }

    #[test]
    fn a_policy_has_its_files() {
        let repo = Repo::sample(&[(TABLE, "PolicySchema::of::<a::A>(\"a\"), phase: Phase::Admit"), ("policies/src/a/mod.rs", "")]);
        let found: String = check(&repo).iter().map(|finding| format!("{finding}\n")).collect();
        assert_eq!(found.lines().count(), FILES.len() - 1 + 1 + 1, "{found}");
        assert!(found.contains("has no section for the policy `a`"), "{found}");
        assert!(found.contains("policies/src/a/cases/: has no case"), "{found}");
    }
}
