//! A connection: its handshake, its streams, its deadlines, its end.

use super::budget::{Budget, Held};
use super::metered::{LINGER_BYTES_MAX, LINGER_TIME_MAX, Metered, MeteredIo, linger};
use super::stream::Http2Stream;
use super::turn::{Bell, take_another_turn};
use crate::alarm::Alarm;
use crate::client_io::ClientIo;
use crate::connection::{After, Connection};
use crate::life_of_a_request::life_of_a_request;
use crate::snapshot::{Listener, ListenerLimits};
use crate::watch::Watch;
use crate::worker::Worker;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::Request;
use portcullis_gateway_h2::ROOM_BYTES;
use portcullis_gateway_listener::Io;
use portcullis_gateway_policy::ConnectionFacts;
use portcullis_model::{Protocol, Reason, Rejection};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// Streams at the same time on one connection.
const STREAMS_MAX: u32 = 100;
/// Bytes of request bodies that may come before they are asked for: on a stream, and on a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Streams that were reset before they were looked at, and those that are remembered for what may still come for them.
const PENDING_RESETS_MAX: usize = 100;
const REMEMBERED_RESETS_MAX: usize = 50;
/// What the library counts for a field beside its name and value, less what we do.
const FIELD_EXTRA: usize = 32;
/// Streams that are begun in one turn of a connection, and those that end in it. A hundred at once would hold up everybody else of the worker for
/// as long as all of them take together.
const TURN_STREAMS: usize = 16;
/// How long exchanges may take to notice that their connection is gone.
const ORPHANED_TIME_MAX: Duration = Duration::from_secs(5);

type Http2 = server::Connection<MeteredIo, Held>;

/// What all streams of a connection share.
#[derive(Clone)]
struct Shared {
    facts: Rc<ConnectionFacts>,
    listener: Arc<Listener>,
    worker: Rc<Worker>,
    /// Alarms of streams that have ended, for others to come.
    alarms: Rc<RefCell<Vec<Alarm>>>,
    budget: Rc<Budget>,
    /// Whether a stream has gone on since this was last looked at, so that there may be something to write.
    moved: Rc<Cell<bool>>,
}

impl Shared {
    /// An idle connection keeps what one stream needs, no more.
    fn rest(&self, is_idle: bool) {
        if is_idle {
            self.alarms.borrow_mut().truncate(1);
        }
    }

    fn alarm(&self, deadline: Instant) -> Alarm {
        match self.alarms.borrow_mut().pop() {
            Some(mut alarm) => {
                alarm.set(deadline);
                alarm
            }
            None => Alarm::at(deadline),
        }
    }
}

/// Serves a client's connection on which HTTP/2 was agreed, until it ends.
pub(crate) async fn serve_http2(io: Io, facts: Rc<ConnectionFacts>, listener: Arc<Listener>, worker: Rc<Worker>) {
    let begin = Instant::now();
    let started = worker.unix_micros();
    let limits = listener.limits.clone();
    let block_max = u32::try_from(limits.head.head_bytes_max).unwrap_or(u32::MAX);
    let metered = Metered::new(io, block_max, begin, Rc::clone(&worker));
    let mut alarm = Alarm::new(limits.header_deadline);
    let shared = Shared { facts, listener, worker, alarms: Rc::default(), budget: Rc::default(), moved: Rc::default() };
    // Boxed, so that an idle connection does not keep room for it.
    let made = Box::pin(shake_hands(&limits, &metered, &mut alarm)).await;
    let fault = match made {
        Ok(http2) => Box::pin(serve(http2, &shared, &metered, &mut alarm, begin)).await,
        Err(fault) => fault,
    };
    if let Some(fault) = fault {
        record(&shared, &fault, started, begin);
    }
    Box::pin(linger(&metered, &shared.worker, &mut alarm)).await;
}

/// Waits for the client to say hello. An error is the client's fault, if it is anybody's.
async fn shake_hands(limits: &ListenerLimits, metered: &Rc<Metered>, alarm: &mut Alarm) -> Result<Box<Http2>, Option<Rejection>> {
    let mut handshake = pin!(builder(limits).handshake::<MeteredIo, Held>(MeteredIo(Rc::clone(metered))));
    poll_fn(|cx| {
        metered.wake();
        let made = handshake.as_mut().poll(cx);
        let sent = metered.poll_send(cx);
        if metered.has_read_enough() {
            take_another_turn(cx);
        }
        match made {
            Poll::Ready(made) => Poll::Ready(made.map(Box::new).map_err(|error| fault_of(&error))),
            Poll::Pending if metered.flood().is_some() => Poll::Ready(Err(flood(metered))),
            Poll::Pending if matches!(sent, Poll::Ready(Err(_))) => Poll::Ready(Err(None)),
            Poll::Pending => alarm.poll(cx).map(|()| Err(None)),
        }
    })
    .await
}

fn builder(limits: &ListenerLimits) -> server::Builder {
    let mut builder = server::Builder::new();
    // Somewhat more than a head may have, so that it is our own limit that refuses, with an answer and a record.
    let list = limits.head.head_bytes_max + limits.head.fields_max * FIELD_EXTRA;
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(ROOM_BYTES)
        .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .reset_stream_duration(Duration::from_secs(1));
    builder
}

/// What a library's error says of the client, if anything.
fn fault_of(error: &h2::Error) -> Option<Rejection> {
    if !error.is_library() {
        return None;
    }
    match error.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Some(Rejection::new(Reason::Http2Flood, "more work than allowed")),
        Some(h2::Reason::NO_ERROR) | None => None,
        Some(reason) => Some(Rejection::new(Reason::Http2Malformed, reason.description().to_owned())),
    }
}

fn flood(metered: &Metered) -> Option<Rejection> {
    metered.flood().map(|flood| Rejection::new(Reason::Http2Flood, flood.detail()))
}

/// Leaves a record of a connection that ended by its client's fault.
fn record(shared: &Shared, fault: &Rejection, started_unix_micros: u64, begin: Instant) {
    let mut record = shared.worker.begin_record();
    record.id = shared.worker.next_id().0;
    record.started_unix_micros = started_unix_micros;
    record.listener = Some(shared.facts.listener.clone());
    record.peer = Some(shared.facts.peer);
    record.balancer = shared.facts.balancer;
    record.client = Some(shared.facts.peer.ip().to_canonical());
    record.tls.clone_from(&shared.facts.tls);
    record.protocol = Protocol::Http2;
    record.generation = shared.worker.view().generation;
    record.note_reason(fault.reason, &fault.detail);
    record.total_micros = begin.elapsed().as_micros() as u64;
}

/// What a connection is waiting for.
enum State {
    /// Requests.
    Open,
    /// Its streams, and then its end.
    Leaving,
    /// That the client hears why it ends.
    Ending,
    /// Exchanges that have not noticed its end.
    Ended,
}

struct Driver<'a> {
    /// Until its end. Streams hear of that when it is dropped: the library does not tell them when a write has failed.
    http2: Option<Box<Http2>>,
    bell: Arc<Bell>,
    shared: &'a Shared,
    metered: &'a Metered,
    alarm: &'a mut Alarm,
    state: State,
    /// When the last stream ended, or the connection began.
    since: Instant,
    requests: u32,
    /// [`Worker::trusts`] when it was last looked whether the client's certificate is still taken.
    trusts: u64,
    /// Whether it is not taken any more: the connection ends with the streams that hear of it.
    is_out: bool,
    fault: Option<Rejection>,
}

/// Serves streams until the connection ends. Gives the client's fault, if that is why.
async fn serve(http2: Box<Http2>, shared: &Shared, metered: &Metered, alarm: &mut Alarm, begin: Instant) -> Option<Rejection> {
    let (http2, trusts, bell) = (Some(http2), shared.worker.trusts(), Arc::<Bell>::default());
    let ring = Waker::from(Arc::clone(&bell));
    let mut driver = Driver {
        http2,
        bell,
        shared,
        metered,
        alarm,
        state: State::Open,
        since: begin,
        requests: 0,
        trusts,
        is_out: false,
        fault: None,
    };
    let mut streams = FuturesUnordered::new();
    poll_fn(|cx| {
        metered.wake();
        driver.bell.begin_turn(cx);
        let ring = &mut Context::from_waker(&ring);
        let (mut may_begin, mut may_end) = (TURN_STREAMS, TURN_STREAMS);
        loop {
            let mut begun = false;
            while may_begin > 0
                && let Some((request, respond)) = driver.poll_request(ring)
            {
                may_begin -= 1;
                let stream = Http2Stream::new(request, respond, Rc::clone(&shared.budget));
                // Boxed: the set keeps a place of the size of what is in it, and more for some time after.
                streams.push(Box::pin(serve_stream(stream, shared.clone(), driver.requests)));
                begun = true;
            }
            if streams.is_empty() {
                break;
            }
            let mut ended = false;
            while may_end > 0
                && let Poll::Ready(Some(())) = streams.poll_next_unpin(cx)
            {
                may_end -= 1;
                ended = true;
            }
            if ended {
                driver.since = Instant::now();
                shared.rest(streams.is_empty());
            }
            // What the streams have handed over is written before anything is waited for.
            let is_over = may_begin == 0 || may_end == 0;
            let moved = shared.moved.take();
            if is_over || (!begun && !ended) {
                if moved {
                    driver.flush(ring);
                }
                break;
            }
        }
        let end = driver.poll_end(cx, ring, streams.is_empty());
        driver.send(cx);
        if may_begin == 0 || may_end == 0 || metered.has_read_enough() {
            take_another_turn(cx);
        }
        driver.bell.end_turn(cx);
        end
    })
    .await;
    driver.fault.take()
}

impl Driver<'_> {
    /// Moves the connection on, and gives the next request.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Option<(Request<RecvStream>, SendResponse<Held>)> {
        self.bell.hear();
        let polled = self.http2.as_mut()?.poll_accept(cx);
        self.look_for_flood(cx);
        match polled {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(begun))) => {
                self.requests = self.requests.saturating_add(1);
                let limit = self.shared.listener.limits.requests_max;
                match limit {
                    // It was told that no more are taken, and had its time to hear it.
                    Some(limit) if self.requests >= limit.saturating_add(STREAMS_MAX) => self.end(h2::Reason::NO_ERROR),
                    Some(limit) if self.requests >= limit => self.leave(),
                    _ => {}
                }
                Some(begun)
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended(fault_of(&error));
                None
            }
            Poll::Ready(None) => {
                self.ended(None);
                None
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        let Some(http2) = &mut self.http2 else { return };
        self.bell.hear();
        if let Poll::Ready(outcome) = http2.poll_closed(cx) {
            self.ended(outcome.err().and_then(|error| fault_of(&error)));
        }
        self.look_for_flood(cx);
    }

    /// Sends what the library has written since the last time.
    fn send(&mut self, cx: &mut Context<'_>) {
        if self.http2.is_some()
            && let Poll::Ready(Err(_)) = self.metered.poll_send(cx)
        {
            self.ended(None);
            cx.waker().wake_by_ref();
        }
    }

    fn look_for_flood(&mut self, cx: &mut Context<'_>) {
        if self.fault.is_none() && self.metered.flood().is_some() && !matches!(self.state, State::Ended) {
            self.fault = flood(self.metered);
            self.end(h2::Reason::ENHANCE_YOUR_CALM);
            cx.waker().wake_by_ref();
        }
    }

    /// Lets the streams that are there finish and takes no more.
    fn leave(&mut self) {
        if let (State::Open, Some(http2)) = (&self.state, &mut self.http2) {
            http2.graceful_shutdown();
            self.state = State::Leaving;
            self.since = Instant::now();
        }
    }

    /// Ends the connection, after it was told why.
    fn end(&mut self, reason: h2::Reason) {
        if let (State::Open | State::Leaving, Some(http2)) = (&self.state, &mut self.http2) {
            http2.abrupt_shutdown(reason);
            self.state = State::Ending;
            self.since = Instant::now();
        }
    }

    fn ended(&mut self, fault: Option<Rejection>) {
        if self.fault.is_none() {
            self.fault = fault;
        }
        if self.http2.take().is_some() {
            self.state = State::Ended;
            self.since = Instant::now();
        }
    }

    /// Looks whether the client's certificate is still taken, when that may have changed: new requests would be refused, so there is no
    /// more to come; and what goes on is ended where it is not.
    fn look_at_certificate(&mut self) {
        let Shared { worker, facts, listener, .. } = self.shared;
        if facts.certificate.is_none() || std::mem::replace(&mut self.trusts, worker.trusts()) == worker.trusts() {
            return;
        }
        if worker.is_out(facts, listener) {
            self.leave();
        }
        let taken = match &*self.metered.io.borrow() {
            Io::Tls(stream) => worker.listener(listener).tls.as_ref().map_or(Ok(()), |tls| tls.takes_still(stream)),
            Io::Tcp(_) | Io::Mem(_) => Ok(()),
        };
        if let Err(reason) = taken {
            worker.open.end_connection(facts, reason);
        }
        self.is_out = taken.is_err() || worker.is_revoked(facts);
    }

    /// Ready when there is nothing left to do.
    fn poll_end(&mut self, cx: &mut Context<'_>, ring: &mut Context<'_>, no_streams: bool) -> Poll<()> {
        self.look_at_certificate();
        if self.is_out && no_streams {
            self.end(h2::Reason::NO_ERROR);
            self.flush(ring);
        }
        if self.shared.worker.is_draining() {
            self.leave();
        }
        if self.shared.worker.is_cut() {
            // What still goes on is dropped with its streams; their records leave all the same.
            self.end(h2::Reason::NO_ERROR);
            self.flush(ring);
            return Poll::Ready(());
        }
        loop {
            if matches!(self.state, State::Ended) && no_streams {
                return Poll::Ready(());
            }
            self.alarm.set(self.deadline(no_streams));
            if self.alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.state {
                State::Open | State::Leaving => self.rings(no_streams),
                State::Ending | State::Ended => return Poll::Ready(()),
            }
            self.flush(ring);
        }
    }

    /// By when something must have happened.
    fn deadline(&self, no_streams: bool) -> Instant {
        let limits = &self.shared.listener.limits;
        let quiet = if self.requests == 0 { limits.header_deadline } else { limits.idle_timeout };
        match self.state {
            State::Ending => self.since + LINGER_TIME_MAX,
            // A client that hears that it is to go says so at once.
            State::Leaving if no_streams => self.since + LINGER_TIME_MAX,
            State::Ended => self.since + ORPHANED_TIME_MAX,
            State::Open | State::Leaving => {
                let block = self.metered.header_block_since().map(|since| since + limits.header_deadline);
                // Streams have deadlines of their own; this one only keeps the timer from being armed anew with each of them.
                let streams = if no_streams { self.since + quiet } else { Instant::now() + limits.idle_timeout };
                block.map_or(streams, |block| block.min(streams))
            }
        }
    }

    /// A deadline has passed.
    fn rings(&mut self, no_streams: bool) {
        let now = Instant::now();
        let limits = &self.shared.listener.limits;
        let late = self.metered.header_block_since().is_some_and(|since| no_streams || now >= since + limits.header_deadline);
        if late {
            self.fault = Some(Rejection::new(Reason::HeaderTimeout, "a header block was not complete in time"));
        }
        if late || no_streams {
            self.end(h2::Reason::NO_ERROR);
        }
    }
}

/// One exchange on a stream. A fault in it costs this stream alone.
async fn serve_stream(stream: Http2Stream, shared: Shared, requests: u32) {
    let now = Instant::now();
    let alarm = shared.alarm(now + shared.listener.limits.header_deadline);
    let Shared { facts, listener, worker, alarms, moved, .. } = shared;
    let io = ClientIo::Stream(Box::new(stream));
    let watch = Watch::default();
    let trusts = worker.trusts();
    let mut connection = Connection { io, facts, listener, alarm, watch, trusts, carry: None, requests, finished: now };
    let after = {
        let mut life = pin!(life_of_a_request(&mut connection, &worker));
        // A life that has panicked is not asked again.
        poll_fn(|cx| {
            moved.set(true);
            catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(cx))).unwrap_or(Poll::Ready(After::Close))
        })
        .await
    };
    let Connection { io: ClientIo::Stream(mut stream), mut alarm, .. } = connection else { return };
    match after {
        After::KeepAlive => {}
        After::Close => stream.abandon(),
        // Many clients send all of a body before they look at an answer, and take a reset for a failure (RFC 9113 section 8.1).
        After::Linger => {
            alarm.set(Instant::now() + LINGER_TIME_MAX);
            let mut left = LINGER_BYTES_MAX;
            poll_fn(|cx| {
                moved.set(true);
                match stream.poll_discard(cx, &mut left) {
                    Poll::Ready(()) => Poll::Ready(()),
                    Poll::Pending => alarm.poll(cx),
                }
            })
            .await;
        }
    }
    alarms.borrow_mut().push(alarm);
}
