//! What cargo knows of the workspace and of what it is built from.

use crate::run;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// A package.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence expression (SPDX), if it has one.
    pub license: Option<String>,
    /// Where it comes from; `None` for packages of this workspace.
    pub source: Option<String>,
    /// The ids of the packages that it is built with, as resolved: its product, not its tests.
    pub needs: BTreeSet<String>,
    /// The names of the workspace packages that its manifest names, also those that only its tests use.
    pub declares: BTreeSet<String>,
}

/// The workspace and everything it is built from on this machine's platform.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// By id.
    pub packages: BTreeMap<String, Package>,
    /// The ids of the workspace's own packages.
    pub members: BTreeSet<String>,
    /// Where cargo builds to.
    pub target_folder: PathBuf,
}

impl Metadata {
    /// Asks cargo, which refuses when `Cargo.lock` does not fit the manifests.
    ///
    /// # Errors
    /// When cargo refuses, or its answer is not understood.
    pub fn read() -> Result<Self, String> {
        let host = host()?;
        let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
        let text = run::output(run::cargo().args(words), Duration::from_secs(600))?;
        let value = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
        let mut all = Self::of(&value).ok_or_else(|| "cargo metadata: the answer is not understood".to_owned())?;
        let words = ["tree", "--workspace", "--locked", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"];
        all.keep_built(&run::output(run::cargo().args(words), Duration::from_secs(600))?);
        Ok(all)
    }

    /// Keeps only the packages that `cargo tree` lists. `cargo metadata` also tells of optional ones that a feature mentions weakly
    /// (`ring?/std`) and that are never built.
    fn keep_built(&mut self, tree: &str) {
        let built: BTreeSet<(&str, &str)> = tree
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some((words.next()?, words.next()?.strip_prefix('v')?))
            })
            .collect();
        self.packages.retain(|_, package| built.contains(&(package.name.as_str(), package.version.as_str())));
    }

    fn of(value: &Value) -> Option<Self> {
        let mut all = Self { target_folder: value.get("target_directory")?.as_str()?.into(), ..Self::default() };
        all.members = value.get("workspace_members")?.as_array()?.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        let found: BTreeMap<&str, &Value> =
            value.get("packages")?.as_array()?.iter().filter_map(|package| Some((package.get("id")?.as_str()?, package))).collect();
        for node in value.pointer("/resolve/nodes")?.as_array()? {
            let id = node.get("id")?.as_str()?;
            let needs = node
                .get("deps")?
                .as_array()?
                .iter()
                .filter(|dep| is_product(dep))
                .filter_map(|dep| Some(dep.get("pkg")?.as_str()?.to_owned()));
            let package = found.get(id)?;
            let text = |key: &str| package.get(key).and_then(Value::as_str).map(str::to_owned);
            let declares = package.get("dependencies")?.as_array()?.iter().filter(|dep| dep.get("path").is_some());
            let package = Package {
                name: text("name")?,
                version: text("version")?,
                license: text("license"),
                source: text("source"),
                needs: needs.collect(),
                declares: declares.filter_map(|dep| Some(dep.get("name")?.as_str()?.to_owned())).collect(),
            };
            all.packages.insert(id.to_owned(), package);
        }
        Some(all)
    }

    /// The packages of this workspace.
    pub fn own(&self) -> impl Iterator<Item = (&String, &Package)> {
        self.packages.iter().filter(|(id, _)| self.members.contains(*id))
    }

    /// The names of everything that a package is built with, near and far, with one way to each.
    pub fn reaches(&self, id: &str) -> BTreeMap<&str, Vec<&str>> {
        let mut ways: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut next = vec![(id, Vec::new())];
        while let Some((id, way)) = next.pop() {
            let Some(package) = self.packages.get(id) else { continue };
            for need in &package.needs {
                let Some(needed) = self.packages.get(need) else { continue };
                if !ways.contains_key(needed.name.as_str()) {
                    let mut way = way.clone();
                    way.push(needed.name.as_str());
                    ways.insert(&needed.name, way.clone());
                    next.push((need, way));
                }
            }
        }
        ways
    }
}

/// Whether a dependency is more than one of tests.
fn is_product(dependency: &Value) -> bool {
    let kinds = dependency.get("dep_kinds").and_then(Value::as_array);
    kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind.get("kind").and_then(Value::as_str) != Some("dev")))
}

fn host() -> Result<String, String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = run::output(std::process::Command::new(program).arg("-vV"), Duration::from_secs(60))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

#[cfg(test)]
impl Metadata {
    /// A small one for tests: `(name, licence, needs)`; packages with a licence come from the registry, others are our own.
    pub fn sample(packages: &[(&str, Option<&str>, &[&str])]) -> Self {
        let mut all = Self::default();
        for (name, license, needs) in packages {
            let needs: BTreeSet<String> = needs.iter().map(|need| (*need).to_owned()).collect();
            let package = Package {
                name: (*name).to_owned(),
                version: "1.0.0".to_owned(),
                license: license.map(str::to_owned),
                source: license.map(|_| "registry+https://github.com/rust-lang/crates.io-index".to_owned()),
                declares: needs.clone(),
                needs,
            };
            if license.is_none() {
                all.members.insert((*name).to_owned());
            }
            all.packages.insert((*name).to_owned(), package);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Metadata;
    use serde_json::json;

    #[test]
    fn dependencies_of_tests_are_not_what_the_product_needs() {
        let value = json!({
            "target_directory": "/t", "workspace_members": ["a"],
            "packages": [
                { "id": "a", "name": "a", "version": "1.0.0", "license": "MIT", "source": null, "dependencies": [{ "name": "b", "path": "/b" }, { "name": "c" }] },
                { "id": "b", "name": "b", "version": "1.0.0", "license": null, "source": null, "dependencies": [] },
            ],
            "resolve": { "nodes": [
                { "id": "a", "deps": [{ "pkg": "b", "dep_kinds": [{ "kind": null }] }, { "pkg": "c", "dep_kinds": [{ "kind": "dev" }] }] },
                { "id": "b", "deps": [] },
            ] },
        });
        let all = Metadata::of(&value).unwrap();
        let a = &all.packages["a"];
        assert_eq!((a.needs.len(), a.declares.len(), a.license.as_deref()), (1, 1, Some("MIT")));
    }

    #[test]
    fn what_is_only_mentioned_is_not_built() {
        let mut all = Metadata::sample(&[("a", None, &["ring"]), ("ring", Some("MIT"), &[])]);
        all.keep_built("a v1.0.0 (/a)\nring v0.9.0\n");
        assert_eq!(all.packages.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_is_far_away_is_reached_by_a_way() {
        let all = Metadata::sample(&[("a", None, &["b"]), ("b", Some("MIT"), &["c"]), ("c", Some("MIT"), &[])]);
        assert_eq!(all.reaches("a")["c"], ["b", "c"]);
    }
}
