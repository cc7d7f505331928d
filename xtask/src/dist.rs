//! `cargo xtask dist`: the program as it is shipped and measured, built with what a short mix of traffic taught the compiler
//! (profile-guided optimisation).

use crate::metadata::Metadata;
use crate::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A build with link-time optimisation of everything takes its time.
const BUILD_TIME_MAX: Duration = Duration::from_secs(3600);
/// The traffic takes seconds; a program full of counters is slower.
const TRAINING_TIME_MAX: Duration = Duration::from_secs(600);

/// Builds the program with counters, lets it work, and builds it again with what was counted. Gives where it lies.
///
/// # Errors
/// What failed, and what to install when the toolchain's `llvm-profdata` is missing.
pub fn dist() -> Result<PathBuf, String> {
    let host = host()?;
    let merger = merger(&host)?;
    let folder = Metadata::read()?.target_folder.join("guided");
    let counted = folder.join("counted");
    if counted.exists() {
        // What an earlier program counted does not fit this one.
        std::fs::remove_dir_all(&counted).map_err(|error| format!("{}: {error}", counted.display()))?;
    }
    println!("1 of 3: the program with counters");
    let learning = build(&host, &folder.join("learning"), &format!("-Cprofile-generate={}", counted.display()))?;
    println!("2 of 3: a short mix of traffic (bench/train.py)");
    let train = run::root().join("bench/train.py");
    run::shown(Command::new("python3").arg(train).arg(&learning), TRAINING_TIME_MAX)?;
    let learned = folder.join("learned.profdata");
    run::shown(Command::new(merger).args(["merge", "-o"]).args([&learned, &counted]), TRAINING_TIME_MAX)?;
    println!("3 of 3: the program");
    // Most of what it is built from the traffic never reaches, which is no reason for a warning each.
    let flags = format!("-Cprofile-use={} -Cllvm-args=-pgo-warn-missing-function=0", learned.display());
    let built = build(&host, &folder.join("build"), &flags)?;
    let program = folder.join("portcullis");
    std::fs::copy(&built, &program).map_err(|error| format!("{}: {error}", program.display()))?;
    println!("{}", program.display());
    Ok(program)
}

/// Builds for `host` by name, so that the flags are those of the program alone, and not of what runs during the build.
fn build(host: &str, folder: &Path, flags: &str) -> Result<PathBuf, String> {
    let words = ["build", "--locked", "--package", "portcullis", "--profile", "dist", "--target", host, "--target-dir"];
    run::shown(run::cargo().args(words).arg(folder).env("RUSTFLAGS", flags), BUILD_TIME_MAX)?;
    Ok(folder.join(host).join("dist/portcullis"))
}

fn rustc(words: &[&str]) -> Result<String, String> {
    run::output(Command::new("rustc").args(words).current_dir(run::root()), Duration::from_secs(60))
}

/// The platform that the compiler runs on.
fn host() -> Result<String, String> {
    let told = rustc(&["-vV"])?;
    let line = told.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| format!("`rustc -vV` does not tell its host:\n{told}"))
}

/// The toolchain's own `llvm-profdata`: another version may not read what this compiler's programs count.
fn merger(host: &str) -> Result<PathBuf, String> {
    let sysroot = rustc(&["--print", "sysroot"])?;
    let program = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("`{}` is not here; install it with `rustup component add llvm-tools`", program.display()))
    }
}
