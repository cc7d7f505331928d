//! `cargo xtask package`: the Debian package, around the program as it is shipped.

use crate::metadata::Metadata;
use crate::run;
use std::process::Command;
use std::time::Duration;

/// A build with link-time optimisation of everything takes its time.
const BUILD_TIME_MAX: Duration = Duration::from_secs(3600);

/// Builds the program and the package.
///
/// # Errors
/// What failed.
pub fn package() -> Result<(), String> {
    run::shown(run::cargo().args(["build", "--locked", "--package", "portcullis", "--profile", "dist"]), BUILD_TIME_MAX)?;
    let folder = Metadata::read()?.target_folder;
    let script = run::root().join("packaging/debian/build.sh");
    run::shown(Command::new(script).arg(folder.join("dist/portcullis")).arg(folder.join("package")), Duration::from_secs(120))
}
