//! What one worker has: its view of the configuration, its buffers, its upstream connections.

use crate::buffers::BufferPool;
use crate::door::Outcomes;
use crate::drain::{Drain, Stage};
use crate::load::Load;
use crate::open::{OpenExchanges, revoked};
use crate::overload::Pressure;
use crate::replay::ReplayBudget;
use crate::snapshot::{Listener, Published, Snapshot};
use portcullis_gateway_policy::{BodyBudget, ConnectionFacts, Exchange};
use portcullis_gateway_upstream::{Origin, Pools};
use portcullis_model::{ConnectionEvent, IdSource, Reason, RecordGuard, RecordSink, Rejection, RequestId};
use portcullis_wire::{RequestHead, ResponseHead};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many parsed heads and byte vectors a worker keeps for another use.
const KEPT_MAX: usize = 64;
/// A byte vector that has grown beyond this is not kept.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// What is kept for another use: boxes are handed from step to step, and need no allocation.
type Kept<T> = RefCell<Vec<Box<T>>>;

/// The configuration as one worker sees it. Counted by the worker alone: exchanges on different cores do not contend for a count.
pub struct WorkerView(Arc<Snapshot>);

impl std::ops::Deref for WorkerView {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// One worker's belongings. Not shared with other threads, so nothing in it is locked.
pub struct Worker {
    published: Arc<Published>,
    view: RefCell<Rc<WorkerView>>,
    pub(crate) buffers: BufferPool,
    pub(crate) pools: Pools,
    /// What it may keep of bodies that may have to be sent again.
    pub(crate) replays: Rc<ReplayBudget>,
    pub(crate) date: crate::date::HttpDate,
    sink: Rc<dyn RecordSink>,
    ids: RefCell<IdSource>,
    requests: Kept<RequestHead>,
    responses: Kept<ResponseHead>,
    outs: RefCell<Vec<Vec<u8>>>,
    connections: Cell<usize>,
    exchanges: Cell<usize>,
    pub(crate) drain: Rc<Drain>,
    pub(crate) open: Rc<OpenExchanges>,
    /// What was revoked, and whom listeners trusted, at its last beat.
    seen: RefCell<(u64, Vec<[u8; 32]>)>,
    /// How often that has changed.
    trusts: Cell<u64>,
    /// Its number among the workers.
    index: usize,
    /// The pressure at its last beat.
    pressed: Cell<Pressure>,
}

impl Worker {
    /// A worker that looks at `published` and records to `sink`; `seed` must be random.
    #[must_use]
    pub fn new(published: Arc<Published>, sink: Rc<dyn RecordSink>, seed: [u8; 16]) -> Rc<Self> {
        Self::numbered(published, sink, seed, (0, 1))
    }

    /// The same, as one of several: which one, of how many.
    pub(crate) fn numbered(published: Arc<Published>, sink: Rc<dyn RecordSink>, seed: [u8; 16], place: (usize, usize)) -> Rc<Self> {
        let (index, workers) = place;
        let view = RefCell::new(Rc::new(WorkerView(published.snapshot())));
        let sink = Outcomes::before(sink, &published);
        Rc::new(Self {
            published,
            view,
            buffers: BufferPool::default(),
            pools: Pools::of_one_of(workers),
            replays: Rc::default(),
            date: crate::date::HttpDate::default(),
            sink,
            ids: RefCell::new(IdSource::from_seed(seed)),
            requests: RefCell::default(),
            responses: RefCell::default(),
            outs: RefCell::default(),
            connections: Cell::new(0),
            exchanges: Cell::new(0),
            drain: Rc::default(),
            open: Rc::default(),
            seen: RefCell::default(),
            trusts: Cell::new(0),
            index,
            pressed: Cell::default(),
        })
    }

    /// The configuration in force: compares one number, and fetches the rest only when it moved.
    #[must_use]
    pub fn view(&self) -> Rc<WorkerView> {
        let mut view = self.view.borrow_mut();
        if view.generation != self.published.generation() {
            *view = Rc::new(WorkerView(self.published.snapshot()));
            self.pools.sweep(view.upstreams.iter().map(Arc::as_ref));
        }
        Rc::clone(&view)
    }

    /// Closes upstream connections that have been unused for too long. To be called now and then.
    pub fn sweep(&self) {
        let view = self.view();
        self.pools.sweep(view.upstreams.iter().map(Arc::as_ref));
    }

    /// Closes unused upstream connections where another worker's request waits for one.
    pub(crate) fn relieve(&self) {
        let view = self.view();
        self.pools.relieve(view.upstreams.iter().map(Arc::as_ref));
    }

    /// What tells when there is something to relieve; none without upstreams.
    pub(crate) fn origin(&self) -> Option<Arc<Origin>> {
        self.view().upstreams.first().map(|upstream| Arc::clone(upstream.origin()))
    }

    /// From now on connections end with the exchange they are in, and those that wait for a request end at once. Their tasks are
    /// woken for it.
    pub fn begin_draining(&self) {
        self.drain.enter(Stage::Ending);
    }

    /// Whether clients are to go elsewhere, or at least not to keep their connections: answers say so, and connections end with
    /// their exchanges.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.stage() > Stage::Serving || self.load().pressure() >= Pressure::Saving
    }

    /// Whether connections that wait for a request are to end.
    pub(crate) fn ends_idle(&self) -> bool {
        self.drain.stage() >= Stage::Ending || self.load().pressure() >= Pressure::Saving
    }

    pub(crate) fn load(&self) -> &Load {
        &self.published.load
    }

    /// Its number among the workers.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Tells how it is doing; `lag` is how late it comes to tell. When pressure has risen, idle connections hear of it, and memory
    /// that was kept for another use is given back.
    pub(crate) fn beat(&self, lag: Duration) {
        self.load().beat(self.index, self.drain.connections(), lag);
        self.see_who_is_out();
        let pressure = self.load().pressure();
        if pressure > self.pressed.replace(pressure) {
            self.buffers.give_up();
            self.requests.borrow_mut().clear();
            self.responses.borrow_mut().clear();
            self.outs.borrow_mut().clear();
            self.drain.wake_all();
        }
    }

    /// Ends what goes on and may not any more: of callers who have been revoked, and by certificates that are not taken now. Connections with
    /// certificates look for themselves.
    fn see_who_is_out(&self) {
        let (revision, trusts) = (self.published.revocations.revision(), self.view().client_trusts());
        let mut seen = self.seen.borrow_mut();
        if seen.0 != revision {
            self.open.end_revoked(&self.published.revocations, self.unix_micros() / 1_000_000);
        } else if seen.1 == trusts {
            return;
        }
        let asks = trusts.iter().chain(&seen.1).any(|trust| *trust != [0; 32]);
        *seen = (revision, trusts);
        if asks {
            self.trusts.set(self.trusts.get() + 1);
            self.drain.wake_all();
        }
    }

    /// A number that changes when a connection with a certificate is to look whether that is still taken.
    pub(crate) fn trusts(&self) -> u64 {
        self.trusts.get()
    }

    /// Why an exchange must not be let through, if whoever is calling has been revoked.
    pub(crate) fn revoked(&self, exchange: &Exchange) -> Option<Reason> {
        let now = exchange.record.started_unix_micros / 1_000_000;
        revoked(&self.published.revocations, exchange.principal().map(Arc::as_ref), &exchange.connection, now)
    }

    /// Whether it is known what other nodes had revoked so long ago.
    pub(crate) fn knows_revocations_within(&self, age_max: Duration) -> bool {
        self.published.revocations.is_known_within(age_max)
    }

    /// Whether the certificate of a connection has been revoked.
    pub(crate) fn is_revoked(&self, connection: &ConnectionFacts) -> bool {
        revoked(&self.published.revocations, None, connection, self.unix_micros() / 1_000_000).is_some()
    }

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// Whether whoever has this address is kept out for now.
    pub(crate) fn is_banned(&self, address: IpAddr) -> bool {
        let bans = &self.published.defence.bans;
        // Those who speak for others are looked for last: there are few bans, and mostly none.
        !bans.is_empty()
            && bans.banned_until(address, self.unix_micros() / 1_000_000).is_some()
            && !self.view().spared.trusts(address)
    }

    /// Refuses a request that has just been read from a client that is banned: by whom it came is known only now, or the connection was there
    /// before.
    pub(crate) fn banned(&self, exchange: &Exchange) -> Option<Rejection> {
        self.is_banned(exchange.client).then(|| Rejection::new(Reason::ClientBanned, "the client is banned for now"))
    }

    /// A listener as it is now; as it was last, if it is gone.
    pub(crate) fn listener(&self, before: &Arc<Listener>) -> Arc<Listener> {
        Arc::clone(self.view().successor(before).unwrap_or(before))
    }

    /// Whether a connection with a certificate would be refused its next request, so that it need not be kept: the certificate has been
    /// revoked, or whom the listener trusts has changed.
    pub(crate) fn is_out(&self, connection: &ConnectionFacts, listener: &Arc<Listener>) -> bool {
        let Some(shown) = connection.tls.as_ref().filter(|_| connection.certificate.is_some()) else { return false };
        let trusts = self.listener(listener).tls.as_ref().map(|tls| tls.client_trust());
        trusts.is_some_and(|trusts| trusts != shown.client_trust) || self.is_revoked(connection)
    }

    /// Refuses a request that has just been read, when too much is going on. A worker that serves nothing else serves it all the
    /// same: a figure that does not fall must not lock everybody out.
    pub(crate) fn overloaded(&self) -> Option<Rejection> {
        let refuses = self.load().pressure() == Pressure::Refusing && self.exchanges() > 1;
        refuses.then(|| Rejection::new(Reason::Overloaded, "memory, descriptors or workers are close to their limit"))
    }

    /// Whether time is up: what still goes on is cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.drain.stage() == Stage::Cut
    }

    /// How many client connections are being served.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// How many exchanges are going on.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.get()
    }

    pub(crate) fn count_connection(&self) -> Counted<'_> {
        Counted::one_more(&self.connections)
    }

    pub(crate) fn count_exchange(&self) -> Counted<'_> {
        Counted::one_more(&self.exchanges)
    }

    pub(crate) fn unix_micros(&self) -> u64 {
        self.published.clock.unix_micros()
    }

    /// A time as passed since a moment that is the same for all workers.
    pub(crate) fn since_epoch(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.published.epoch)
    }

    pub(crate) fn connection_event(&self, listener: &Arc<str>, event: ConnectionEvent) {
        self.sink.connection(listener, event);
    }

    pub(crate) fn begin_record(&self) -> RecordGuard {
        RecordGuard::begin(&self.sink)
    }

    pub(crate) fn next_id(&self) -> (RequestId, u64) {
        let mut ids = self.ids.borrow_mut();
        (ids.next_id(), ids.next_u64())
    }

    pub(crate) fn request_head(&self) -> Box<RequestHead> {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn keep_request_head(&self, head: Box<RequestHead>) {
        keep(&self.requests, head);
    }

    pub(crate) fn response_head(&self) -> Box<ResponseHead> {
        self.responses.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn keep_response_head(&self, head: Box<ResponseHead>) {
        keep(&self.responses, head);
    }

    pub(crate) fn bodies(&self) -> &Arc<BodyBudget> {
        &self.published.bodies
    }

    pub(crate) fn out(&self) -> Vec<u8> {
        self.outs.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    pub(crate) fn keep_out(&self, mut out: Vec<u8>) {
        if (1..=KEPT_BYTES_MAX).contains(&out.capacity()) {
            out.clear();
            keep(&self.outs, out);
        }
    }
}

fn keep<T>(kept: &RefCell<Vec<T>>, item: T) {
    let mut kept = kept.borrow_mut();
    if kept.len() < KEPT_MAX {
        kept.push(item);
    }
}

/// Counts something while it lives.
pub(crate) struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn one_more(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
