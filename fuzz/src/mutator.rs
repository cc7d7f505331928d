//! Inputs made from the corpus by seeded mutation.

use std::path::PathBuf;

/// Pieces that parsers stumble over.
const DICTIONARY: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b"\t",
    b" ",
    b":",
    b";",
    b",",
    b"%2f",
    b"%2e",
    b"%25",
    b"%00",
    b"%c0%af",
    b"..",
    b"/../",
    b"//",
    b"?",
    b"#",
    b"\\",
    b"&",
    b"=",
    b"chunked",
    b"Transfer-Encoding: ",
    b"Content-Length: ",
    b"Host: ",
    b"Connection: ",
    b"Upgrade: ",
    b"Expect: 100-continue",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"GET ",
    b"POST ",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b"+",
    b"-",
    b"\xff",
    b"[::1]",
    b"websocket",
    b"keep-alive",
    b"close",
    b"{",
    b"}",
    b"[",
    b"]",
    b"- ",
    b"version: 1\n",
    b"apis:\n",
];

/// The largest input that is made.
const INPUT_BYTES_MAX: usize = 4096;

/// A source of inputs; the same seed gives the same inputs.
#[derive(Clone, Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// A source from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound` (SplitMix64).
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    fn pick<'s>(&mut self, from: &'s [Vec<u8>]) -> &'s [u8] {
        let at = self.below(from.len());
        from.get(at).map_or(&[], Vec::as_slice)
    }

    /// Another input.
    pub fn next_input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.pick(seeds).to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 => {
                    let byte = self.below(256) as u8;
                    if let Some(slot) = input.get_mut(at) {
                        *slot = byte;
                    }
                }
                1 => {
                    let word = DICTIONARY.get(self.below(DICTIONARY.len())).copied().unwrap_or_default();
                    input.splice(at..at, word.iter().copied());
                }
                2 => {
                    let end = (at + self.below(16)).min(input.len());
                    input.drain(at..end);
                }
                3 => {
                    let other = self.pick(seeds).to_vec();
                    input.truncate(at);
                    input.extend(other.into_iter().skip(at));
                }
                4 => {
                    let end = (at + self.below(32)).min(input.len());
                    let again: Vec<u8> = input.get(at..end).unwrap_or_default().to_vec();
                    input.splice(at..at, again);
                }
                _ => {
                    let bit = 1_u8 << self.below(8);
                    if let Some(slot) = input.get_mut(at) {
                        *slot ^= bit;
                    }
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }
}

/// The seeds of a target: the files of `fuzz/corpus/NAME` in the clone that cargo runs in.
#[must_use]
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let folder = package.join("corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}
