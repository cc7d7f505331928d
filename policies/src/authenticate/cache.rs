//! Tokens that were verified, found by their hash. Shared by the workers: each shard is held for the time of a comparison.

use portcullis_engines_jose::{Binding, KeyMark};
use portcullis_gateway_policy::StateDigest;
use portcullis_model::Principal;
use std::sync::{Arc, Mutex, PoisonError};

/// How many parts it has; each has a lock of its own.
const SHARDS: usize = 64;
/// How many sets a shard has, and how many tokens a set.
const SETS: usize = 64;
const WAYS: usize = 8;

/// The hash of a token.
pub(super) type TokenHash = [u8; 32];

/// What a verified token says, whatever it is used for.
#[derive(Debug)]
pub(super) struct Verified {
    /// Who.
    pub(super) principal: Arc<Principal>,
    /// The provider, as it was configured when it vouched.
    pub(super) provider: StateDigest,
    /// For whom.
    pub(super) audiences: Box<[Box<str>]>,
    /// What whoever shows it must prove.
    pub(super) binding: Binding,
    /// The key that signed it.
    pub(super) key: KeyMark,
    /// From when on it is valid, in seconds since the Unix epoch.
    pub(super) not_before: u64,
    /// From when on it is not, leeway included.
    pub(super) ends: u64,
}

type Slot = Option<(TokenHash, Arc<Verified>)>;

/// At most 32,768 tokens. A full set gives up the one that ends first.
pub(super) struct TokenCache {
    shards: Box<[Mutex<Box<[Slot]>>]>,
}

impl Default for TokenCache {
    fn default() -> Self {
        let shard = || Mutex::new(vec![None; SETS * WAYS].into_boxed_slice());
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }
}

impl TokenCache {
    /// What is known of a token.
    pub(super) fn find(&self, hash: &TokenHash) -> Option<Arc<Verified>> {
        self.within(hash, |set| {
            let found = set.iter().flatten().find(|(known, _)| known == hash);
            found.map(|(_, verified)| Arc::clone(verified))
        })
    }

    /// Keeps a token that was verified.
    pub(super) fn keep(&self, hash: TokenHash, verified: Arc<Verified>) {
        self.within(&hash, |set| {
            let rank = |slot: &Slot| match slot {
                Some((known, _)) if *known == hash => (0, 0),
                None => (1, 0),
                Some((_, verified)) => (2, verified.ends),
            };
            if let Some(slot) = set.iter_mut().min_by_key(|slot| rank(slot)) {
                *slot = Some((hash, verified));
            }
            None::<()>
        });
    }

    fn within<R>(&self, hash: &TokenHash, with: impl FnOnce(&mut [Slot]) -> Option<R>) -> Option<R> {
        let [first, second, ..] = hash;
        let shard = self.shards.get(usize::from(*first) % SHARDS)?;
        let mut slots = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = usize::from(*second) % SETS * WAYS;
        slots.get_mut(begin..begin + WAYS).and_then(with)
    }
}
