//! How many requests may be repeated: a share of all requests, so that repeating never becomes a storm. Pure.

use std::sync::atomic::{AtomicU32, Ordering};

/// One repetition, in the unit of the budget: hundredths of a per cent of it.
const ONE: u32 = 10_000;
/// Repetitions that are allowed before there have been requests that pay for them. They are paid back first.
const RESERVE: u32 = 10 * ONE;
/// Repetitions that can be saved.
const SAVED_MAX: u32 = 1000 * ONE;

/// The budget of one upstream, shared by all workers.
///
/// Of `n` requests at most `max(10, share * n)` are repeated: from fifty requests on, an upstream with a share of 20 % that always
/// fails gets at most 1.2 times what the clients ask for (threats G 149).
#[derive(Debug)]
pub struct RetryBudget {
    saved: AtomicU32,
    owed: AtomicU32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { saved: AtomicU32::new(RESERVE), owed: AtomicU32::new(RESERVE) }
    }
}

impl RetryBudget {
    /// A request came: so many hundredths of a per cent of a repetition more.
    pub fn deposit(&self, share: u32) {
        if self.owed.load(Ordering::Relaxed) > 0 {
            // Two at the same moment may both find the last bit of the debt: it is then paid twice, which lowers the budget.
            let _paid = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| Some(owed.saturating_sub(share)));
        } else if self.saved.load(Ordering::Relaxed) < SAVED_MAX {
            self.saved.fetch_add(share, Ordering::Relaxed);
        }
    }

    /// Takes one repetition, if there is one.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(ONE)).is_ok()
    }

    /// Takes one repetition, and as much as is there if there is less: for repetitions that must not be refused.
    pub fn charge(&self) {
        let _taken = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| Some(saved.saturating_sub(ONE)));
    }
}

#[cfg(test)]
mod tests {
    use super::RetryBudget;

    #[test]
    fn repetitions_are_a_share_of_requests_once_the_reserve_is_paid_back() {
        for (percent, requests, allowed) in [(20, 1000, 200), (20, 10, 10), (0, 1000, 10), (100, 1000, 1000), (20, 50, 10)] {
            let budget = RetryBudget::default();
            let repeated = (0..requests).filter(|_| {
                budget.deposit(percent * 100);
                budget.withdraw()
            });
            assert_eq!(repeated.count(), allowed, "{percent} % of {requests}");
        }
    }

    #[test]
    fn what_is_saved_in_good_times_has_a_bound() {
        let budget = RetryBudget::default();
        (0..1_000_000).for_each(|_| budget.deposit(2000));
        assert_eq!((0..2000).filter(|_| budget.withdraw()).count(), 1000);
    }
}
