//! The unused connections of one worker.

use crate::h2::StreamPools;
use crate::ring::mix;
use crate::room::Room;
use crate::{Upstream, UpstreamConnection};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

struct Idle {
    connection: UpstreamConnection,
    since: Instant,
}

/// Those of one worker who wait in one room.
#[derive(Default)]
pub(crate) struct Local {
    count: Cell<usize>,
    pub(crate) freed: Notify,
}

/// Those of one worker who wait, by the address of the room, which lives as long as one waits in it.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Rc<RefCell<HashMap<usize, Rc<Local>>>>);

/// How many wait in a room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitingCount {
    /// Of this worker.
    pub(crate) here: usize,
    /// Of all others.
    pub(crate) elsewhere: usize,
}

impl Waiters {
    /// How many wait in this room.
    pub(crate) fn count(&self, room: &Arc<Room>) -> WaitingCount {
        let all = room.pending() as usize;
        let here = if all == 0 { 0 } else { self.of(room).map_or(0, |local| local.count.get()) };
        WaitingCount { here, elsewhere: all.saturating_sub(here) }
    }

    /// Those who wait in this room, if any do.
    pub(crate) fn of(&self, room: &Arc<Room>) -> Option<Rc<Local>> {
        self.0.borrow().get(&Arc::as_ptr(room).addr()).cloned()
    }
}

/// The unused connections of one worker, by endpoint; the one used last is taken first.
pub struct Pools {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
    /// The connections that carry streams, used and unused.
    pub(crate) streams: Rc<StreamPools>,
    waiters: Waiters,
    random: Cell<u64>,
}

impl Default for Pools {
    fn default() -> Self {
        Self::of_one_of(1)
    }
}

impl Pools {
    /// Those of one of so many workers, which share what limits allow.
    #[must_use]
    pub fn of_one_of(workers: usize) -> Self {
        let random = Cell::new(RandomState::new().build_hasher().finish());
        let waiters = Waiters::default();
        Self { idle: RefCell::default(), streams: StreamPools::new(waiters.clone(), workers), waiters, random }
    }

    /// A number that nobody can foretell well enough to aim at an endpoint; not for secrets.
    pub(crate) fn next_random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        mix(next)
    }

    /// An unused connection to the endpoint that is still fit for use. Ones that are not are closed on the way.
    pub(crate) fn take(&self, endpoint_id: u64, kept_for: Duration, now: Instant) -> Option<UpstreamConnection> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&endpoint_id)?;
        while let Some(mut candidate) = kept.pop() {
            if now.saturating_duration_since(candidate.since) < kept_for && candidate.connection.is_fresh() {
                candidate.connection.begin_again();
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is complete in both directions, unless there are `kept_max` already, or somebody waits for its
    /// place in another worker.
    pub fn put_back(&self, mut connection: UpstreamConnection, kept_max: usize, now: Instant) {
        let room = &connection.endpoint().room;
        let waits_here = if room.pending() > 0 {
            let Some(local) = self.waiters.of(room) else { return };
            Some(local)
        } else {
            None
        };
        connection.end_exchange();
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(connection.endpoint().id).or_default();
        if kept.len() < kept_max || waits_here.is_some() {
            kept.push(Idle { connection, since: now });
        }
        if let Some(local) = waits_here {
            local.freed.notify_one();
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
        self.streams.sweep(&kept_for);
    }

    /// Closes unused connections of upstreams where somebody waits for a place in another worker.
    pub fn relieve<'a>(&self, upstreams: impl Iterator<Item = &'a Upstream>) {
        for upstream in upstreams.filter(|upstream| upstream.state.room.pending() > 0) {
            if self.waiters.of(&upstream.state.room).is_none() {
                for endpoint in upstream.endpoints().endpoints() {
                    // Closed after the map is no longer borrowed: closing tells the one who waits.
                    let closed = self.idle.borrow_mut().remove(&endpoint.id);
                    drop(closed);
                    self.streams.relieve(endpoint, upstream.settings.connections_max);
                }
            }
        }
    }

    /// Notes that somebody of this worker waits in a room.
    pub(crate) fn wait_in(&self, room: &Arc<Room>) -> LocalWaiting<'_> {
        let key = Arc::as_ptr(room).addr();
        let local = Rc::clone(self.waiters.0.borrow_mut().entry(key).or_default());
        local.count.set(local.count.get() + 1);
        LocalWaiting { pools: self, key, local }
    }

    /// How many unused connections there are, those that carry streams counted whether used or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum::<usize>() + self.streams.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Somebody of this worker who waits; leaves when dropped.
pub(crate) struct LocalWaiting<'p> {
    pools: &'p Pools,
    key: usize,
    local: Rc<Local>,
}

impl LocalWaiting<'_> {
    /// Waits until a connection of this worker may have become unused.
    pub(crate) async fn wait(&self) {
        self.local.freed.notified().await;
    }
}

impl Drop for LocalWaiting<'_> {
    fn drop(&mut self) {
        let left = self.local.count.get().saturating_sub(1);
        self.local.count.set(left);
        if left == 0 {
            self.pools.waiters.0.borrow_mut().remove(&self.key);
        }
    }
}
