//! Runs a target for long: `portcullis-fuzz TARGET --seconds N [--seed S]`, or `--list`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a tool that people run")]

use portcullis_fuzz::{Mutator, TARGETS, corpus};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn number(words: &[String], flag: &str) -> Option<u64> {
    let at = words.iter().position(|word| word == flag)?;
    words.get(at + 1)?.parse().ok()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let Some((name, check)) = words.first().and_then(|word| TARGETS.iter().find(|(name, _)| name == word)) else {
        println!("usage: portcullis-fuzz TARGET --seconds N [--seed S]; targets by --list");
        return ExitCode::FAILURE;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (seconds, seed) = (number(&words, "--seconds").unwrap_or(60), number(&words, "--seed").unwrap_or(now));
    let seeds = corpus(name);
    let mut mutator = Mutator::new(seed);
    let (begin, mut tried) = (Instant::now(), 0_u64);
    while begin.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..256 {
            let input = mutator.next_input(&seeds);
            tried += 1;
            if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
                let file = format!("fuzz/artifacts/{name}-{seed}-{tried}");
                let kept = std::fs::create_dir_all("fuzz/artifacts").and_then(|()| std::fs::write(&file, &input));
                println!("{name}: found something with seed {seed} after {tried} inputs: {file} ({kept:?})");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{name}: {tried} inputs in {seconds} s, seed {seed}, nothing found");
    ExitCode::SUCCESS
}
