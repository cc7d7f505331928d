//! Notes of unfinished work name the issue that finishes it.

use super::Finding;
use crate::repo::Repo;
use crate::source::{line_of, words};

/// The marks that people leave. Put together here so that this file does not find itself.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Checks that each such note is followed by an issue's number, as in `(#12)`.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &repo.files {
        let searched = match repo.rust.get(path) {
            Some(source) => &source.comments,
            None if [".py", ".sh", ".toml", ".yaml", ".yml"].iter().any(|ending| path.ends_with(ending)) => text,
            None => continue,
        };
        for mark in MARKS {
            for at in words(searched, mark) {
                let rest = searched.get(at + mark.len()..).unwrap_or_default();
                let numbered = rest.strip_prefix("(#").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                if !numbered {
                    findings.push(Finding::at(
                        path,
                        line_of(searched, at),
                        format!("`{mark}` without an issue; write `{mark}(#NUMBER)`, or do it"),
                    ));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{MARKS, Repo, check};

    #[test]
    fn a_note_needs_an_issue() {
        let mark = MARKS[0];
        let found = |comment: &str| check(&Repo::sample(&[("a.rs", comment)])).len();
        assert_eq!(found(&format!("// {mark}: later")), 1);
        assert_eq!(found(&format!("// {mark}(#12): later")), 0);
        assert_eq!(found(&format!("let a = \"{mark}\";")), 0);
        assert_eq!(check(&Repo::sample(&[("a.sh", &format!("# {mark} later"))])).len(), 1);
    }
}
