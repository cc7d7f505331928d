//! Endpoints that fail again and again are left out for a while. Pure: time is given in.
//!
//! What counts as a failure is what the endpoint alone can cause: no connection, no or a broken answer, 502, 503 and 504.
//! SECURITY: a 500 does not count, since a client may know a request that provokes it, and could take endpoints out at will.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The longest time that an endpoint is left out, as a multiple of the first.
const GROWTH_MAX: u32 = 10;

/// When endpoints are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierSettings {
    /// After so many failures in a row.
    pub consecutive_failures: u32,
    /// For so long the first time; twice as long the second time and so on, at most ten times as long.
    pub eject_for: Duration,
    /// So many per cent of the upstream's endpoints at the same time, but one at the least when there are several.
    pub eject_at_most_percent: u32,
}

impl OutlierSettings {
    /// How many of `total` endpoints may be left out at the same time.
    #[must_use]
    pub fn ejected_max(&self, total: usize) -> usize {
        let share = total * self.eject_at_most_percent.min(100) as usize / 100;
        if total > 1 && self.eject_at_most_percent > 0 { share.max(1) } else { share }
    }
}

/// What is known of one endpoint's failures.
#[derive(Debug, Default)]
pub(crate) struct OutlierState {
    failures: AtomicU32,
    ejections: AtomicU32,
    /// In microseconds; 0 if it never was left out.
    ejected_until: AtomicU64,
}

impl OutlierState {
    /// Notes that the endpoint did its work. One that is left out comes back at once: it was asked because no other was left.
    pub(crate) fn note_success(&self, now: u64) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if !self.is_ejected(now) {
            return false;
        }
        self.ejected_until.store(now, Ordering::Relaxed);
        true
    }

    /// Notes a failure; says whether there have been so many in a row that the endpoint ought to be left out.
    pub(crate) fn note_failure(&self, settings: &OutlierSettings) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Asked again only after as many more: while no more may be left out, failures must stay cheap.
        failures.is_multiple_of(settings.consecutive_failures.max(1))
    }

    /// Whether the last request failed there.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
    }

    /// Leaves the endpoint out from `now` on; says until when.
    pub(crate) fn eject(&self, now: u64, settings: &OutlierSettings) -> u64 {
        let unit = u64::try_from(settings.eject_for.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.ejected_until.load(Ordering::Relaxed);
        // Each `eject_for` without trouble forgives one of the times before.
        let forgiven = u32::try_from(now.saturating_sub(before) / unit).unwrap_or(u32::MAX);
        let times = self.ejections.load(Ordering::Relaxed).saturating_sub(forgiven).saturating_add(1).min(GROWTH_MAX);
        let growth = 1_u64.checked_shl(times - 1).unwrap_or(u64::MAX).min(u64::from(GROWTH_MAX));
        let until = now.saturating_add(unit.saturating_mul(growth));
        self.ejections.store(times, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until.store(until, Ordering::Relaxed);
        until
    }

    /// Whether it is left out at `now`.
    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    /// When it came back from being left out; 0 if it never was.
    pub(crate) fn back_since(&self) -> u64 {
        self.ejected_until.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{OutlierSettings, OutlierState};
    use std::time::Duration;

    const SECOND: u64 = 1_000_000;

    fn settings(percent: u32) -> OutlierSettings {
        OutlierSettings { consecutive_failures: 5, eject_for: Duration::from_secs(30), eject_at_most_percent: percent }
    }

    #[test]
    fn failures_count_only_in_a_row() {
        let state = OutlierState::default();
        for _ in 0..3 {
            assert!((0..4).all(|_| !state.note_failure(&settings(50))));
            state.note_success(0);
        }
        assert!((0..4).all(|_| !state.note_failure(&settings(50))));
        assert!(state.note_failure(&settings(50)));
    }

    #[test]
    fn it_is_left_out_longer_each_time_and_a_calm_time_is_forgiven() {
        let state = OutlierState::default();
        assert_eq!(state.eject(0, &settings(50)), 30 * SECOND);
        assert!(state.is_ejected(29 * SECOND) && !state.is_ejected(30 * SECOND));
        assert_eq!(state.eject(31 * SECOND, &settings(50)), 91 * SECOND);
        assert_eq!(state.eject(92 * SECOND, &settings(50)), 212 * SECOND);
        let calm = 212 * SECOND + 300 * SECOND;
        assert_eq!(state.eject(calm, &settings(50)), calm + 30 * SECOND);
    }

    #[test]
    fn the_growth_has_an_end() {
        let (state, mut now) = (OutlierState::default(), 0);
        for _ in 0..100 {
            let until = state.eject(now, &settings(50));
            assert!(until - now <= 300 * SECOND);
            now = until;
        }
    }

    #[test]
    fn one_of_several_may_always_be_left_out_and_the_only_one_never() {
        let max = |percent, total| settings(percent).ejected_max(total);
        assert_eq!((max(50, 3), max(10, 3), max(50, 1), max(0, 9), max(100, 4), max(50, 10)), (1, 1, 0, 0, 4, 5));
    }
}
