//! Key sets that control fetches from their providers, and replaces while policies look at them.

use arc_swap::ArcSwapOption;
use portcullis_engines_jose::KeySet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// For how long after it was fetched a key set knows every key of its provider, in seconds. A key that it does not have is asked for again
/// only after that: strangers with invented keys cause no more fetches (threats E 110).
const CERTAIN_FOR: u64 = 10;

/// The key set of a provider; none as long as it has not been fetched, or when it has become too old.
#[derive(Default)]
pub struct LiveKeys {
    keys: ArcSwapOption<KeySet>,
    fetched_unix_seconds: AtomicU64,
    is_wanted: AtomicBool,
    fetched: AtomicU64,
    failed: AtomicU64,
}

impl LiveKeys {
    /// Looks at the keys; takes no lock. Nothing when there are none.
    pub fn look<R>(&self, with: impl FnOnce(&KeySet) -> R) -> Option<R> {
        self.keys.load().as_deref().map(with)
    }

    /// Whether a key that is not in the set can be said not to exist. If not, the set is asked for again.
    pub fn is_certain(&self, now_unix_seconds: u64) -> bool {
        let certain = self.age(now_unix_seconds) < CERTAIN_FOR;
        if !certain {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
        certain
    }

    /// How long ago it was fetched, in seconds. A clock that was set back makes it as old as can be.
    #[must_use]
    pub fn age(&self, now_unix_seconds: u64) -> u64 {
        now_unix_seconds.checked_sub(self.fetched_unix_seconds.load(Ordering::Acquire)).unwrap_or(u64::MAX)
    }

    /// Whether somebody has asked for it since the last call, and it is not one that was fetched just now.
    pub fn take_wanted(&self, now_unix_seconds: u64) -> bool {
        self.is_wanted.swap(false, Ordering::Relaxed) && self.age(now_unix_seconds) >= CERTAIN_FOR
    }

    /// Notes that it has been asked for, and whether it came.
    pub fn note_tried(&self, has_come: bool) {
        let count = if has_come { &self.fetched } else { &self.failed };
        count.fetch_add(1, Ordering::Release);
    }

    /// Whether it has been asked for at least once.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        self.outcomes() != (0, 0)
    }

    /// How often it has come when it was asked for, and how often not.
    #[must_use]
    pub fn outcomes(&self) -> (u64, u64) {
        (self.fetched.load(Ordering::Acquire), self.failed.load(Ordering::Acquire))
    }

    /// Puts a set in force.
    pub fn replace(&self, keys: KeySet, now_unix_seconds: u64) {
        self.keys.store(Some(Arc::new(keys)));
        self.fetched_unix_seconds.store(now_unix_seconds, Ordering::Release);
    }

    /// Takes a set that is too old out of force.
    pub fn clear(&self) {
        self.keys.store(None);
    }
}

#[cfg(test)]
mod tests {
    use super::LiveKeys;
    use portcullis_engines_jose::KeySet;

    #[test]
    fn a_set_is_certain_for_a_while_and_wanted_once() {
        let live = LiveKeys::default();
        assert!(live.look(KeySet::len).is_none() && !live.is_certain(1_000) && live.take_wanted(1_000));
        assert!(!live.take_wanted(1_000));
        live.replace(KeySet::default(), 1_000);
        assert!(live.is_certain(1_009) && !live.take_wanted(1_009) && live.look(KeySet::len) == Some(0));
        assert!(!live.is_certain(1_010) && live.take_wanted(1_010));
        assert!(!live.is_certain(999), "set back");
        live.clear();
        assert!(live.look(KeySet::len).is_none());
    }
}
