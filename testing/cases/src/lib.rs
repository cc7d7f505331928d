//! Golden cases of policies: one file has a configuration, requests, and what becomes of them. They lie beside the policies, in
//! `policies/src/*/cases/*.case`, and are run through the gateway's own way of a request, without a socket.
//!
//! ```text
//! # What it shows, as a sentence.
//! == defaults            policies for every API, as in the configuration
//! == api                 keys of the API, for example policies
//! == route               keys of the route; without `access` everybody may call it
//! == sections            other sections of the configuration
//! == file lists/bad.txt  a file beside the configuration
//! == request             head, and after an empty line the body; ends of lines are made CRLF
//! == client              `address 198.51.100.7`, `scheme http`: else 192.0.2.1 by https
//! == upstream answers    `200`, then fields: what is answered to what is forwarded; 200 without fields when absent
//! == forwarded           what the upstream is sent; not there when nothing is
//! == answer              what the client is sent
//! ```
//!
//! `client` and `upstream answers` belong to the request before them; a case may have several requests, each on a connection of its own.
//! The last two are the expectation: `UPDATE_GOLDEN=1 cargo test -p portcullis-testing-cases` writes them anew. What differs with every
//! request (dates, ids) is left out of them.
#![expect(clippy::expect_used, clippy::panic, reason = "for tests: to fail with a clear text is what it is for")]
#![expect(clippy::disallowed_methods, reason = "for tests: what they are asked for stands in the environment")]

mod case;
mod run;
mod stand_in;

pub use case::{Case, Client, Exchange};
pub use run::run;

use std::path::{Path, PathBuf};

/// The folder of the policies, of the clone that cargo runs the tests in.
pub fn policies_folder() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.join("../../policies/src")
}

/// The cases of a policy, in the order of their names.
///
/// # Panics
/// When one cannot be read.
pub fn cases_of(policy: &str) -> Vec<(PathBuf, String)> {
    let folder = policies_folder().join(policy).join("cases");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "case")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Runs a case, and gives it as it would be written now, if that is not how it is written.
///
/// # Panics
/// When it cannot be read, or its configuration is refused.
pub fn difference(path: &Path, text: &str) -> Option<String> {
    let found = run(Case::read(&path.display().to_string(), text)).to_string();
    (found != text).then_some(found)
}

/// Compares a case with what becomes of it, or writes its file anew where `UPDATE_GOLDEN` asks for that.
///
/// # Errors
/// Both, if they differ.
pub fn check(path: &Path, text: &str) -> Result<(), String> {
    let Some(found) = difference(path, text) else { return Ok(()) };
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(path, found).map_err(|error| format!("{}: {error}", path.display()));
    }
    Err(format!("{}\nexpected:\n{text}\nfound:\n{found}", path.display()))
}
