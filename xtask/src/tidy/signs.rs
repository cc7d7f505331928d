//! The page that tells operators what every metric and every code means and what to do: nothing is missing there, and nothing is told
//! that does not exist.

use super::Finding;
use crate::repo::Repo;
use portcullis_model::Reason;
use std::collections::BTreeSet;

const PAGE: &str = "docs/operations/signs.md";
const METRICS: &str = "docs/reference/metrics.md";

/// Checks the page, and that the reference of metrics names every one too.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let Some(page) = repo.text(PAGE) else { return vec![Finding::of(PAGE, "is not here")] };
    let metrics = metrics(repo);
    let wanted: BTreeSet<&str> = metrics.iter().copied().chain(Reason::ALL.iter().map(|reason| reason.code())).collect();
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    for (line, cells) in rows(page) {
        let [name, meaning, action] = cells.as_slice() else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
        if !wanted.contains(name) {
            findings.push(Finding::at(PAGE, line, format!("there is no metric and no code `{name}`")));
        }
        if !told.insert(name) {
            findings.push(Finding::at(PAGE, line, format!("`{name}` stands here twice")));
        }
        if meaning.is_empty() || action.is_empty() {
            findings.push(Finding::at(PAGE, line, format!("`{name}` lacks what it means, or what to do")));
        }
    }
    let missing = wanted.difference(&told);
    findings.extend(missing.map(|name| Finding::of(PAGE, format!("no row for `{name}`: what it means to operators, what to do"))));
    let reference = repo.text(METRICS).unwrap_or_default();
    let unnamed = metrics.iter().filter(|name| !reference.contains(&format!("`{name}`")));
    findings.extend(unnamed.map(|name| Finding::of(METRICS, format!("`{name}` is not described"))));
    findings
}

/// The cells of every row of its tables.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some((number + 1, inner.split('|').map(str::trim).collect()))
    })
}

/// The names of all metrics: literals of the product that begin like one.
fn metrics(repo: &Repo) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (path, source) in repo.product() {
        let text = repo.text(path).unwrap_or_default();
        for begin in ["\"portcullis_", "\"process_"] {
            // What is under `#[cfg(test)]` is blank in the product's text.
            let places = text.match_indices(begin).filter(|(at, _)| source.product.as_bytes().get(*at) == Some(&b'"'));
            let name = |at: usize| {
                let rest = text.get(at + 1..)?;
                rest.get(..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?)
            };
            names.extend(places.filter_map(|(at, _)| name(at)).filter(|name| !name.ends_with('_')));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::{METRICS, PAGE, Reason, Repo, check};

    const SOURCE: &str = "fn f() { x(\"portcullis_a_total\"); y(\"process_b{l} 1\"); }\n\
                          #[cfg(test)]\nmod tests { fn g() { x(\"portcullis_c_total\"); } }\n";

    fn found(change: impl Fn(&str) -> String) -> String {
        let names = Reason::ALL.iter().map(|reason| reason.code()).chain(["portcullis_a_total", "process_b"]);
        let page: String = names.map(|name| change(&format!("| `{name}` | what | do |\n"))).collect();
        let reference = "`portcullis_a_total`, `process_b`";
        let repo = Repo::sample(&[(PAGE, &page), (METRICS, reference), ("insight/record/src/lib.rs", SOURCE)]);
        check(&repo).iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn a_whole_page_passes() {
        assert_eq!(found(str::to_owned), "");
    }

    #[test]
    fn what_is_missing_empty_or_made_up_is_found() {
        let without = |part: &'static str| move |row: &str| if row.contains(part) { String::new() } else { row.to_owned() };
        assert!(found(without("`internal`")).contains("no row for `internal`"));
        assert!(found(without("process_b")).contains("no row for `process_b`"));
        assert!(found(|row| row.replace("process_b", "process_c")).contains("no metric and no code `process_c`"));
        assert!(found(|row| row.replace("`internal` | what | do", "`internal` | what | ")).contains("`internal` lacks"));
        assert!(found(|row| row.repeat(1 + usize::from(row.contains("`internal`")))).contains("twice"));
        let bare = Repo::sample(&[(PAGE, ""), ("app/src/a.rs", SOURCE)]);
        assert!(check(&bare).iter().any(|finding| finding.place == METRICS && finding.text.contains("portcullis_a_total")));
    }
}
