//! How much is allowed, and the arithmetic of one key.

/// The longest that a full burst may take to come back: a hundred days. Beyond it quotas are meant.
const FULL_NANOS_MAX: u64 = 100 * 24 * 3600 * 1_000_000_000;

/// So many requests in so much time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that one request costs.
    interval: u64,
    /// Requests at once.
    burst: u32,
}

/// Why a rate cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateError {
    /// Nothing would ever be allowed.
    Zero,
    /// More than one request in a nanosecond.
    TooFast,
    /// The burst would take more than 100 days to come back.
    TooSlow,
}

/// Where a key stands after a charge, or after a refusal, which costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many more requests of cost 1 would be granted now.
    pub remaining: u32,
    /// Nanoseconds until the whole burst is there again.
    pub full_after: u64,
}

impl Rate {
    /// `count` requests in `period` nanoseconds, `burst` at once.
    ///
    /// # Errors
    /// What is zero, too fast or too slow to be counted.
    pub fn new(count: u32, period: u64, burst: u32) -> Result<Self, RateError> {
        if count == 0 || period == 0 || burst == 0 {
            return Err(RateError::Zero);
        }
        // Rounded up: never more than what is written.
        let interval = period.div_ceil(u64::from(count));
        if period < u64::from(count) {
            return Err(RateError::TooFast);
        }
        if interval.checked_mul(u64::from(burst)).is_none_or(|full| full > FULL_NANOS_MAX) {
            return Err(RateError::TooSlow);
        }
        Ok(Self { interval, burst })
    }

    /// Requests at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Nanoseconds in which one request comes back.
    #[must_use]
    pub fn interval(self) -> u64 {
        self.interval
    }

    fn full(self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst))
    }

    /// The new arrival time if `cost` is granted at `now` to a key with this one; else how long to wait until it would be, which is
    /// `u64::MAX` for a cost above the burst.
    pub(crate) fn charge(self, arrival: u64, now: u64, cost: u32) -> Result<u64, u64> {
        if cost > self.burst {
            return Err(u64::MAX);
        }
        let after = arrival.max(now).saturating_add(self.interval.saturating_mul(u64::from(cost)));
        let latest = now.saturating_add(self.full());
        if after <= latest { Ok(after) } else { Err(after - latest) }
    }

    /// Where a key with this arrival time stands at `now`.
    pub(crate) fn standing(self, arrival: u64, now: u64) -> Standing {
        let full_after = arrival.saturating_sub(now);
        let remaining = self.full().saturating_sub(full_after) / self.interval;
        Standing { remaining: u32::try_from(remaining).unwrap_or(u32::MAX), full_after }
    }
}
