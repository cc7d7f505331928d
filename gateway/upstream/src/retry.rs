//! The tries that one exchange makes at an upstream, and whether there may be another.

use crate::balance::Passed;
use crate::breaker::Passage;
use crate::upstream::{Outcome, Upstream, UpstreamCounts};
use crate::{Endpoint, UpstreamConnection};
use portcullis_model::{Reason, Rejection};
use tokio::time::Instant;

/// Why a try brought no answer, as far as trying again depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about: nothing has been sent.
    Connect,
    /// The endpoint has certainly not looked at the request: the connection went away before.
    Unseen,
    /// The endpoint said that it does not act upon the request (REFUSED_STREAM, RFC 9113 section 8.7).
    Refused,
    /// An unused connection turned out to be closed by the other side: it ended before a byte of an answer came.
    Stale,
    /// A new connection ended before a byte of an answer came; the request may have been acted upon.
    ResetBeforeBytes,
    /// Anything else.
    Final,
}

/// The tries of one exchange.
#[derive(Debug)]
pub struct Tries<'u> {
    /// The upstream.
    pub upstream: &'u Upstream,
    /// Endpoints tried in vain.
    pub(crate) passed: Passed,
    /// Whether unused connections are passed over: one turned out to be closed already.
    pub(crate) fresh_only: bool,
    /// When the whole exchange must be over.
    pub(crate) total: Option<Instant>,
    passage: Passage,
    begun: u32,
}

impl<'u> Tries<'u> {
    /// Begins at `now`: a request more.
    ///
    /// # Errors
    /// A rejection when the upstream's circuit is open.
    pub fn begin(upstream: &'u Upstream, now: Instant) -> Result<Self, Rejection> {
        let passage = match &upstream.settings.breaker {
            None => Passage::Closed,
            Some(_) => upstream.ask_breaker(upstream.origin().micros(now)),
        };
        if passage == Passage::Open {
            UpstreamCounts::one_more(&upstream.state.counts.broken);
            return Err(Rejection::new(
                Reason::UpstreamCircuitOpen,
                "too large a share of requests has failed; the circuit is open",
            ));
        }
        upstream.state.budget.deposit(upstream.settings.retry.budget_share);
        let total = upstream.settings.timeouts.total.map(|total| now + total);
        Ok(Self { upstream, passed: Passed::default(), fresh_only: false, total, passage, begun: 1 })
    }

    /// When the whole exchange must be over, however many tries it takes.
    #[must_use]
    pub fn total(&self) -> Option<Instant> {
        self.total
    }

    /// Notes that an endpoint answered with this status, `micros` after it had the whole request (0: not known).
    pub fn note_answer(&self, connection: &UpstreamConnection, status: u16, micros: u64, now: Instant) {
        let failed = matches!(status, 502..=504);
        let outcome = if failed { Outcome::Failed } else { Outcome::Answered { micros } };
        self.upstream.note(connection.endpoint(), self.passage, outcome, self.upstream.origin().micros(now));
    }

    /// Notes that a try failed by the endpoint's fault.
    pub fn note_failure(&self, endpoint: &Endpoint, now: Instant) {
        self.upstream.note(endpoint, self.passage, Outcome::Failed, self.upstream.origin().micros(now));
    }

    /// Whether there may be another try after one that failed so at this endpoint. `repeatable`: the request changes nothing by being
    /// sent twice, and all of it is still here.
    #[must_use]
    pub fn may_try_again(&mut self, endpoint: &Endpoint, failure: Failure, repeatable: bool, now: Instant) -> bool {
        let retry = &self.upstream.settings.retry;
        if self.total.is_some_and(|total| now >= total) {
            return false;
        }
        let allowed = match failure {
            Failure::Final => false,
            // It costs no more than one try for each connection that had served before, and the upstream is not to blame. So it is charged
            // to the budget, but not refused.
            Failure::Stale => {
                let first = !std::mem::replace(&mut self.fresh_only, true);
                if first && repeatable {
                    self.upstream.state.budget.charge();
                    UpstreamCounts::one_more(&self.upstream.state.counts.retries);
                }
                return first && repeatable;
            }
            Failure::Connect => retry.on_connect,
            // As if no connection had been made, as long as all of the request is still here.
            Failure::Unseen | Failure::Refused => retry.on_connect && repeatable,
            Failure::ResetBeforeBytes => retry.on_reset_before_bytes && repeatable,
        };
        if !allowed || self.begun >= retry.attempts {
            return false;
        }
        let endpoints = self.upstream.endpoints().endpoints().len();
        // The only endpoint may be asked once more, but not when it could not even be reached.
        if endpoints > 1 || failure == Failure::Connect {
            let _remembered = self.passed.add(endpoint.id);
        }
        if self.passed.count() >= endpoints {
            return false;
        }
        self.begun += 1;
        if !self.upstream.state.budget.withdraw() {
            UpstreamCounts::one_more(&self.upstream.state.counts.retries_refused);
            return false;
        }
        UpstreamCounts::one_more(&self.upstream.state.counts.retries);
        true
    }
}
