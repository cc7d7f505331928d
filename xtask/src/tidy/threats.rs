//! docs/threats-coverage.md: every row of the threats has its line, and every test that it names is there.

use super::Finding;
use crate::repo::Repo;
use crate::source::words;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

const PAGE: &str = "docs/threats-coverage.md";
/// The rows that this version answers: framing; path, host and method; identity and addresses; resources; what failed elsewhere.
const ROWS: [RangeInclusive<u32>; 2] = [1..=100, 145..=155];

/// Checks that the page is whole and true.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let Some(text) = repo.text(PAGE) else { return vec![Finding::of(PAGE, "is not here")] };
    let tests = functions(repo);
    let (mut findings, mut seen) = (Vec::new(), BTreeSet::new());
    for (line, cells) in rows(text) {
        let number = cells.first().and_then(|cell| cell.parse::<u32>().ok());
        let Some(number) = number else { continue };
        if !seen.insert(number) {
            findings.push(Finding::at(PAGE, line, format!("row {number} stands here twice")));
        }
        let (named, reason) = (cells.get(2).copied().unwrap_or_default(), cells.get(3).copied().unwrap_or_default());
        let names: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && reason.is_empty() {
            findings.push(Finding::at(PAGE, line, format!("row {number} names no test and no reason why not")));
        }
        for name in names {
            let function = name.rsplit("::").next().unwrap_or(name);
            if !tests.contains(function) {
                findings.push(Finding::at(PAGE, line, format!("there is no test `{name}`")));
            }
        }
    }
    findings.extend(
        ROWS.into_iter().flatten().filter(|row| !seen.contains(row)).map(|row| Finding::of(PAGE, format!("row {row} is missing"))),
    );
    findings
}

/// The rows of its tables: `| row | threat | tests | otherwise |`.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some((number + 1, inner.split('|').map(str::trim).collect()))
    })
}

/// The names of all test functions: those that follow `#[test]`, also ones that a macro or `proptest!` makes from `fn`.
fn functions(repo: &Repo) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for source in repo.rust.values() {
        for at in words(&source.code, "fn") {
            let rest = source.code.get(at + 2..).unwrap_or_default().trim_start();
            let before = source.code.get(..at).unwrap_or_default();
            let attributes = before.rsplit(['}', ';', '{']).next().unwrap_or_default();
            if attributes.contains("test]") || attributes.contains("test(") {
                names.insert(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::{PAGE, ROWS, Repo, check};

    const TEST: &str = "#[test]\nfn a01_refused() {}\n#[tokio::test]\nasync fn a02_refused() {}\nfn a03_helper() {}\n";

    fn found(change: impl Fn(u32) -> String) -> String {
        let page: String = ROWS.into_iter().flatten().map(|row| format!("{}\n", change(row))).collect();
        let repo = Repo::sample(&[(PAGE, &page), ("wire/src/tests.rs", TEST)]);
        check(&repo).iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn a_whole_and_true_page_passes() {
        assert_eq!(found(|row| format!("| {row} | x | `wire::a01_refused`, `a02_refused` | |")), "");
        assert_eq!(found(|row| format!("| {row} | x | | no HTTP/2 in this version |")), "");
    }

    #[test]
    fn gaps_and_tests_that_are_not_there_are_found() {
        assert!(
            found(|row| if row == 7 { String::new() } else { format!("| {row} | x | `a01_refused` | |") })
                .contains("row 7 is missing")
        );
        assert!(found(|row| format!("| {} | x | `a01_refused` | |", row.max(2))).contains("twice"));
        assert!(found(|row| format!("| {row} | x | `a03_helper` | |")).contains("no test `a03_helper`"));
        assert!(found(|row| format!("| {row} | x | | |")).contains("names no test"));
    }
}
