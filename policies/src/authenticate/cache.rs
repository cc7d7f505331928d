//! What was found out about credentials, by their hash. Shared by the workers: each shard is held for the time of a comparison.

use portcullis_engines_jose::{Binding, KeyMark};
use portcullis_gateway_policy::StateDigest;
use portcullis_model::Principal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many parts it has; each has a lock of its own.
const SHARDS: usize = 64;
/// How many sets a shard of the largest has, and how many credentials a set.
const SETS: usize = 64;
const WAYS: usize = 8;

/// The hash of a credential.
pub(crate) type TokenHash = [u8; 32];

/// What ends by itself.
pub(crate) trait Ends {
    /// From when on it is worth nothing, in seconds since the Unix epoch.
    fn ends(&self) -> u64;
}

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
    /// The key that signed it; nothing when its provider was asked about it.
    pub(super) key: Option<KeyMark>,
    /// Until when its provider is not asked again, by the clock that is never put back.
    pub(super) fresh_until: Option<Duration>,
    /// From when on it is valid, in seconds since the Unix epoch.
    pub(super) not_before: u64,
    /// From when on it is not, leeway included.
    pub(super) ends: u64,
}

impl Verified {
    /// Whether it still holds, at a moment of both clocks.
    pub(super) fn is_now(&self, now: u64, arrived: Duration) -> bool {
        self.not_before <= now && now < self.ends && self.fresh_until.is_none_or(|until| arrived < until)
    }
}

impl Ends for Verified {
    fn ends(&self) -> u64 {
        self.ends
    }
}

type Slot<V> = Option<(TokenHash, Arc<V>)>;
type Shard<V> = Mutex<Box<[Slot<V>]>>;

/// At most so many as it was made for. A full set gives up what ends first.
pub(crate) struct Cache<V> {
    shards: Box<[Shard<V>]>,
    sets: usize,
}

/// Tokens that were verified.
pub(super) type TokenCache = Cache<Verified>;

impl<V> Default for Cache<V> {
    /// At most 32,768.
    fn default() -> Self {
        Self::with(SETS)
    }
}

impl<V> Cache<V> {
    /// At most 4,096.
    pub(crate) fn small() -> Self {
        Self::with(SETS / 8)
    }

    fn with(sets: usize) -> Self {
        let shard = || Mutex::new(std::iter::repeat_with(|| None).take(sets * WAYS).collect::<Box<[Slot<V>]>>());
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), sets }
    }
}

impl<V: Ends> Cache<V> {
    /// What is known of a credential.
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<Arc<V>> {
        self.within(hash, |set| {
            let found = set.iter().flatten().find(|(known, _)| known == hash);
            found.map(|(_, verified)| Arc::clone(verified))
        })
    }

    /// Keeps what was found out.
    pub(crate) fn keep(&self, hash: TokenHash, verified: Arc<V>) {
        self.within(&hash, |set| {
            let rank = |slot: &Slot<V>| match slot {
                Some((known, _)) if *known == hash => (0, 0),
                None => (1, 0),
                Some((_, verified)) => (2, verified.ends()),
            };
            if let Some(slot) = set.iter_mut().min_by_key(|slot| rank(slot)) {
                *slot = Some((hash, verified));
            }
            None::<()>
        });
    }

    fn within<R>(&self, hash: &TokenHash, with: impl FnOnce(&mut [Slot<V>]) -> Option<R>) -> Option<R> {
        let [first, second, ..] = hash;
        let shard = self.shards.get(usize::from(*first) % SHARDS)?;
        let mut slots = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = usize::from(*second) % self.sets * WAYS;
        slots.get_mut(begin..begin + WAYS).and_then(with)
    }
}
