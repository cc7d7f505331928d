//! Step 7: the cleared request goes to the upstream, and the head of its answer comes back.

use crate::body::{Reading, Transfer, TransferError, Waiting, Writing};
use crate::buffers::Buffer;
use crate::connection::Connection;
use crate::grpc::is_grpc;
use crate::h2::{answers_key, complete_handshake};
use crate::pace::{Pace, Silence};
use crate::replay::Replay;
use crate::snapshot::Route;
use crate::stream::ByteStream;
use crate::turn::turn;
use crate::upstream_head::{HeadOutcome, UpstreamHead};
use crate::worker::Worker;
use portcullis_gateway_policy::{Cleared, Exchange, SESSION_COOKIE_PREFIX};
use portcullis_gateway_upstream::{Failure, Timeouts, Tries, UpstreamConnection, checkout, put_request};
use portcullis_model::{Attempt, AttemptOutcome, Blame, Phase, Reason, Rejection};
use portcullis_wire::{BodyFraming, ChunkedDecoder, KnownName, Method, ResponseHead, Version, cookie::remove_cookies};
use std::future::poll_fn;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// How many interim answers (1xx) of an upstream are passed on before it is called broken.
const INTERIM_MAX: usize = 8;

/// The longest body that is kept to be sent again.
const KEPT_BODY_MAX: u64 = 64 * 1024;

/// An exchange whose answer has begun.
pub(crate) struct Forwarded {
    pub(crate) exchange: Exchange,
    pub(crate) upstream: UpstreamConnection,
    /// The head of the upstream's answer.
    pub(crate) response: Box<ResponseHead>,
    /// What came with the head.
    pub(crate) rest: Option<Buffer>,
    /// The rest of the request's body, if the answer came before its end.
    pub(crate) upload: Option<Transfer>,
    /// When the request was decided.
    pub(crate) since: Instant,
    /// When the head of the answer was there.
    pub(crate) answered: Instant,
}

/// Why a try at a connection did not bring an answer.
struct Failed {
    rejection: Rejection,
    /// What it means for trying again.
    failure: Failure,
}

impl Failed {
    /// A failure after which there is no other try.
    fn finally(rejection: impl Into<Rejection>) -> Self {
        Self { rejection: rejection.into(), failure: Failure::Final }
    }

    /// Whether the endpoint is to blame for it; a connection that was closed while it was unused, or went away in good order, is nobody's
    /// fault. That there is no WebSocket a client may provoke as often as it likes.
    fn is_endpoints(&self) -> bool {
        self.rejection.reason.blame() == Blame::Upstream
            && self.rejection.reason != Reason::UpstreamNoWebsocket
            && !matches!(self.failure, Failure::Stale | Failure::Unseen)
    }
}

/// Sends the request and waits for the head of the answer.
pub(crate) async fn forward(
    mut cleared: Cleared,
    route: &Route,
    connection: &mut Connection,
    worker: &Worker,
    decided: Instant,
) -> Result<Forwarded, (Exchange, Rejection)> {
    cleared.record().upstream = Some(route.upstream.settings.name.clone());
    let mut tries = match Tries::begin(&route.upstream, decided) {
        Ok(tries) => tries,
        Err(rejection) => return Err((cleared.into_exchange(), rejection)),
    };
    let turn = match turn(cleared.exchange(), route, connection, tries.total()).await {
        Ok(turn) => turn,
        Err(rejection) => return Err((cleared.into_exchange(), rejection)),
    };
    let mut begun = if turn.is_some() { Instant::now() } else { decided };
    let kept = keep_body(&cleared, connection, worker);
    loop {
        let mut upstream = match checkout(&mut cleared, &mut tries, &worker.pools, begun).await {
            Ok(upstream) => upstream,
            Err(rejection) => return Err((cleared.into_exchange(), rejection)),
        };
        let now = if upstream.reused { begun } else { Instant::now() };
        cleared.record().timings.add(Phase::Connect, (now - begun).as_micros() as u64);
        let body = kept.as_deref().or(cleared.exchange().body.as_deref());
        let mut sending = Sending::new(&cleared, &mut upstream, &tries, body, connection, worker, now);
        match sending.run(&mut cleared, &mut upstream, connection, worker).await {
            Ok(()) => {
                let (endpoint, reused) = (upstream.address, upstream.reused);
                cleared.record().note_attempt(Attempt { endpoint, reused, outcome: AttemptOutcome::Answered });
                let answered = Instant::now();
                if let Some(turn) = &turn {
                    route.upstream.note_turn(turn, &route.baseline);
                }
                tries.note_answer(&upstream, sending.head.response.status(), sending.waited(now, answered), answered);
                return Ok(sending.finish(cleared, upstream, connection, worker, decided, answered));
            }
            Err(failed) => {
                let outcome = AttemptOutcome::Failed(failed.rejection.reason);
                let (endpoint, reused) = (upstream.address, upstream.reused);
                cleared.record().note_attempt(Attempt { endpoint, reused, outcome });
                begun = Instant::now();
                if failed.is_endpoints() {
                    tries.note_failure(upstream.endpoint(), begun);
                }
                let repeatable = match failed.failure {
                    Failure::Unseen | Failure::Refused => sending.is_whole(connection, worker),
                    _ => may_repeat(&cleared, kept.is_some() || cleared.exchange().body.is_some()),
                };
                sending.abandon(worker);
                if !tries.may_try_again(upstream.endpoint(), failed.failure, repeatable, begun) {
                    return Err((cleared.into_exchange(), failed.rejection));
                }
            }
        }
    }
}

/// A request may be sent again when it changes nothing by being sent twice, and when all of it is still here. So may a handshake of a
/// WebSocket, before anybody has consented to it.
fn may_repeat(cleared: &Cleared, has_kept_body: bool) -> bool {
    let request = &cleared.exchange().request;
    request.method().is_idempotent() && (request.framing() == BodyFraming::None || has_kept_body)
}

/// Takes the body of a request that may be sent twice, if it is short and all of it has come with the head: so it can be sent again.
fn keep_body(cleared: &Cleared, connection: &mut Connection, worker: &Worker) -> Option<Vec<u8>> {
    let exchange = cleared.exchange();
    if exchange.body.is_some() {
        return None;
    }
    let BodyFraming::Length(length @ 1..=KEPT_BODY_MAX) = exchange.request.framing() else { return None };
    if !exchange.request.method().is_idempotent() || length > exchange.body_bytes_max() {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    let body = connection.carry.as_ref()?.unread().get(..length)?.to_vec();
    if let Some(carry) = &mut connection.carry {
        carry.consume(length);
    }
    worker.buffers.give_if_empty(&mut connection.carry);
    Some(body)
}

/// One try at a connection.
struct Sending {
    /// The request on its way; none when all of it has been sent.
    upload: Option<Transfer>,
    /// All of a body that has been sent whole, if it was kept.
    replay: Option<Box<Replay>>,
    head: UpstreamHead,
    times: Timeouts,
    pace: Pace,
    silence: Silence,
    total: Option<Instant>,
    has_body: bool,
    /// Whether the body is one that a policy has looked at; it went with the head.
    is_held: bool,
    /// Whether the length of the body is not known.
    endless: bool,
    /// When the last byte of a body had been sent.
    sent: Option<Instant>,
    sink_failed: bool,
    /// Whether the client's connection is looked at for a reset while the upstream is waited for.
    watches_client: bool,
}

impl Sending {
    fn new(
        cleared: &Cleared,
        upstream: &mut UpstreamConnection,
        tries: &Tries<'_>,
        kept: Option<&[u8]>,
        connection: &mut Connection,
        worker: &Worker,
        now: Instant,
    ) -> Self {
        let exchange = cleared.exchange();
        let mut out = worker.out();
        put_request(cleared, upstream, &mut out);
        // What is kept goes with the head, as if there were no body to wait for.
        out.extend_from_slice(kept.unwrap_or_default());
        let framing = if kept.is_some() { BodyFraming::None } else { exchange.request.framing() };
        let chunks = if upstream.is_stream() { Writing::Plain } else { Writing::Chunked };
        let (reading, writing) = match framing {
            BodyFraming::None => (Reading::Length(0), Writing::Plain),
            BodyFraming::Length(length) => (Reading::Length(length), Writing::Plain),
            BodyFraming::Chunked if connection.io.is_stream() => (Reading::UntilClose, chunks),
            BodyFraming::Chunked => (Reading::Chunked(Box::new(ChunkedDecoder::for_request())), chunks),
        };
        let has_body = framing != BodyFraming::None;
        let begun = if has_body { connection.carry.take() } else { None };
        // Only what speaks HTTP/2 ever says that it did not look at a request.
        let replays = has_body && upstream.is_stream() && !matches!(reading, Reading::Chunked(_));
        let mut upload = Transfer::new(reading, writing, out, begun, exchange.body_bytes_max(), cleared.trailers_dropped());
        if replays {
            upload.keep_in(Replay::begin(&worker.replays));
        }
        let mut head = UpstreamHead::new(worker.response_head(), connection.io.is_stream());
        head.request_body = kept.map_or(0, |body| body.len() as u64);
        let times = tries.upstream.settings.timeouts;
        let limits = &connection.listener.limits;
        let pace = if has_body && is_grpc(&exchange.request) {
            // Messages come when there is something to say.
            Pace::something(times.idle, Reason::BodyTimeout)
        } else {
            Pace::new(limits.body_rate_min, limits.rate_window, Reason::BodyTimeout)
        };
        let silence = Silence::new(now, times.first_byte, Reason::UpstreamTimeout);
        let total = tries.total();
        Self {
            upload: Some(upload),
            replay: None,
            head,
            times,
            pace,
            silence,
            total,
            has_body,
            is_held: exchange.body.is_some(),
            endless: framing == BodyFraming::Chunked,
            sent: None,
            sink_failed: false,
            watches_client: true,
        }
    }

    async fn run(
        &mut self,
        cleared: &mut Cleared,
        upstream: &mut UpstreamConnection,
        connection: &mut Connection,
        worker: &Worker,
    ) -> Result<(), Failed> {
        if self.has_body && cleared.exchange().request.expects_continue() {
            self.invite_body(connection).await?;
        }
        let method = cleared.exchange().request.method();
        let mut interim = 0;
        connection.alarm.set(self.silence.deadline());
        loop {
            poll_fn(|cx| self.poll(cx, upstream, connection, worker, method)).await?;
            let status = self.head.response.status();
            let upgraded = status == 101 && cleared.exchange().request.wants_websocket();
            let consents = || {
                let response = &self.head.response;
                response.is_websocket_accept() && (upstream.is_stream() || answers_key(&cleared.exchange().request, response))
            };
            if !(100..200).contains(&status) || (upgraded && consents()) {
                if upgraded && upstream.is_stream() {
                    complete_handshake(&cleared.exchange().request, &mut self.head.response);
                }
                return Ok(());
            }
            interim += 1;
            if status == 101 || interim > INTERIM_MAX {
                let detail = "the upstream switched protocols unasked, or sent interim answers without end";
                return Err(Failed::finally(Rejection::new(Reason::UpstreamUpgradeInvalid, detail)));
            }
            // 100 is ours to give, and has been given; the rest (103 above all) is passed on to those who know of it.
            if status != 100 && cleared.exchange().request.version() != Version::H10 {
                self.pass_on_interim(connection, worker).await?;
            }
        }
    }

    /// Tells a client that waits for it to send its body. Asked only after the exchange was cleared.
    async fn invite_body(&mut self, connection: &mut Connection) -> Result<(), Failed> {
        if self.upload.as_ref().is_some_and(|upload| !upload.has_unread()) {
            connection.alarm.set(Instant::now() + connection.listener.limits.rate_window);
            let invitation = connection.io.invite_body();
            if !connection.write_all(invitation, &[]).await {
                return Err(Failed::finally(Reason::ClientGone));
            }
        }
        Ok(())
    }

    async fn pass_on_interim(&mut self, connection: &mut Connection, worker: &Worker) -> Result<(), Failed> {
        let mut out = worker.out();
        self.head.response.strip_hop_by_hop();
        remove_cookies(self.head.response.fields_mut(), KnownName::SetCookie, SESSION_COOKIE_PREFIX);
        connection.io.put_head(&self.head.response, portcullis_wire::ResponseFraming::None, None, false, &mut out);
        connection.alarm.set(Instant::now() + connection.listener.limits.rate_window);
        let written = connection.write_all(&out, &[]).await;
        worker.keep_out(out);
        connection.alarm.set(self.silence.deadline());
        if written { Ok(()) } else { Err(Failed::finally(Reason::ClientGone)) }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamConnection,
        connection: &mut Connection,
        worker: &Worker,
        method: Method,
    ) -> Poll<Result<(), Failed>> {
        // SECURITY: nothing more is moved for a caller who is out.
        if let Some(reason) = connection.poll_ended(cx, worker) {
            return Poll::Ready(Err(Failed::finally(Rejection::new(reason, "while the answer was waited for"))));
        }
        if !self.sink_failed {
            self.poll_upload(cx, upstream, connection, worker)?;
        }
        match self.head.poll(cx, upstream, worker, method) {
            HeadOutcome::Pending => {}
            HeadOutcome::Complete => return Poll::Ready(Ok(())),
            HeadOutcome::Malformed(error) => {
                return Poll::Ready(Err(Failed::finally(error)));
            }
            HeadOutcome::None(none) => {
                return Poll::Ready(Err(Failed { rejection: none.rejection, failure: none.failure }));
            }
            HeadOutcome::Ended { bytes } => {
                let failure = match bytes {
                    0 if upstream.reused => Failure::Stale,
                    0 => Failure::ResetBeforeBytes,
                    _ => Failure::Final,
                };
                let detail = "the connection ended before the head of an answer was complete";
                return Poll::Ready(Err(Failed { rejection: Rejection::new(Reason::UpstreamReset, detail), failure }));
            }
        }
        if self.watches_client && self.upload.is_none() {
            match connection.io.poll_gone(cx) {
                Poll::Ready(true) => return Poll::Ready(Err(Failed::finally(Reason::ClientGone))),
                Poll::Ready(false) => self.watches_client = false,
                Poll::Pending => {}
            }
        }
        self.poll_deadlines(cx, connection)
    }

    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamConnection,
        connection: &mut Connection,
        worker: &Worker,
    ) -> Result<(), Failed> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let reason = match upload.poll(cx, &mut connection.io, upstream, &worker.buffers) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {
                // SECURITY: what came behind a body that a policy has looked at, nobody has looked at.
                let behind = if self.is_held { None } else { connection.io.trailers() };
                upstream.finish(upload.trailers_or(behind).as_deref());
                if self.has_body {
                    connection.carry = upload.take_rest(&worker.buffers);
                    self.head.request_body = upload.moved;
                    let now = Instant::now();
                    self.sent = Some(now);
                    self.silence.note(now, 0, true);
                    connection.alarm.set(self.silence.deadline());
                }
                worker.keep_out(upload.take_out());
                self.replay = upload.take_replay();
                self.upload = None;
                return Ok(());
            }
            Poll::Ready(Err(TransferError::Sink)) => {
                // The upstream does not want the rest. It may have said why: its answer is read before this is called a failure.
                self.sink_failed = true;
                return Ok(());
            }
            Poll::Ready(Err(TransferError::Source)) => Rejection::from(Reason::ClientGone),
            Poll::Ready(Err(TransferError::Malformed(error))) => error.into(),
            Poll::Ready(Err(TransferError::TooLarge)) => {
                Rejection::new(Reason::BodyTooLarge, "the body has more bytes than the route allows")
            }
        };
        Err(Failed::finally(reason))
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<Result<(), Failed>> {
        if self.has_body && self.upload.is_some() {
            self.note_upload();
            if let Some(deadline) = self.pace.deadline().into_iter().chain(connection.watch.deadline(self.endless)).min() {
                connection.alarm.set(deadline.min(self.silence.deadline()));
            }
        }
        while connection.alarm.poll(cx).is_ready() {
            let now = Instant::now();
            let (moved, endless) =
                (self.upload.as_ref().map_or(0, |upload| upload.progress), self.endless && self.upload.is_some());
            let late = self.total.is_some_and(|total| now >= total);
            let verdict = if late { Err(Reason::UpstreamTimeout) } else { self.silence.check(now) };
            let verdict = verdict.and_then(|()| self.pace.check(now, moved)).and_then(|()| connection.watch.check(now, endless));
            if let Err(reason) = verdict {
                return Poll::Ready(Err(Failed::finally(Rejection::new(reason, "waiting for the answer"))));
            }
            let watch = connection.watch.deadline(endless);
            let next = [self.pace.deadline(), self.total, Some(self.silence.deadline()), watch].into_iter().flatten().min();
            connection.alarm.set(next.unwrap_or(now + self.times.idle));
        }
        Poll::Pending
    }

    /// While the body is on its way, the upstream's silence is excused as long as the client is what is waited for.
    fn note_upload(&mut self) {
        if let Some(upload) = &self.upload {
            let now = Instant::now();
            let client = upload.waiting == Waiting::Source && !self.sink_failed;
            self.pace.note(now, client, upload.progress);
            self.silence.note(now, upload.progress, client);
        }
    }

    /// How long the answer took, from when the request was there, in microseconds; 0 if the answer came before all of the request.
    fn waited(&self, begun: Instant, answered: Instant) -> u64 {
        let since = if self.has_body { self.sent } else { Some(begun) };
        since.map_or(0, |since| u64::try_from((answered - since).as_micros()).unwrap_or(u64::MAX).max(1))
    }

    fn finish(
        self,
        cleared: Cleared,
        upstream: UpstreamConnection,
        connection: &Connection,
        worker: &Worker,
        decided: Instant,
        answered: Instant,
    ) -> Forwarded {
        let Self { mut upload, head, has_body, .. } = self;
        // What has been answered is not sent again.
        drop(upload.as_mut().and_then(Transfer::take_replay));
        let mut exchange = cleared.into_exchange();
        exchange.body = None;
        exchange.record.traffic.request_body = upload.as_ref().map_or(head.request_body, |upload| upload.moved);
        exchange.record.timings.add(Phase::FirstByte, (answered - decided).as_micros() as u64);
        debug_assert!(!(has_body && upload.is_some() && connection.carry.is_some()), "the body is in the transfer");
        let (response, rest) = head.into_parts(worker);
        Forwarded { exchange, upstream, response, rest, upload, since: decided, answered }
    }

    /// Whether all of the request is still here, so that it can be sent again; what came of its body goes back to the connection.
    fn is_whole(&mut self, connection: &mut Connection, worker: &Worker) -> bool {
        let (replay, rest) = match &mut self.upload {
            _ if !self.has_body => return true,
            Some(upload) if upload.is_untouched() => (None, upload.take_rest(&worker.buffers)),
            // Behind what was kept comes what was read after it; the rest is still to come from the client.
            Some(upload) => match upload.take_replay() {
                Some(replay) => (Some(replay), upload.take_rest(&worker.buffers)),
                None => return false,
            },
            None => match self.replay.take() {
                Some(replay) => (Some(replay), connection.carry.take()),
                None => return false,
            },
        };
        connection.carry = match replay {
            None => rest,
            Some(replay) => match worker.buffers.joined(replay.bytes(), rest) {
                Ok(whole) => Some(whole),
                Err(rest) => {
                    connection.carry = rest;
                    return false;
                }
            },
        };
        true
    }

    fn abandon(self, worker: &Worker) {
        let (response, rest) = self.head.into_parts(worker);
        worker.keep_response_head(response);
        if let Some(buffer) = rest {
            worker.buffers.give(buffer);
        }
    }
}
