//! Which proofs were shown, until they are worth nothing anyway.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many parts it has; each has a lock of its own.
const SHARDS: usize = 64;
/// How many proofs a part remembers.
const PROOFS_MAX: usize = 1 << 14;

/// What a proof is known by.
pub(in crate::authenticate) type Mark = [u8; 16];

/// What is known of a proof when it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::authenticate) enum Shown {
    /// It was not shown before.
    First,
    /// It was.
    Again,
    /// That cannot be told: as many are remembered as may be, and each is still worth something.
    Full,
}

/// A memory of proofs. This one is of the process; one that several nodes share would be another.
pub(in crate::authenticate) trait Replays: Send + Sync {
    /// Tells whether a proof was shown before, and remembers it until `ends`. Both times go by a clock that is never put back.
    fn show(&self, mark: Mark, now: Duration, ends: Duration) -> Shown;

    /// Tells whether a proof was shown before, and remembers nothing.
    fn knows(&self, mark: Mark, now: Duration) -> bool;
}

/// What a part remembers.
#[derive(Default)]
struct Part {
    known: HashSet<Mark>,
    /// The same, by the second from which on they need not be remembered.
    by_end: BTreeMap<u64, Vec<Mark>>,
}

/// The memory of a process: at most 1,048,576 proofs.
pub(in crate::authenticate) struct InProcess {
    parts: Box<[Mutex<Part>]>,
    proofs_max: usize,
}

impl Default for InProcess {
    fn default() -> Self {
        Self::with(PROOFS_MAX)
    }
}

impl InProcess {
    /// With so many proofs to each part.
    pub(in crate::authenticate) fn with(proofs_max: usize) -> Self {
        Self { parts: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(), proofs_max }
    }
}

impl Replays for InProcess {
    fn show(&self, mark: Mark, now: Duration, ends: Duration) -> Shown {
        let [first, ..] = mark;
        let Some(part) = self.parts.get(usize::from(first) % SHARDS) else { return Shown::Full };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.forget(now);
        if part.known.contains(&mark) {
            return Shown::Again;
        }
        // SECURITY: nothing that is still worth something makes room for another.
        if part.known.len() >= self.proofs_max {
            return Shown::Full;
        }
        part.known.insert(mark);
        part.by_end.entry(ends.as_secs().saturating_add(1)).or_default().push(mark);
        Shown::First
    }

    fn knows(&self, mark: Mark, now: Duration) -> bool {
        let [first, ..] = mark;
        // SECURITY: what cannot be told counts as shown.
        let Some(part) = self.parts.get(usize::from(first) % SHARDS) else { return true };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.forget(now);
        part.known.contains(&mark)
    }
}

impl Part {
    fn forget(&mut self, now: Duration) {
        while let Some(entry) = self.by_end.first_entry()
            && *entry.key() <= now.as_secs()
        {
            for mark in entry.remove() {
                self.known.remove(&mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InProcess, Mark, Replays, Shown};
    use std::time::Duration;

    fn mark(number: u64) -> Mark {
        let mut mark = Mark::default();
        mark[8..].copy_from_slice(&number.to_le_bytes());
        mark
    }

    #[test]
    fn what_is_full_takes_nothing_more_until_something_ends() {
        let store = InProcess::with(4);
        let at = Duration::from_secs;
        let show = |number: u64, now: u64, ends: u64| store.show(mark(number), at(now), at(ends));
        assert!((0..4).all(|number| show(number, 10, 20 + number) == Shown::First));
        assert_eq!((show(4, 10, 20), show(0, 10, 20)), (Shown::Full, Shown::Again));
        assert_eq!((show(4, 20, 30), show(0, 20, 30)), (Shown::Full, Shown::Again), "until the end is over");
        assert_eq!((show(4, 21, 30), show(0, 21, 30), show(1, 21, 30)), (Shown::First, Shown::Full, Shown::Again));
        assert_eq!(show(0, 22, 30), Shown::First);
    }

    #[test]
    fn of_many_at_once_one_is_the_first() {
        let store = InProcess::default();
        let first = std::thread::scope(|scope| {
            let count = || {
                (0..1000)
                    .filter(|number| store.show(mark(*number), Duration::ZERO, Duration::from_secs(60)) == Shown::First)
                    .count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(first, 1000);
    }
}
