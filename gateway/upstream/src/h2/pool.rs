//! The connections of one worker that carry streams, and those that are being made.

use super::connection::{Free, Lines, STREAMS_MAX, begin};
use super::stream::UpstreamStream;
use crate::connect::open;
use crate::endpoint::{Endpoint, EndpointPlace};
use crate::pool::Waiters;
use portcullis_model::{Reason, Rejection};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A connection that is being made, for those who wait for it.
pub(crate) struct Opening {
    endpoint: Arc<Endpoint>,
    outcome: RefCell<Option<Result<(), Rejection>>>,
    made: Notify,
    waiting: Cell<usize>,
    /// Whether its failure has been told to somebody.
    is_told: Cell<bool>,
}

impl Opening {
    /// The endpoint it leads to.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Waits until it is there, or until `total`.
    ///
    /// # Errors
    /// Why it did not come about, and whether nobody else was told so before.
    pub(crate) async fn wait(&self, total: Option<Instant>) -> Result<(), (Rejection, bool)> {
        self.waiting.set(self.waiting.get() + 1);
        let told = async {
            loop {
                if let Some(outcome) = self.outcome.borrow().clone() {
                    return outcome;
                }
                self.made.notified().await;
            }
        };
        let outcome = match total {
            None => told.await,
            Some(total) => tokio::time::timeout_at(total, told).await.unwrap_or_else(|_| Err(too_late())),
        };
        outcome.map_err(|rejection| (rejection, !self.is_told.replace(true)))
    }

    fn end(&self, outcome: Result<(), Rejection>) {
        let mut slot = self.outcome.borrow_mut();
        if slot.is_none() {
            *slot = Some(outcome);
        }
        self.made.notify_waiters();
    }
}

fn too_late() -> Rejection {
    Rejection::new(Reason::UpstreamConnectTimeout, "no endpoint of the upstream could be reached, or it did not begin HTTP/2")
}

/// The connections of one endpoint.
struct OfEndpoint {
    lines: Vec<Rc<Lines>>,
    opening: Option<Rc<Opening>>,
    /// Streams that a connection had room for when it was made.
    room: usize,
}

impl Default for OfEndpoint {
    fn default() -> Self {
        Self { lines: Vec::new(), opening: None, room: STREAMS_MAX }
    }
}

/// How long a worker may go on with a connection that is more than its part of the limit, while others wait for one in all workers.
const TURN: Duration = Duration::from_millis(100);

/// The connections of one worker that carry streams, by endpoint.
pub(crate) struct StreamPools {
    endpoints: RefCell<HashMap<u64, OfEndpoint>>,
    waiters: Waiters,
    workers: usize,
}

impl StreamPools {
    /// Pools of one of so many workers; those in `waiters` are told when a stream ends.
    pub(crate) fn new(waiters: Waiters, workers: usize) -> Rc<Self> {
        Rc::new(Self { endpoints: RefCell::default(), waiters, workers: workers.max(1) })
    }

    /// A stream of a connection to the endpoint that has room for one; the connection made first is filled first, so that the others end
    /// when they are not needed. Connections that take no more are let go, and those that it is another worker's turn to have
    /// (`connections_max` are shared by all).
    pub(crate) fn take(&self, endpoint: &Endpoint, connections_max: u32) -> Option<UpstreamStream> {
        self.hand_over(endpoint, connections_max);
        let mut endpoints = self.endpoints.borrow_mut();
        let known = endpoints.get_mut(&endpoint.id)?;
        let (mut found, mut gone) = (None, Vec::new());
        known.lines.retain(|lines| {
            if found.is_some() {
                return true;
            }
            match lines.is_free() {
                Free::Yes => found = Some(Rc::clone(lines)),
                Free::Full => {}
                Free::Never => {
                    gone.push(Rc::clone(lines));
                    return false;
                }
            }
            true
        });
        // They may give a place back, which tells others: not while anything is borrowed.
        drop(endpoints);
        drop(gone);
        found.map(UpstreamStream::new)
    }

    /// The connection that is being made, if another may wait for it.
    pub(crate) fn opening(&self, endpoint_id: u64) -> Option<Rc<Opening>> {
        let endpoints = self.endpoints.borrow();
        let known = endpoints.get(&endpoint_id)?;
        known.opening.as_ref().filter(|opening| opening.waiting.get() < known.room.max(1)).map(Rc::clone)
    }

    /// Begins to make a connection in a place. It is made whatever becomes of those who wait for it.
    pub(crate) fn open(self: &Rc<Self>, place: EndpointPlace, within: Duration) -> Rc<Opening> {
        let endpoint = Arc::clone(place.endpoint());
        let opening = Rc::new(Opening {
            endpoint: Arc::clone(&endpoint),
            outcome: RefCell::default(),
            made: Notify::new(),
            waiting: Cell::new(0),
            is_told: Cell::new(false),
        });
        self.endpoints.borrow_mut().entry(endpoint.id).or_default().opening = Some(Rc::clone(&opening));
        let guard = Begun { pools: Rc::clone(self), opening: Rc::clone(&opening) };
        tokio::task::spawn_local(async move {
            let made = tokio::time::timeout(within, async { begin(open(&endpoint).await?).await }).await;
            let moving = match made.unwrap_or_else(|_| Err(too_late())) {
                Err(rejection) => {
                    drop(place);
                    guard.opening.end(Err(rejection));
                    return;
                }
                Ok(made) => {
                    let (lines, moving) = Lines::new(made, place, &guard.pools);
                    let mut endpoints = guard.pools.endpoints.borrow_mut();
                    let known = endpoints.entry(endpoint.id).or_default();
                    known.room = lines.streams_max();
                    known.lines.push(lines);
                    moving
                }
            };
            guard.opening.end(Ok(()));
            let pools = Rc::clone(&guard.pools);
            drop(guard);
            moving.await;
            // Whoever holds on to what has ended would keep its place.
            pools.retain(|id, lines| id != endpoint.id || !matches!(lines.is_free(), Free::Never));
        });
        opening
    }

    /// Tells one of this worker who waits for a connection to this endpoint's upstream that a stream may be begun. If only others wait they
    /// get what is unused.
    pub(super) fn tell_one_who_waits(&self, endpoint: &Endpoint) {
        if endpoint.room.pending() > 0 {
            match self.waiters.of(&endpoint.room) {
                Some(local) => local.freed.notify_one(),
                None => self.let_go_unused(endpoint.id),
            }
        }
    }

    /// Where another worker waits, a connection that is more than this worker's part of the limit gets no new streams: its place is free
    /// when those that it has are over. Who waits here is served first, for a while.
    fn hand_over(&self, endpoint: &Endpoint, connections_max: u32) {
        let waiting = self.waiters.count(&endpoint.room);
        if waiting.elsewhere == 0 {
            return;
        }
        let part = connections_max as usize / self.workers;
        let mut endpoints = self.endpoints.borrow_mut();
        let Some(known) = endpoints.get_mut(&endpoint.id).filter(|known| known.lines.len() > part) else { return };
        let had_its_turn = |lines: &Lines| waiting.here == 0 || lines.age() >= TURN;
        let least = known.lines.iter().enumerate().filter(|(_, lines)| had_its_turn(lines)).min_by_key(|(_, lines)| lines.active());
        let gone = least.map(|(at, _)| at).map(|at| known.lines.remove(at));
        drop(endpoints);
        drop(gone);
    }

    /// Lets those connections go that `keeps` does not want, by endpoint and connection.
    fn retain(&self, mut keeps: impl FnMut(u64, &Lines) -> bool) {
        let mut gone = Vec::new();
        self.endpoints.borrow_mut().retain(|id, known| {
            known.lines.retain(|lines| {
                let stays = keeps(*id, lines);
                if !stays {
                    gone.push(Rc::clone(lines));
                }
                stays
            });
            !known.lines.is_empty() || known.opening.is_some()
        });
        drop(gone);
    }

    /// Lets connections go that have been without a stream for longer than their endpoint allows, and all of endpoints that `kept_for` does
    /// not name; streams that are under way are not disturbed.
    pub(crate) fn sweep(&self, kept_for: &HashMap<u64, Duration>) {
        let now = Instant::now();
        self.retain(|id, lines| match kept_for.get(&id) {
            None => false,
            Some(limit) => !lines.is_unused(*limit, now) && !matches!(lines.is_free(), Free::Never),
        });
    }

    /// Lets connections of this endpoint go that have no stream, or else one that another worker is to have.
    pub(crate) fn relieve(&self, endpoint: &Endpoint, connections_max: u32) {
        self.let_go_unused(endpoint.id);
        self.hand_over(endpoint, connections_max);
    }

    fn let_go_unused(&self, endpoint_id: u64) {
        let now = Instant::now();
        self.retain(|id, lines| id != endpoint_id || !lines.is_unused(Duration::ZERO, now));
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.endpoints.borrow().values().map(|known| known.lines.len()).sum()
    }
}

/// An attempt that has begun; when it is dropped nobody waits for it any more.
struct Begun {
    pools: Rc<StreamPools>,
    opening: Rc<Opening>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.opening.end(Err(Rejection::new(Reason::UpstreamUnreachable, "the attempt to connect ended")));
        if let Some(known) = self.pools.endpoints.borrow_mut().get_mut(&self.opening.endpoint.id)
            && known.opening.as_ref().is_some_and(|opening| Rc::ptr_eq(opening, &self.opening))
        {
            known.opening = None;
        }
    }
}
