//! How long an exchange may go on that has been let through: to the end of its credential, for as long as one may, and until its caller is
//! revoked.

use crate::open::Place;
use crate::snapshot::Route;
use crate::worker::Worker;
use portcullis_gateway_policy::Exchange;
use portcullis_model::Reason;
use std::task::Context;
use std::time::Duration;
use tokio::time::Instant;

/// Watches over an exchange that goes on.
#[derive(Default)]
pub(crate) struct Watch {
    /// When its credential is not taken any more.
    expiry: Option<Instant>,
    /// When it has gone on for as long as one may.
    age: Option<Instant>,
    /// Where it is found when its caller is revoked.
    place: Option<Place>,
}

impl Watch {
    /// Watches over an exchange from when it was decided.
    pub(crate) fn begin(exchange: &Exchange, route: &Route, worker: &Worker, decided: Instant) -> Self {
        let place = worker.open.enter(exchange);
        let Some(principal) = exchange.principal() else { return Self { place, ..Self::default() } };
        // What is left by the clock on the wall is counted on by one that nobody sets.
        let left = principal.ends_unix_seconds.saturating_mul(1_000_000).saturating_sub(exchange.record.started_unix_micros);
        let expiry = decided.checked_add(Duration::from_micros(left));
        Self { expiry, age: route.stream_age_max.and_then(|age| decided.checked_add(age)), place }
    }

    /// Why it has been ended, if it has; else its task is woken when it is.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Option<Reason> {
        self.place.as_ref().and_then(|place| place.poll_ended(cx))
    }

    /// When it must be looked at next. What is `endless` has no end of its own; what has one may come to it after its credential has ended.
    pub(crate) fn deadline(&self, endless: bool) -> Option<Instant> {
        let expiry = self.expiry.filter(|_| endless);
        expiry.into_iter().chain(self.age).min()
    }

    /// Judges at `now`.
    pub(crate) fn check(&self, now: Instant, endless: bool) -> Result<(), Reason> {
        if endless && self.expiry.is_some_and(|expiry| now >= expiry) {
            return Err(Reason::CredentialsExpired);
        }
        if self.age.is_some_and(|age| now >= age) { Err(Reason::StreamAged) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Watch;
    use portcullis_model::Reason;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn what_has_an_end_of_its_own_outlives_its_credential_and_nothing_its_age() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let watch = Watch { expiry: Some(at(10)), age: Some(at(20)), place: None };
        assert_eq!((watch.deadline(true), watch.deadline(false)), (Some(at(10)), Some(at(20))));
        assert_eq!((watch.check(at(9), true), watch.check(at(19), false)), (Ok(()), Ok(())));
        assert_eq!(watch.check(at(10), true), Err(Reason::CredentialsExpired));
        assert_eq!(watch.check(at(20), false), Err(Reason::StreamAged));
        assert_eq!((Watch::default().deadline(true), Watch::default().check(at(99), true)), (None, Ok(())));
    }
}
