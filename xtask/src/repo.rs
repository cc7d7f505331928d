//! The files of the repository, as the checks see them. Tests make small ones of their own.

use crate::source::Source;
use std::collections::BTreeMap;
use std::path::Path;

/// Larger files are data; no rule reads them.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Deep enough for everything here; bounds the walk.
const DEPTH_MAX: usize = 24;

/// Every text file by its path from the root, with `/` between folders.
#[derive(Debug, Default)]
pub struct Repo {
    /// All text files.
    pub files: BTreeMap<String, String>,
    /// The Rust files among them.
    pub rust: BTreeMap<String, Source>,
    /// The Rust files that are test code as a whole, because a `#[cfg(test)] mod` declares them.
    test_files: Vec<String>,
}

impl Repo {
    /// Reads the repository under `root`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        walk(root, "", 0, &mut files)?;
        Ok(Self::of(files))
    }

    /// A repository of these files.
    pub fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let files: BTreeMap<_, _> = files.into_iter().collect();
        let rust: BTreeMap<_, _> =
            files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| (path.clone(), Source::read(text))).collect();
        let test_files = rust.iter().flat_map(|(path, source)| test_files(path, source)).collect();
        Self { files, rust, test_files }
    }

    /// A repository of these files, for tests.
    #[cfg(test)]
    pub fn sample(files: &[(&str, &str)]) -> Self {
        Self::of(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())))
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is a file, or a folder with files, of this path.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.files.range(folder.clone()..).next().is_some_and(|(at, _)| at.starts_with(&folder))
    }

    /// The product's Rust files: not tests, examples, or tools.
    pub fn product(&self) -> impl Iterator<Item = (&str, &Source)> {
        let tool = |path: &str| ["xtask/", "testing/", "fuzz/", "bench/"].iter().any(|folder| path.starts_with(folder));
        let aside = |path: &str| path.contains("/tests/") || path.contains("/examples/") || path.contains("/benches/");
        let declared =
            |path: &str| self.test_files.iter().any(|test| path == test || path.starts_with(test.trim_end_matches(".rs")));
        let files = self.rust.iter().map(|(path, source)| (path.as_str(), source));
        files.filter(move |(path, _)| !tool(path) && !aside(path) && !declared(path))
    }
}

/// The paths that `#[cfg(test)] mod name;` in a file may mean: `name.rs` and `name/` beside its submodules.
fn test_files(path: &str, source: &Source) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let base = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
    };
    source.test_modules.iter().flat_map(|name| [format!("{base}/{name}.rs"), format!("{base}/{name}/")]).collect()
}

fn walk(folder: &Path, path: &str, depth: usize, files: &mut BTreeMap<String, String>) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("`{}` lies too deep", folder.display()));
    }
    let failed = |error: std::io::Error| format!("`{}`: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let kind = entry.file_type().map_err(failed)?;
        let skipped = ["target", ".git", "node_modules", "run", "var", "__pycache__", "artifacts"].contains(&name.as_str());
        if kind.is_dir() && !skipped {
            walk(&entry.path(), &path, depth + 1, files)?;
        } else if kind.is_file() && entry.metadata().map_err(failed)?.len() <= FILE_BYTES_MAX {
            // What is not UTF-8 is data; no rule reads it.
            if let Ok(text) = std::fs::read_to_string(entry.path()) {
                files.insert(path, text);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Repo;

    #[test]
    fn tests_examples_and_tools_are_not_the_product() {
        let repo = Repo::sample(&[
            ("wire/src/lib.rs", "#[cfg(test)]\nmod tests;\nmod path;"),
            ("wire/src/tests.rs", ""),
            ("wire/src/path.rs", "#[cfg(test)]\nmod cases;"),
            ("wire/src/path/cases/odd.rs", ""),
            ("wire/tests/x.rs", ""),
            ("wire/examples/x.rs", ""),
            ("xtask/src/main.rs", ""),
        ]);
        assert_eq!(repo.product().map(|(path, _)| path).collect::<Vec<_>>(), ["wire/src/lib.rs", "wire/src/path.rs"]);
    }

    #[test]
    fn folders_are_there_when_they_have_files() {
        let repo = Repo::sample(&[("docs/a/b.md", "")]);
        assert!(repo.has("docs/a/b.md") && repo.has("docs/a") && repo.has("docs/a/"));
        assert!(!repo.has("docs/a/b") && !repo.has("doc"));
    }
}
