//! Bodies that policies read: taken when one asks for it, held within a budget of the process, and sent on from there.

use crate::Exchange;
use portcullis_model::{Reason, Rejection};
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest body that is held, in bytes.
pub const BODY_HELD_MAX: u64 = 1024 * 1024;
/// How many bytes of all bodies a process holds.
const BODIES_HELD_MAX: usize = 64 * 1024 * 1024;
/// By how much room is taken at a time.
const STEP: usize = 4 * 1024;

/// What a process may still hold of bodies.
pub struct BodyBudget {
    left: AtomicUsize,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::with(BODIES_HELD_MAX)
    }
}

impl BodyBudget {
    /// So many bytes.
    #[must_use]
    pub fn with(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// A body, or as much as has come of it. What it takes of the budget is given back when it is dropped.
pub struct HeldBody {
    bytes: Vec<u8>,
    budget: Arc<BodyBudget>,
    taken: usize,
}

impl HeldBody {
    /// An empty one.
    #[must_use]
    pub fn begin(budget: &Arc<BodyBudget>) -> Self {
        Self { bytes: Vec::new(), budget: Arc::clone(budget), taken: 0 }
    }

    /// Adds these. `false`: the budget has no room for them, and the body is of no use any more.
    #[must_use]
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        let needed = self.bytes.len().saturating_add(bytes.len());
        if needed > self.taken {
            let ahead = self.taken.saturating_mul(2).min(usize::try_from(BODY_HELD_MAX).unwrap_or(usize::MAX));
            let wanted = needed.max(ahead).next_multiple_of(STEP);
            if !self.budget.take(wanted - self.taken) {
                return false;
            }
            self.taken = wanted;
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        true
    }
}

impl Deref for HeldBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// Where the body of a request is taken from, when a policy asks for it.
pub trait BodySource {
    /// Takes all of it, of at most `bytes_max`, into [`Exchange::body`].
    ///
    /// # Errors
    /// Why it cannot be had; nothing more can be read of the connection then.
    fn take<'a>(
        &'a mut self,
        exchange: &'a mut Exchange,
        bytes_max: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), Rejection>> + 'a>>;
}

/// There is none to be had: for whoever asks policies without a client behind.
pub struct NoBody;

impl BodySource for NoBody {
    fn take<'a>(&'a mut self, _: &'a mut Exchange, _: u64) -> Pin<Box<dyn Future<Output = Result<(), Rejection>> + 'a>> {
        Box::pin(async { Err(Rejection::new(Reason::Internal, "a policy asks for a body that nobody has")) })
    }
}

#[cfg(test)]
mod tests {
    use super::{BodyBudget, HeldBody};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_all_bodies_hold_is_bounded_and_given_back() {
        let budget = Arc::new(BodyBudget::with(64 * 1024));
        let mut first = HeldBody::begin(&budget);
        assert!(first.add(&[7; 30_000]) && first.add(&[8; 10_000]));
        assert_eq!((first.len(), first.first(), first.last()), (40_000, Some(&7), Some(&8)));
        assert!(first.bytes.capacity() <= first.taken, "all that is taken is counted");
        let mut second = HeldBody::begin(&budget);
        assert!(!second.add(&[9; 10_000]) && second.is_empty());
        drop(first);
        assert!(second.add(&[9; 60_000]));
        drop(second);
        assert_eq!(budget.left.load(Ordering::Relaxed), 64 * 1024);
    }
}
