//! Files and functions stay short enough to be read.

use super::Finding;
use crate::repo::Repo;
use std::collections::BTreeSet;

/// Lines of a file.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// How many exceptions there may be. Only ever lowered.
const EXCEPTIONS_MAX: usize = 0;
const EXCEPTIONS: &str = "xtask/tidy-exceptions.txt";

/// What an exception names, and how many lines it allows.
type Exception = (String, usize);

/// Checks lengths against the limits and the list of exceptions, and the list against what is there.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let (exceptions, mut findings) = exceptions(repo.text(EXCEPTIONS).unwrap_or_default());
    if exceptions.len() > EXCEPTIONS_MAX {
        findings.push(Finding::of(
            EXCEPTIONS,
            format!("{} exceptions; at most {EXCEPTIONS_MAX}, and never more than before", exceptions.len()),
        ));
    }
    let mut used = BTreeSet::new();
    let mut judge = |what: String, path: &str, line: usize, lines: usize, limit: usize| {
        let allowed = exceptions.iter().find(|(named, _)| *named == what).map_or(limit, |(_, allowed)| *allowed);
        if lines > limit {
            used.insert((what.clone(), lines));
        }
        if lines > allowed {
            findings.push(Finding::at(path, line, format!("{what} has {lines} lines; at most {allowed}: split it")));
        }
    };
    for (path, text) in
        repo.files.iter().filter(|(path, _)| path.ends_with(".rs") || path.ends_with(".py") || path.ends_with(".sh"))
    {
        judge(format!("file {path}"), path, 0, text.lines().count(), FILE_LINES_MAX);
    }
    for (path, source) in &repo.rust {
        for function in source.functions() {
            judge(format!("function {path} {}", function.name), path, function.line, function.lines, FUNCTION_LINES_MAX);
        }
    }
    for (named, allowed) in &exceptions {
        if !used.contains(&(named.clone(), *allowed)) {
            findings.push(Finding::of(
                EXCEPTIONS,
                format!("`{named} {allowed}` is not needed, or more generous than needed; lower or remove it"),
            ));
        }
    }
    findings
}

fn exceptions(text: &str) -> (Vec<Exception>, Vec<Finding>) {
    let (mut read, mut findings) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.rsplit_once(' ').and_then(|(named, lines)| Some((named.to_owned(), lines.parse().ok()?))) {
            Some(exception) => read.push(exception),
            None => findings.push(Finding::at(EXCEPTIONS, number + 1, "ends with a number of lines")),
        }
    }
    (read, findings)
}

#[cfg(test)]
mod tests {
    use super::{EXCEPTIONS, Repo, check};

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn long_files_and_functions_are_found() {
        assert_eq!(check(&Repo::sample(&[("a.rs", &function(70)), ("b.py", &"x\n".repeat(500))])), []);
        let found = check(&Repo::sample(&[("a.rs", &function(71)), ("b.py", &"x\n".repeat(501))]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|finding| finding.text.contains("function a.rs long has 71 lines")), "{found:?}");
    }

    #[test]
    fn the_list_of_exceptions_only_shrinks() {
        let list = |lines: &str| check(&Repo::sample(&[("a.rs", &function(80)), (EXCEPTIONS, lines)]));
        assert!(
            list("function a.rs long 80").iter().all(|finding| finding.text.contains("never more")),
            "more than EXCEPTIONS_MAX"
        );
        assert!(list("function a.rs long 90").iter().any(|finding| finding.text.contains("more generous")));
        assert!(list("function b.rs short 80").iter().any(|finding| finding.text.contains("not needed")));
        assert!(list("function a.rs long").iter().any(|finding| finding.text.contains("number of lines")));
    }
}
