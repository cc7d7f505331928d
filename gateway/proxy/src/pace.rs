//! Which deadlines hold for an exchange: the upstream's silence, and the slowness of a client that is being waited for.

use portcullis_model::Reason;
use std::time::Duration;
use tokio::time::Instant;

/// Cuts off a client that moves fewer bytes than it must while it is the one being waited for.
///
/// The window begins when the waiting begins, so that a slow upstream is never counted against the client.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Duration,
    bytes_min: u64,
    since: Option<(Instant, u64)>,
    reason: Reason,
}

impl Pace {
    /// A floor of `rate_min` bytes a second over `window`; `reason` is given to who falls below.
    pub(crate) fn new(rate_min: u64, window: Duration, reason: Reason) -> Self {
        let bytes_min = rate_min.saturating_mul(window.as_secs().max(1));
        Self { window, bytes_min, since: None, reason }
    }

    /// Something at all within each `window`; `reason` is given to who is silent.
    pub(crate) fn something(window: Duration, reason: Reason) -> Self {
        Self { window, bytes_min: 1, since: None, reason }
    }

    /// Notes at `now` whether the client is being waited for, and how many bytes have moved so far.
    pub(crate) fn note(&mut self, now: Instant, waiting: bool, progress: u64) {
        if !waiting {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some((now, progress));
        }
    }

    /// When it must be looked at next, if the client is being waited for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.map(|(begin, _)| begin + self.window)
    }

    /// Judges at `now`.
    pub(crate) fn check(&mut self, now: Instant, progress: u64) -> Result<(), Reason> {
        if let Some((begin, at_begin)) = self.since
            && now >= begin + self.window
        {
            if progress.saturating_sub(at_begin) < self.bytes_min {
                return Err(self.reason);
            }
            self.since = Some((now, progress));
        }
        Ok(())
    }
}

/// Notices that nothing has moved for too long.
#[derive(Debug)]
pub(crate) struct Silence {
    limit: Duration,
    last: Instant,
    progress: u64,
    reason: Reason,
}

impl Silence {
    /// Silence of `limit` is too long; `reason` is what it is then called.
    pub(crate) fn new(now: Instant, limit: Duration, reason: Reason) -> Self {
        Self { limit, last: now, progress: 0, reason }
    }

    /// Notes at `now` how much has moved so far; `excused` silence is somebody else's and does not count.
    pub(crate) fn note(&mut self, now: Instant, progress: u64, excused: bool) {
        if excused || progress != self.progress {
            (self.last, self.progress) = (now, progress);
        }
    }

    /// When it will have been silent for too long.
    pub(crate) fn deadline(&self) -> Instant {
        self.last + self.limit
    }

    /// Judges at `now`.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Reason> {
        if now >= self.deadline() { Err(self.reason) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, Silence};
    use portcullis_model::Reason;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_trickle_is_cut_and_a_steady_client_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(500, Duration::from_secs(5), Reason::BodyTimeout);
        pace.note(start, true, 0);
        assert_eq!(pace.deadline(), Some(at(5)));
        assert_eq!(pace.check(at(5), 2500), Ok(()));
        pace.note(at(6), true, 2510);
        assert_eq!(pace.check(at(10), 2600), Err(Reason::BodyTimeout));
    }

    #[test]
    fn time_spent_waiting_for_somebody_else_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(500, Duration::from_secs(5), Reason::ClientTooSlow);
        pace.note(start, true, 0);
        pace.note(start + Duration::from_secs(1), false, 10);
        pace.note(start + Duration::from_secs(30), true, 10);
        assert_eq!(pace.check(start + Duration::from_secs(31), 10), Ok(()));
    }

    #[test]
    fn silence_is_counted_from_the_last_byte() {
        let start = Instant::now();
        let mut silence = Silence::new(start, Duration::from_secs(30), Reason::UpstreamStalled);
        silence.note(start + Duration::from_secs(20), 5, false);
        assert_eq!(silence.check(start + Duration::from_secs(40)), Ok(()));
        assert_eq!(silence.check(start + Duration::from_secs(50)), Err(Reason::UpstreamStalled));
    }
}
