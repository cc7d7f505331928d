//! `cargo xtask`: the tasks of the people who work on Portcullis. `cargo xtask test` is the one test command.
#![expect(clippy::print_stdout, reason = "a tool for the terminal: what it prints is its result")]
#![expect(
    clippy::disallowed_methods,
    reason = "a tool of the developers: it reads its own arguments and the machine, and waits for programs"
)]

mod bench;
mod dist;
mod docs;
mod failures;
mod fuzz;
mod metadata;
mod node;
mod package;
mod programs;
mod python;
mod repo;
mod run;
mod source;
mod steps;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test                          everything that must hold before a commit is kept; CI runs exactly this
cargo xtask programs                      install what the tests need: programs, and Python packages under the target folder
cargo xtask tidy                          the house rules that the compiler cannot check
cargo xtask docs                          write the generated pages under docs/reference/
cargo xtask dist                          build the program as it is shipped, guided by a short mix of traffic: target/guided/portcullis
cargo xtask package                       build the Debian package under target/package/
cargo xtask fuzz [TARGET] [--seconds N]   fuzz one target, or each in turn (60 seconds by default)
cargo xtask bench [ARGUMENTS…]            compare with nginx and HAProxy; arguments go to bench/compare";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => return test::test(),
        ["programs"] => programs::ensure(),
        ["tidy"] => tidy::tidy(),
        ["docs"] => docs::write_all(),
        ["dist"] => dist::dist().map(drop),
        ["package"] => package::package(),
        ["fuzz", rest @ ..] => fuzz::fuzz(rest),
        ["bench", rest @ ..] => bench::bench(rest),
        _ => Err(format!("usage:\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
