//! The last known good configuration on disk, without secrets: references stay references.

use portcullis_control_config::Plan;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

fn described(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// Writes the plan to `path`: wholly or not at all.
///
/// # Errors
/// When it cannot be written; what was there before is still there.
pub fn write(plan: &Plan, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| described(folder, &error))?;
    }
    let staged = path.with_extension(format!("new{}", std::process::id()));
    let outcome = stage(plan, &staged).and_then(|()| fs::rename(&staged, path));
    if outcome.is_err() {
        let _not_there = fs::remove_file(&staged);
    }
    outcome.map_err(|error| described(path, &error))
}

fn stage(plan: &Plan, staged: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(staged)?;
    file.write_all(b"# The last configuration that came into force, written by the gateway. Do not edit.\n")?;
    file.write_all(plan.to_canonical_yaml().as_bytes())?;
    file.sync_all()
}

/// Where the last known good configuration lies, if there is one.
#[must_use]
pub fn read(path: &Path) -> Option<PathBuf> {
    path.is_file().then(|| path.to_owned())
}
