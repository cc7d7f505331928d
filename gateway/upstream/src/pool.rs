//! The unused connections of one worker.

use crate::{Upstream, UpstreamConnection};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

struct Idle {
    connection: UpstreamConnection,
    since: Instant,
}

/// The unused connections of one worker, by endpoint; the one used last is taken first.
#[derive(Default)]
pub struct Pools {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
    turn: Cell<usize>,
}

impl Pools {
    /// Whose turn it is; counts up.
    pub(crate) fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// An unused connection to the endpoint that is still fit for use. Ones that are not are closed on the way.
    pub(crate) fn take(&self, endpoint_id: u64, kept_for: Duration, now: Instant) -> Option<UpstreamConnection> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&endpoint_id)?;
        while let Some(mut candidate) = kept.pop() {
            if now.saturating_duration_since(candidate.since) < kept_for && candidate.connection.is_fresh() {
                candidate.connection.reused = true;
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is complete in both directions, unless there are `kept_max` already.
    pub fn put_back(&self, connection: UpstreamConnection, kept_max: usize, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(connection.endpoint().id).or_default();
        if kept.len() < kept_max {
            kept.push(Idle { connection, since: now });
        }
    }

    /// Closes connections unused for longer than their upstream allows, those the other side closed, and all of endpoints that are
    /// not among `upstreams`.
    pub fn sweep<'a>(&self, upstreams: impl Iterator<Item = &'a Upstream>) {
        let mut kept_for: HashMap<u64, Duration> = HashMap::new();
        for upstream in upstreams {
            let pooled_idle = upstream.settings.pooled_idle;
            kept_for.extend(upstream.endpoints().endpoints().iter().map(|endpoint| (endpoint.id, pooled_idle)));
        }
        self.idle.borrow_mut().retain(|id, kept| {
            let Some(limit) = kept_for.get(id) else { return false };
            kept.retain_mut(|idle| idle.since.elapsed() < *limit && idle.connection.is_fresh());
            true
        });
    }

    /// How many unused connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
