//! `cargo xtask tidy`: the rules of the house that the compiler cannot check.

mod arrows;
mod errors;
pub mod examples;
mod life;
mod links;
mod notes;
mod places;
mod policies;
mod secrets;
mod shape;
mod signs;
mod sizes;
mod supply;
mod threats;

use crate::metadata::Metadata;
use crate::repo::Repo;
use crate::run;
use std::fmt;

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root; or the package.
    pub place: String,
    /// The line, counted from 1; 0 for the whole.
    pub line: usize,
    /// What is wrong and what to do.
    pub text: String,
    /// Whether it is only worth a look.
    pub warning: bool,
}

impl Finding {
    /// An error at a line of a file.
    pub fn at(place: &str, line: usize, text: impl Into<String>) -> Self {
        Self { place: place.to_owned(), line, text: text.into(), warning: false }
    }

    /// An error of a whole file or package.
    pub fn of(place: &str, text: impl Into<String>) -> Self {
        Self::at(place, 0, text)
    }

    /// Worth a look only.
    pub fn warning(place: &str, text: impl Into<String>) -> Self {
        Self { warning: true, ..Self::of(place, text) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning" } else { "error" };
        match self.line {
            0 => write!(f, "{kind}: {}: {}", self.place, self.text),
            line => write!(f, "{kind}: {}:{line}: {}", self.place, self.text),
        }
    }
}

type FileCheck = fn(&Repo) -> Vec<Finding>;
type PackageCheck = fn(&Repo, &Metadata) -> Vec<Finding>;

const FILE_CHECKS: &[(&str, FileCheck)] = &[
    ("who may do what", places::check),
    ("who may see secrets", secrets::check),
    ("lengths of files and functions", sizes::check),
    ("open notes", notes::check),
    ("the table of policies", policies::check),
    ("the life of a request", life::check),
    ("links", links::check),
    ("the page of errors", errors::check),
    ("what metrics and codes mean", signs::check),
    ("coverage of threats", threats::check),
];

const PACKAGE_CHECKS: &[(&str, PackageCheck)] = &[
    ("arrows between packages", arrows::check),
    ("where dependencies come from", supply::check),
    ("shares of the packages", shape::check),
];

/// Checks every rule, and shows everything that breaks one.
///
/// # Errors
/// How much is wrong.
pub fn tidy() -> Result<(), String> {
    let repo = Repo::read(&run::root())?;
    let mut findings = Vec::new();
    for (_, check) in FILE_CHECKS {
        findings.extend(check(&repo));
    }
    let mut names: Vec<&str> = FILE_CHECKS.iter().map(|(name, _)| *name).collect();
    match Metadata::read() {
        Ok(metadata) => {
            for (name, check) in PACKAGE_CHECKS {
                names.push(name);
                findings.extend(check(&repo, &metadata));
            }
        }
        Err(error) => findings.push(Finding::of("Cargo.lock", error)),
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!("checked: {}", names.join(", "));
    match findings.iter().filter(|finding| !finding.warning).count() {
        0 => Ok(()),
        count => Err(format!("{count} to mend")),
    }
}
