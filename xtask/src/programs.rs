//! The programs that the tests need besides the Rust toolchain, and how they get here.

use crate::{node, python, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A program and the Debian package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("nginx", "nginx"),
    ("haproxy", "haproxy"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("openssl", "openssl"),
    ("systemd-analyze", "systemd"),
    ("dpkg-deb", "dpkg"),
    ("python3", "python3"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("h2load", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    ("redis-server", "redis-server"),
];
/// The package that lets Debian's Python make virtual environments.
const ENVIRONMENTS: &str = "python3-venv";

/// Makes sure that every program and every package of Python and npm is there: installs what is missing where that is allowed, else says what
/// to run.
///
/// # Errors
/// The line to run, when a program is missing and cannot be installed from here.
pub fn ensure() -> Result<(), String> {
    ensure_programs()?;
    python::ensure(&find("python3").ok_or("`python3` is not on the path")?)?;
    node::ensure(&find("npm").ok_or("`npm` is not on the path")?)
}

fn ensure_programs() -> Result<(), String> {
    let packages = missing(find, python::can_make_environments);
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
    let still = missing(find, python::can_make_environments);
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

fn missing(find: impl Fn(&str) -> Option<PathBuf>, makes_environments: impl Fn(&Path) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = NEEDED.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if !find("python3").is_some_and(|python| makes_environments(&python)) {
        packages.push(ENVIRONMENTS);
    }
    packages
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
        assert_eq!(missing(|program| (program != "nginx").then(PathBuf::new), |_| true), ["nginx"]);
        assert_eq!(missing(|program| (program != "python3").then(PathBuf::new), |_| true), ["python3", "python3-venv"]);
        assert_eq!(missing(|_| Some(PathBuf::new()), |_| false), ["python3-venv"]);
        assert!(missing(|_| Some(PathBuf::new()), |_| true).is_empty());
    }

    #[test]
    fn a_program_is_found_where_it_lies() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert!(find("no-such-program-of-portcullis").is_none());
    }
}
