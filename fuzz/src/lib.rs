//! Fuzz targets: each takes any bytes and panics when something that must always hold does not.
//!
//! `cargo xtask fuzz TARGET --seconds N` runs one for long; the tests replay the corpus and mutate it for a moment, by a fixed seed.
#![expect(clippy::panic, clippy::expect_used, clippy::disallowed_methods, reason = "a target says what it found by a panic")]

mod differential;
mod mutator;
mod targets;

pub use mutator::{Mutator, corpus};

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("request_head", targets::request_head),
    ("response_head", targets::response_head),
    ("chunked", targets::chunked),
    ("canonical_path", targets::canonical_path),
    ("query", targets::query),
    ("proxy_header", targets::proxy_header),
    ("http2_head", targets::http2_head),
    ("frame_meter", targets::frame_meter),
    ("token", targets::token),
    ("logout_token", targets::logout_token),
    ("cookies", targets::cookies),
    ("proof", targets::proof),
    ("key_set", targets::key_set),
    ("key_file", targets::key_file),
    ("signature", targets::signature),
    ("message_signature", targets::message_signature),
    ("config", targets::config),
    ("differential", differential::differential),
];

/// Runs a target on mutations of its corpus for about so many milliseconds. Gives how many inputs were tried; panics with the seed in
/// the message's context when the target does.
#[must_use]
pub fn run(target: Target, seed: u64, milliseconds: u64) -> u64 {
    let (name, check) = target;
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "fuzz/corpus/{name} has seeds");
    seeds.iter().for_each(|input| check(input));
    let mut mutator = Mutator::new(seed);
    let begin = std::time::Instant::now();
    let mut tried = seeds.len() as u64;
    while begin.elapsed().as_millis() < u128::from(milliseconds) {
        for _ in 0..64 {
            check(&mutator.next_input(&seeds));
            tried += 1;
        }
    }
    tried
}
