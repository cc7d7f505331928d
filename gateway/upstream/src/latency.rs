//! How quickly an endpoint answers: a moving average that jumps up at once and comes down slowly (peak EWMA).

use std::sync::atomic::{AtomicU64, Ordering};

/// Over how long what is known loses half of its weight, in microseconds.
const HALF_MICROS: u64 = 5_000_000;
/// What a failed exchange counts as: an endpoint that fails quickly must not look quick.
pub(crate) const FAILURE_MICROS: u64 = 1_000_000;

/// The average in one atomic: the value in microseconds above, the time of the last answer in milliseconds below. Two workers that note
/// an answer at the same moment may lose one of the two; it is a hint, not a count.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

impl Latency {
    /// Notes at `now` (microseconds) that an answer took `sample` microseconds.
    pub(crate) fn note(&self, now: u64, sample: u64) {
        let (value, at) = self.parts();
        let next = match value {
            0 => sample,
            value if sample >= value => sample,
            // What is known loses weight with the time that has passed, and an eighth at the least.
            value => {
                let kept = decayed(value, now.saturating_sub(at)).min(value - value / 8);
                kept + sample * (value - kept) / value
            }
        };
        self.0.store((next.clamp(1, u64::from(u32::MAX)) << 32) | ((now / 1000) & u64::from(u32::MAX)), Ordering::Relaxed);
    }

    /// The average at `now`, in microseconds; nothing if there has been no answer. It comes down while nothing is heard, so that an
    /// endpoint that was slow once is tried again.
    pub(crate) fn at(&self, now: u64) -> Option<u64> {
        let (value, at) = self.parts();
        (value > 0).then(|| decayed(value, now.saturating_sub(at)))
    }

    fn parts(&self) -> (u64, u64) {
        let packed = self.0.load(Ordering::Relaxed);
        (packed >> 32, (packed & u64::from(u32::MAX)) * 1000)
    }
}

/// Halves a value for each [`HALF_MICROS`] that have passed, evenly in between.
fn decayed(value: u64, passed: u64) -> u64 {
    let halves = u32::try_from(passed / HALF_MICROS).unwrap_or(u32::MAX);
    let value = value.checked_shr(halves).unwrap_or(0);
    value - value * (passed % HALF_MICROS) / (2 * HALF_MICROS)
}

#[cfg(test)]
mod tests {
    use super::Latency;

    #[test]
    fn it_jumps_up_comes_down_slowly_and_forgets() {
        let latency = Latency::default();
        assert_eq!(latency.at(0), None);
        latency.note(1000, 2_000);
        latency.note(2000, 50_000);
        assert_eq!(latency.at(2000), Some(50_000));
        for step in 0..4 {
            latency.note(3000 + step * 1000, 2_000);
        }
        let down = latency.at(7000).unwrap();
        assert!((20_000..40_000).contains(&down), "{down}");
        assert!(latency.at(60_000_000).unwrap() < down / 5);
    }
}
