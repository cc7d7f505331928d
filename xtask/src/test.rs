//! `cargo xtask test`: the one test command.

use crate::failures::Failures;
use crate::metadata::Metadata;
use crate::steps::{Steps, seconds};
use crate::tally::Tally;
use crate::{docs, programs, run, tidy};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// A first build compiles the C library of the TLS stack, which alone takes minutes on two cores.
const BUILD_TIME_MAX: Duration = Duration::from_secs(30 * 60);
const TESTS_TIME_MAX: Duration = Duration::from_secs(20 * 60);

/// Runs every step and ends with the summary line.
pub fn test() -> ExitCode {
    let begin = Instant::now();
    let mut steps = Steps::default();
    let (mut tally, mut failures) = (Tally::default(), Failures::default());
    if !steps.step("programs that the tests need", programs::ensure) {
        return ExitCode::FAILURE;
    }
    steps.step("cargo xtask tidy", tidy::tidy);
    steps.step("cargo fmt --check", || run::shown(run::cargo().args(["fmt", "--all", "--check"]), 5 * MINUTE));
    steps.step("cargo clippy, warnings denied", clippy);
    let mut binary = None;
    let built = steps.step("build of the gateway", || {
        binary = Some(build()?);
        Ok(())
    });
    if built && let Some(binary) = binary {
        steps.step("generated pages and examples", || {
            docs::compare(&binary)?;
            tidy::examples::check(&binary)
        });
        // The tests' own failures are in the tally; the step counts once more only if nothing there tells of it.
        steps.step("tests", || tests(&binary, &mut tally, &mut failures));
    }
    let failed = steps.failed();
    print!("{}", failures.text());
    if !failed.is_empty() {
        println!("\nfailed: {}", failed.join("; "));
    }
    let uncounted = failed.iter().filter(|title| *title != "tests" || tally.failed == 0).count() as u64;
    println!("\nin {}\n{}", seconds(begin.elapsed()), tally.line(uncounted));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All tests, with what failed ones said kept for the end of the output.
fn tests(binary: &Path, tally: &mut Tally, failures: &mut Failures) -> Result<(), String> {
    let mut command = run::cargo();
    command.args(["test", "--workspace", "--profile", "ci", "--no-fail-fast"]).env("PORTCULLIS_BIN", binary);
    run::by_line(&mut command, TESTS_TIME_MAX, |line| {
        println!("{line}");
        tally.read(line);
        failures.read(line);
    })
}

fn clippy() -> Result<(), String> {
    let words = ["clippy", "--workspace", "--all-targets", "--profile", "ci", "--", "-D", "warnings"];
    run::shown(run::cargo().args(words), BUILD_TIME_MAX)
}

fn build() -> Result<PathBuf, String> {
    run::shown(run::cargo().args(["build", "--package", "portcullis", "--profile", "ci"]), BUILD_TIME_MAX)?;
    let binary = Metadata::read()?.target_folder.join("ci/portcullis");
    if binary.is_file() { Ok(binary) } else { Err(format!("`{}` was not built", binary.display())) }
}
