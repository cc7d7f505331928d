//! The programs that the tests need besides the Rust toolchain, and how they get here.

use crate::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A program and the Debian package that has it.
const NEEDED: &[(&str, &str)] = &[("nginx", "nginx"), ("curl", "curl"), ("openssl", "openssl"), ("python3", "python3")];

/// Makes sure that every program is there: installs what is missing where that is allowed, else says what to run.
///
/// # Errors
/// The line to run, when a program is missing and cannot be installed from here.
pub fn ensure() -> Result<(), String> {
    let packages = missing(find);
    if packages.is_empty() {
        println!("all there: {}", NEEDED.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", "));
        return Ok(());
    }
    let line = format!("apt-get update && apt-get install -y --no-install-recommends {}", packages.join(" "));
    let Some(mut command) = installer() else {
        return Err(format!(
            "not here: {}; nothing was tested. run this, then again `cargo xtask test`:\n  sudo sh -c '{line}'",
            packages.join(", ")
        ));
    };
    println!("not here: {}; installing: {line}", packages.join(", "));
    let installed = run::shown(command.args(["sh", "-c", &line]), Duration::from_secs(600));
    let still = missing(find);
    match installed {
        Ok(()) if still.is_empty() => Ok(()),
        outcome => Err(format!(
            "could not install {}: {}\nnothing was tested. run yourself:\n  {line}",
            still.join(", "),
            outcome.err().unwrap_or_default()
        )),
    }
}

/// Where a program is: on the path, or where the system keeps its daemons, which is often not on the path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| is_file(file))
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.is_file())
}

fn missing(find: impl Fn(&str) -> Option<PathBuf>) -> Vec<&'static str> {
    NEEDED.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect()
}

/// `env`, as root, if we may: directly, or by a sudo that asks for no password.
fn installer() -> Option<Command> {
    find("apt-get")?;
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive"];
    let id = run::output(Command::new("id").arg("-u"), Duration::from_secs(10)).ok()?;
    if id.trim() == "0" {
        let mut command = Command::new("env");
        command.arg("DEBIAN_FRONTEND=noninteractive");
        return Some(command);
    }
    run::output(Command::new(find("sudo")?).args(["-n", "true"]), Duration::from_secs(10)).ok()?;
    let mut command = Command::new("sudo");
    command.arg("-n").args(quiet);
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::{find, missing};
    use std::path::PathBuf;

    #[test]
    fn what_is_not_found_is_named_by_its_package() {
        assert_eq!(missing(|program| (program != "nginx").then(PathBuf::new)), ["nginx"]);
        assert!(missing(|_| Some(PathBuf::new())).is_empty());
    }

    #[test]
    fn a_program_is_found_where_it_lies() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert!(find("no-such-program-of-portcullis").is_none());
    }
}
