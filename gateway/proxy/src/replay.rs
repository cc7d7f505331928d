//! What has been sent of a short body to an upstream that may still say that it never looked at it (RFC 9113 section 8.7).

use std::cell::Cell;
use std::rc::Rc;

/// Bytes of one body that are kept.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes that a worker keeps of all bodies.
const WORKER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a worker may still keep.
pub(crate) struct ReplayBudget(Cell<usize>);

impl Default for ReplayBudget {
    fn default() -> Self {
        Self(Cell::new(WORKER_BYTES_MAX))
    }
}

/// All that has been sent of one body, until an answer begins or there is too much of it.
pub(crate) struct Replay {
    bytes: Vec<u8>,
    budget: Rc<ReplayBudget>,
}

impl Replay {
    /// Nothing yet.
    pub(crate) fn begin(budget: &Rc<ReplayBudget>) -> Box<Self> {
        Box::new(Self { bytes: Vec::new(), budget: Rc::clone(budget) })
    }

    /// Keeps these as well. `false`: there is no room for them, and what is kept is of no use any more.
    #[must_use]
    pub(crate) fn add(&mut self, bytes: &[u8]) -> bool {
        let left = self.budget.0.get();
        let fits = self.bytes.len() + bytes.len() <= BODY_BYTES_MAX && bytes.len() <= left;
        if fits {
            self.budget.0.set(left - bytes.len());
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    /// What has been sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.budget.0.set(self.budget.0.get() + self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::{BODY_BYTES_MAX, Replay, ReplayBudget, WORKER_BYTES_MAX};
    use std::rc::Rc;

    #[test]
    fn a_body_is_kept_up_to_its_bound_and_all_of_them_up_to_the_workers() {
        let budget = Rc::new(ReplayBudget::default());
        let part = [7; BODY_BYTES_MAX / 2];
        let mut one = Replay::begin(&budget);
        assert!(one.add(&part) && one.add(&part) && !one.add(b"x"));
        assert_eq!(one.bytes(), [part, part].concat());
        let mut kept = vec![one];
        for _ in 1..WORKER_BYTES_MAX / BODY_BYTES_MAX {
            let mut more = Replay::begin(&budget);
            assert!(more.add(&part) && more.add(&part));
            kept.push(more);
        }
        let mut last = Replay::begin(&budget);
        assert!(!last.add(b"x") && last.add(b""));
        kept.pop();
        assert!(last.add(b"x"), "what is let go makes room");
        drop((kept, last));
        assert_eq!(budget.0.get(), WORKER_BYTES_MAX);
    }
}
