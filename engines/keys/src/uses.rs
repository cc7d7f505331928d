//! When each key was used last.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many keys are remembered, those included that a file no longer has.
pub const USES_MAX: usize = 400_000;

/// The last use of one key.
#[derive(Debug, Default)]
pub struct Use {
    /// Seconds since the Unix epoch; 0 when it has never been used.
    at: AtomicU64,
    /// Whether it has been told that it is refused for being idle.
    told: AtomicBool,
}

impl Use {
    /// Notes a use. Writes once a second at the most, so that workers that share a key do not wait for one another.
    pub(crate) fn note(&self, now_unix_seconds: u64) {
        if self.at.load(Ordering::Relaxed) < now_unix_seconds {
            self.at.fetch_max(now_unix_seconds, Ordering::Relaxed);
        }
    }
}

/// A key that is refused because nobody has used it for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idled {
    /// Its id.
    pub id: Box<str>,
    /// Whose it is.
    pub name: Box<str>,
    /// When it was used last, in seconds since the Unix epoch; nothing when that was never seen.
    pub used: Option<u64>,
}

/// When the keys of a file were used last, whatever becomes of the file. It knows nothing until it has been opened.
#[derive(Debug, Default)]
pub struct KeyUses {
    /// Since when uses are noted, in seconds since the Unix epoch; 0 as long as it is not known.
    since: AtomicU64,
    uses: Mutex<HashMap<Box<str>, Arc<Use>>>,
    idled: Mutex<Vec<Idled>>,
}

impl KeyUses {
    /// Since when uses are noted; nothing before it has been opened.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        Some(self.since.load(Ordering::Acquire)).filter(|since| *since != 0)
    }

    /// Takes what was known before, and begins.
    pub fn open(&self, since: u64, before: impl IntoIterator<Item = (Box<str>, u64)>) {
        self.merge(before);
        self.since.store(since.max(1), Ordering::Release);
    }

    /// Takes what others know: of each key the later use counts.
    pub fn merge(&self, others: impl IntoIterator<Item = (Box<str>, u64)>) {
        let mut uses = self.uses();
        for (id, at) in others {
            if uses.len() < USES_MAX || uses.contains_key(&id) {
                uses.entry(id).or_default().note(at);
            }
        }
    }

    /// When each was used last, in seconds since the Unix epoch; those alone that have been.
    #[must_use]
    pub fn all(&self) -> Vec<(Box<str>, u64)> {
        let uses = self.uses();
        let used = uses.iter().map(|(id, one)| (id.clone(), one.at.load(Ordering::Relaxed)));
        used.filter(|(_, at)| *at != 0).collect()
    }

    /// The keys that were refused for being idle, once each; empty until there are others.
    #[must_use]
    pub fn idled(&self) -> Vec<Idled> {
        std::mem::take(&mut self.idled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The use of a key that is in the file.
    pub(crate) fn of(&self, id: &str) -> Arc<Use> {
        let mut uses = self.uses();
        if let Some(known) = uses.get(id) {
            return Arc::clone(known);
        }
        if uses.len() >= USES_MAX {
            // Those that no table has are of keys that the file no longer has.
            uses.retain(|_, one| Arc::strong_count(one) > 1);
        }
        Arc::clone(uses.entry(id.into()).or_default())
    }

    /// Whether a key, which was made at `created`, has not been used for `idle_after` seconds or longer. Uses before anybody noted them
    /// are not known: nothing is idle before `idle_after` has passed since then.
    pub(crate) fn is_idle(&self, (id, name): (&str, &str), one: &Use, created: u64, idle_after: u64, now: u64) -> bool {
        let (at, since) = (one.at.load(Ordering::Relaxed), self.since.load(Ordering::Acquire));
        let is_idle = now.saturating_sub(at.max(created).max(since)) >= idle_after;
        if is_idle && !one.told.swap(true, Ordering::Relaxed) {
            let idled = Idled { id: id.into(), name: name.into(), used: Some(at).filter(|at| *at != 0) };
            self.idled.lock().unwrap_or_else(PoisonError::into_inner).push(idled);
        }
        is_idle
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Use>>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
