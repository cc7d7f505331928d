//! What is known of the store, for status and metrics.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How it is with the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreState {
    /// No store is configured.
    #[default]
    Off,
    /// It has not been reached yet.
    Connecting,
    /// It answers.
    Reachable,
    /// It does not, and why.
    Away(String),
}

/// What is known of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFacts {
    /// How it is.
    pub state: StoreState,
    /// How long ago everything in it was known here; nothing while it never was.
    pub age: Option<Duration>,
    /// How often it was lost or could not be reached.
    pub failures: u64,
    /// Lines in it that were not understood and do not count.
    pub garbage: u64,
}

#[derive(Default)]
struct Kept {
    state: StoreState,
    known: Option<Instant>,
    failures: u64,
    garbage: u64,
}

/// The facts, where the thread of the store writes them.
#[derive(Default)]
pub(crate) struct Board {
    kept: Mutex<Kept>,
    moved: Condvar,
}

impl Board {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn facts(&self) -> StoreFacts {
        let kept = self.kept();
        let age = kept.known.map(|known| Instant::now().saturating_duration_since(known));
        StoreFacts { state: kept.state.clone(), age, failures: kept.failures, garbage: kept.garbage }
    }

    pub(crate) fn is(&self, state: StoreState) {
        let mut kept = self.kept();
        kept.failures += u64::from(matches!(state, StoreState::Away(_)));
        kept.state = state;
        self.moved.notify_all();
    }

    pub(crate) fn wait(&self, within: Duration) {
        let is_open = |kept: &mut Kept| kept.state == StoreState::Connecting;
        let waited = self.moved.wait_timeout_while(self.kept(), within, is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn known_at(&self, at: Instant) {
        self.kept().known = Some(at);
    }

    pub(crate) fn has_garbage(&self, count: u64) {
        self.kept().garbage += count;
    }
}
