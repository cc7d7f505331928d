//! Links between the pages lead somewhere.

use super::Finding;
use crate::repo::Repo;
use std::collections::BTreeSet;

/// Checks relative links in Markdown: the file, and the heading if one is named. Links out of the repository are left alone.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repo.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in links(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let Some(file) = resolve(path, file) else {
                findings.push(Finding::at(path, line, format!("`{target}` leads out of the repository")));
                continue;
            };
            let known = anchor.is_none_or(|anchor| repo.text(&file).is_none_or(|text| anchors(text).contains(anchor)));
            if !file.is_empty() && !repo.has(&file) {
                findings.push(Finding::at(path, line, format!("`{target}` leads nowhere: there is no `{file}`")));
            } else if !known {
                findings.push(Finding::at(path, line, format!("`{target}` leads nowhere: `{file}` has no such heading")));
            }
        }
    }
    findings
}

/// The targets of `[text](target)` with their lines; not those in code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        // Every second part lies between backticks.
        for part in line.split('`').step_by(2) {
            let targets = part.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| (number + 1, target.split_whitespace().next().unwrap_or_default())));
        }
    }
    found
}

/// The file that a link in `from` means; `None` if it leaves the repository.
fn resolve(from: &str, file: &str) -> Option<String> {
    if file.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.rsplit_once('/').map_or(vec![], |(folder, _)| folder.split('/').collect());
    for part in file.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a page's headings: lower case, spaces to dashes, other signs left out.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let sign = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        };
        title.chars().filter_map(sign).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[cfg(test)]
mod tests {
    use super::{Repo, check};

    fn found(text: &str) -> Vec<String> {
        let repo = Repo::sample(&[("docs/a.md", text), ("docs/b.md", "# Big Title: yes\n"), ("README.md", "")]);
        check(&repo).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        let text = "[x](b.md) [`y`](b.md#big-title-yes) [z](../README.md) [w](https://example.com/) [v](#head)\n# Head\n`[q](no.md)`\n```\n[r](no.md)\n```\n[s](../docs/)";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in ["[x](c.md)", "[`x`](c.md)", "[x](b.md#small)", "[x](#none)", "[x](../../etc/passwd)"] {
            assert_eq!(found(text).len(), 1, "{text}: {:?}", found(text));
        }
    }
}
