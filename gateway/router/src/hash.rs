//! A fast hash for keys that only the operator chooses. Clients look keys up but never add one, so they cannot make them collide.

use std::hash::{BuildHasherDefault, Hasher};

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Up to eight bytes as a number, filled up with zeros.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0_u8; 8];
    for (slot, byte) in word.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    u64::from_le_bytes(word)
}

/// Up to sixteen bytes as two numbers, filled up with zeros.
pub(crate) fn words(bytes: &[u8]) -> [u64; 2] {
    let (first, second) = bytes.split_at_checked(8).unwrap_or((bytes, b""));
    [word(first), word(second)]
}

/// Multiplies and folds, eight bytes at a time.
#[derive(Clone, Copy, Default)]
pub(crate) struct FastHasher(u64);

impl FastHasher {
    /// A hasher that begins with a number.
    pub(crate) fn with_seed(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    fn mix(&mut self, value: u64) {
        let product = (self.0 ^ value).wrapping_mul(FACTOR);
        self.0 = product ^ (product >> 32);
    }
}

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for bytes in words {
            self.mix(u64::from_le_bytes(*bytes));
        }
        // The length keeps apart what differs in zeros at the end only.
        self.mix(word(rest) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, _: u8) {
        // What `str` appends to its bytes; `write` has the length in it already.
    }

    fn finish(&self) -> u64 {
        let product = self.0.wrapping_mul(FACTOR);
        product ^ (product >> 32)
    }
}

/// A map keyed by texts that the operator wrote.
pub(crate) type FastMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<FastHasher>>;
