//! Wall-clock time, so that tests can set it.
//!
//! Deadlines do not come from here: they use tokio's clock, which tests pause. This clock answers "what time is it for people",
//! for records, certificates and `expires`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where wall-clock time comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that tests set; holds microseconds since the Unix epoch.
    Fixed(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands still at `micros` since the Unix epoch until [`Clock::set_unix_micros`] moves it.
    #[must_use]
    pub fn fixed(micros: u64) -> Self {
        Self::Fixed(Arc::new(AtomicU64::new(micros)))
    }

    /// Moves a fixed clock; the machine's clock is left alone.
    pub fn set_unix_micros(&self, micros: u64) {
        if let Self::Fixed(at) = self {
            at.store(micros, Ordering::Release);
        }
    }

    /// Microseconds since the Unix epoch; 0 if the machine's clock stands before it.
    #[must_use]
    pub fn unix_micros(&self) -> u64 {
        match self {
            Self::Fixed(at) => at.load(Ordering::Acquire),
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else must use")]
                let now = SystemTime::now();
                let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
            }
        }
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.unix_micros() / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_fixed_clock_moves_only_when_told() {
        let clock = Clock::fixed(5_000_000);
        assert_eq!(clock.unix_seconds(), 5);
        clock.clone().set_unix_micros(7_500_000);
        assert_eq!((clock.unix_seconds(), clock.unix_micros()), (7, 7_500_000));
    }
}
