//! Counts that one thread writes and others read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count with one writing thread. Adding is a load and a store, not a locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds; only ever called by the thread that owns the count.
    pub(crate) fn add(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    }

    /// The count so far.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of durations, in microseconds; the last bucket has none.
pub(crate) const BUCKETS: [u64; 14] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// How long things took.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    pub(crate) buckets: [Count; BUCKETS.len() + 1],
    pub(crate) sum_micros: Count,
}

impl Durations {
    pub(crate) fn add(&self, micros: u64) {
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.buckets.get(bucket) {
            count.add(1);
        }
        self.sum_micros.add(micros);
    }
}
