//! `cargo xtask package`: the Debian package, around the program as it is shipped.

use crate::dist;
use crate::metadata::Metadata;
use crate::run;
use std::process::Command;
use std::time::Duration;

/// Builds the program and the package.
///
/// # Errors
/// What failed.
pub fn package() -> Result<(), String> {
    let program = dist::dist()?;
    let folder = Metadata::read()?.target_folder;
    let script = run::root().join("packaging/debian/build.sh");
    run::shown(Command::new(script).arg(program).arg(folder.join("package")), Duration::from_secs(120))
}
