//! Who a credential proves, and what that grants.

use std::sync::Arc;

/// Bits that a [`Grants`] is compared with: the words that have any, by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(Box<[(u16, u64)]>);

impl Mask {
    /// These bits.
    #[must_use]
    pub fn of(bits: impl IntoIterator<Item = u16>) -> Self {
        let mut words: Vec<(u16, u64)> = Vec::new();
        for bit in bits {
            let (at, mask) = (bit / 64, 1 << (bit % 64));
            match words.iter_mut().find(|(known, _)| *known == at) {
                Some((_, word)) => *word |= mask,
                None => words.push((at, mask)),
            }
        }
        Self(words.into())
    }

    /// Bits that no grants have.
    #[must_use]
    pub fn unreachable() -> Self {
        Self(Box::new([(u16::MAX, u64::MAX)]))
    }
}

/// What a credential grants: a bit for each role and scope that the configuration speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Box<[u64]>);

impl Grants {
    /// None of so many.
    #[must_use]
    pub fn none(bits: usize) -> Self {
        Self(vec![0; bits.div_ceil(64)].into())
    }

    /// Adds a bit; one beyond those that there are is not granted.
    pub fn add(&mut self, bit: u16) {
        if let Some(word) = self.0.get_mut(usize::from(bit / 64)) {
            *word |= 1 << (bit % 64);
        }
    }

    fn word(&self, at: u16) -> u64 {
        self.0.get(usize::from(at)).copied().unwrap_or(0)
    }

    /// Whether this bit is granted.
    #[must_use]
    pub fn has(&self, bit: u16) -> bool {
        self.word(bit / 64) >> (bit % 64) & 1 == 1
    }

    /// All of them, 64 to a word.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Whether one of the bits is granted.
    #[must_use]
    pub fn has_any(&self, mask: &Mask) -> bool {
        mask.0.iter().any(|(at, bits)| self.word(*at) & bits != 0)
    }

    /// Whether all of the bits are granted.
    #[must_use]
    pub fn has_all(&self, mask: &Mask) -> bool {
        mask.0.iter().all(|(at, bits)| self.word(*at) & bits == *bits)
    }
}

/// What consumers of a plan may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePlan {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// So many requests in `period_nanos`.
    pub count: u32,
    /// Nanoseconds.
    pub period_nanos: u64,
    /// So many at once.
    pub burst: u32,
    /// What clients are told of it, in `RateLimit-Policy`.
    pub policy: Arc<str>,
    /// Its share where requests wait for their turn, as a multiple of the least.
    pub weight: u32,
}

/// Who limits and plans apply to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// Its number in the vocabulary that the grants are of.
    pub number: u32,
    /// The plan, if there is one.
    pub plan: Option<Arc<UsagePlan>>,
}

/// What a credential or its holder is known by when it is revoked: a hash of what that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark(pub [u8; 16]);

/// Who is calling, as a verified credential proves it. What proved it is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The provider that vouches, by its name in the configuration.
    pub provider: Arc<str>,
    /// Who, by the provider's own naming: printable, at most 512 bytes.
    pub subject: Box<str>,
    /// The client that acts, if the provider says.
    pub client: Option<Box<str>>,
    /// The consumer, if there is one.
    pub consumer: Option<Consumer>,
    /// What they may, in bits of the vocabulary.
    pub grants: Grants,
    /// When the credential ends, in seconds since the Unix epoch.
    pub expires_unix_seconds: u64,
    /// When the credential was issued, in seconds since the Unix epoch; 0 when it does not say.
    pub issued_unix_seconds: u64,
    /// What the credential and its holder are known by when they are revoked.
    pub marks: Box<[Mark]>,
    /// From when on it is not taken any more, leeway for clocks included, and what was begun with it ends; `u64::MAX` when it never ends.
    pub ends_unix_seconds: u64,
}
