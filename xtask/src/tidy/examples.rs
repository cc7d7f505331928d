//! Examples are configurations that the gateway accepts: those under examples/, and those in the pages that people read first.

use super::Finding;
use crate::repo::Repo;
use crate::run;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PAGES: &[&str] = &["README.md"];

/// Has the gateway check every example.
///
/// # Errors
/// What it said of those that it refused.
pub fn check(binary: &Path) -> Result<(), String> {
    let repo = Repo::read(&run::root())?;
    let folder = run::root().join("target/xtask/examples");
    let mut refused = Vec::new();
    for (number, (place, text)) in examples(&repo).into_iter().enumerate() {
        let file = folder.join(format!("{number}.yaml"));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, text));
        written.map_err(|error| format!("`{}`: {error}", file.display()))?;
        let mut command = Command::new(binary);
        command.args(["--format", "text", "check", "--config"]).arg(&file);
        match run::output(&mut command, Duration::from_secs(60)) {
            Ok(_) => println!("accepted: {place}"),
            Err(error) => refused.push(Finding::of(&place, format!("the gateway refuses it\n{error}")).to_string()),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join("\n")) }
}

/// Every example with its place: files, and blocks of YAML that begin with the version line.
fn examples(repo: &Repo) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for (path, text) in repo.files.iter().filter(|(path, _)| path.starts_with("examples/") && path.ends_with(".yaml")) {
        found.push((path.clone(), text.as_str()));
    }
    for page in PAGES {
        let blocks =
            repo.text(page).unwrap_or_default().split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
        found.extend(
            blocks.filter(|block| block.lines().any(|line| line.starts_with("version:"))).map(|block| ((*page).to_owned(), block)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Repo, examples};

    #[test]
    fn whole_examples_are_found_and_fragments_are_not() {
        let page = "a\n```yaml\nversion: 1\nx: y\n```\n```yaml\nfragment: 1\n```\n";
        let repo = Repo::sample(&[("README.md", page), ("examples/a/b.yaml", "version: 1"), ("examples/a.md", "")]);
        let found = examples(&repo);
        assert_eq!(found, [("examples/a/b.yaml".to_owned(), "version: 1"), ("README.md".to_owned(), "version: 1\nx: y\n")]);
    }
}
