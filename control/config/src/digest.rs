//! Content hashes: which files, APIs and plans are the same as before.

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_model_settings::Node;
use std::fmt;
use std::hash::Hasher;

/// A SHA-256 hash of content; shown as 64 hexadecimal digits.
///
/// A strong hash, because an equal one means that compiled parts are used again: a collision would keep an old rule in force.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DigestHasher::new("bytes");
        hasher.write(bytes);
        hasher.digest()
    }

    pub(crate) fn of_node(node: &Node<'_>) -> Self {
        let mut hasher = DigestHasher::new("node");
        node.feed(&mut hasher);
        hasher.digest()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Gathers small writes before hashing them.
pub(crate) struct DigestHasher {
    context: Context,
    pending: Vec<u8>,
}

impl DigestHasher {
    /// `domain` keeps hashes of different kinds of things apart.
    pub(crate) fn new(domain: &str) -> Self {
        let mut hasher = Self { context: Context::new(&SHA256), pending: Vec::with_capacity(256) };
        hasher.text(domain);
        hasher
    }

    /// Adds a text with its length, so that neighbours cannot run into one another.
    pub(crate) fn text(&mut self, text: &str) {
        self.write_u64(text.len() as u64);
        self.write(text.as_bytes());
    }

    pub(crate) fn digest(mut self) -> Digest {
        self.context.update(&self.pending);
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.context.finish().as_ref()) {
            *to = *from;
        }
        Digest(out)
    }
}

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= 4096 {
            self.context.update(&self.pending);
            self.pending.clear();
        }
    }

    /// Not used: see [`DigestHasher::digest`].
    fn finish(&self) -> u64 {
        0
    }
}
