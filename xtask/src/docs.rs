//! The pages under docs/reference/: generated from what they describe, so that they cannot tell anything else.

use crate::metadata::Metadata;
use crate::run;
use portcullis_model::Reason;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The page of all reasons.
pub const ERRORS: &str = "docs/reference/errors.md";
const CONFIGURATION: &str = "docs/reference/configuration.md";
const SCHEMA: &str = "docs/reference/config.schema.json";

/// Writes every generated page. Builds the gateway, which prints two of them.
///
/// # Errors
/// When the build fails or a page cannot be written.
pub fn write_all() -> Result<(), String> {
    run::shown(run::cargo().args(["build", "--package", "portcullis", "--profile", "ci"]), Duration::from_secs(1800))?;
    let binary = Metadata::read()?.target_folder.join("ci/portcullis");
    for (path, text) in [(ERRORS, errors()), (CONFIGURATION, printed(&binary, true)?), (SCHEMA, printed(&binary, false)?)] {
        let file = run::root().join(path);
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        folder.and_then(|()| std::fs::write(&file, text)).map_err(|error| format!("`{}`: {error}", file.display()))?;
        println!("written: {path}");
    }
    Ok(())
}

/// Compares the pages that the gateway prints with those in the repository.
///
/// # Errors
/// Which page is out of date.
pub fn compare(binary: &Path) -> Result<(), String> {
    let mut stale = Vec::new();
    for (path, text) in [(CONFIGURATION, printed(binary, true)?), (SCHEMA, printed(binary, false)?)] {
        if std::fs::read_to_string(run::root().join(path)).ok().as_deref() != Some(&text) {
            stale.push(path);
        }
    }
    if stale.is_empty() { Ok(()) } else { Err(format!("out of date: {}; run `cargo xtask docs`", stale.join(", "))) }
}

fn printed(binary: &Path, reference: bool) -> Result<String, String> {
    let mut command = Command::new(binary);
    command.arg("schema").args(reference.then_some("--reference"));
    let text = run::output(&mut command, Duration::from_secs(60))?;
    Ok(format!("{}\n", text.trim_end()))
}

/// The page of all reasons.
pub fn errors() -> String {
    let mut page = String::from(
        "# What the gateway answers, and why\n\n<!-- Written by `cargo xtask docs` from model/src/rejection.rs; do not edit. -->\n\n\
         Every answer of the gateway's own is `application/problem+json` (RFC 9457) with a `code` from this table and the request's id.\n\
         The same code stands in the access log as `reason` and in the metrics. Codes are stable. A status of — means that there is\n\
         nobody to answer: the connection ends. *Blame* says who is at fault; *closes* says that the connection ends with it.\n\n\
         | code | status | blame | closes | the client is told | what it means |\n|---|--:|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let status = if reason.status() == 0 { "—".to_owned() } else { reason.status().to_string() };
        let closes = if reason.closes() { "yes" } else { "no" };
        let told = if reason.public().is_empty() { "—" } else { reason.public() };
        let meaning = reason.doc().trim();
        // Writing to a String cannot fail.
        let _infallible =
            writeln!(page, "| `{}` | {status} | {} | {closes} | {told} | {meaning} |", reason.code(), reason.blame().as_str());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{Reason, errors};

    #[test]
    fn every_reason_has_its_row() {
        let page = errors();
        for reason in Reason::ALL {
            assert!(page.contains(&format!("| `{}` | ", reason.code())), "{}", reason.code());
        }
    }
}
