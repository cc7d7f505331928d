//! Step 9: the answer's body is written as it comes, metered, while the rest of the request's body may still go up.

use crate::answer::Answered;
use crate::body::{Reading, Transfer, TransferError, Waiting, Writing};
use crate::connection::{After, Connection};
use crate::forward::Forwarded;
use crate::pace::{Pace, Silence};
use crate::respond::part;
use crate::snapshot::Route;
use crate::stream::ByteStream;
use crate::tunnel::tunnel;
use crate::worker::Worker;
use portcullis_gateway_policy::Exchange;
use portcullis_gateway_upstream::UpstreamConnection;
use portcullis_model::{Phase, Reason};
use std::future::poll_fn;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Writes the answer. Gives back what becomes of the connection, and the exchange, whose record is complete but for its total.
pub(crate) async fn write(
    forwarded: Forwarded,
    answered: Answered,
    route: &Route,
    connection: &mut Connection,
    worker: &Worker,
) -> (After, Exchange) {
    let Forwarded { mut exchange, upstream, response, rest, upload, since, answered: now } = forwarded;
    let Answered { out, reading, writing, keeps_alive, endless, upgraded } = answered;
    if upgraded {
        worker.keep_response_head(response);
        exchange.record.upgraded = true;
        let mut upstream = upstream;
        let after = tunnel(&mut exchange, &mut upstream, connection, worker, route, out, rest).await;
        connection.finished = Instant::now();
        return (after, exchange);
    }
    let reusable = !matches!(reading, Reading::UntilClose) && response.keep_alive() && !upstream.is_stream();
    worker.keep_response_head(response);
    let mut relay = Relay::new(reading, writing, out, rest, upload, route, connection, since, now);
    relay.endless = endless;
    let mut source = Source { upstream: Some(upstream), reusable, idle_max: route.upstream.settings.idle_per_worker };
    let outcome = poll_fn(|cx| relay.poll(cx, &mut source, connection, worker)).await;
    let finished = Instant::now();
    connection.finished = finished;
    exchange.record.traffic.response_body = relay.download.moved;
    let left_over = relay.download.take_rest(&worker.buffers);
    worker.keep_out(relay.download.take_out());
    let trailers = source.upstream.as_ref().and_then(UpstreamConnection::trailers);
    let after = match outcome {
        Err(reason) => {
            exchange.record.note_reason(reason, "the answer had begun");
            part(connection, &exchange, reason)
        }
        Ok(()) if relay.upload.is_some() => {
            connection.io.finish(relay.download.trailers_or(trailers).as_deref());
            After::Linger
        }
        Ok(()) => {
            connection.io.finish(relay.download.trailers_or(trailers).as_deref());
            // Bytes behind the end of an answer are nobody's: a connection that has some is not used again (threats A 3, 24).
            if left_over.is_none() && !relay.upload_failed {
                source.put_back(worker, finished);
            }
            if keeps_alive { After::KeepAlive } else { After::Linger }
        }
    };
    if let Some(buffer) = left_over {
        worker.buffers.give(buffer);
    }
    if let Some(upload) = &relay.upload {
        exchange.record.traffic.request_body = upload.moved;
    }
    exchange.record.timings.add(Phase::Body, (finished - now).as_micros() as u64);
    (after, exchange)
}

/// Where the answer comes from, until all of it has come.
struct Source {
    upstream: Option<UpstreamConnection>,
    /// Whether the connection can serve another exchange when this one is over.
    reusable: bool,
    idle_max: usize,
}

impl Source {
    /// Lets other exchanges have the connection.
    fn put_back(&mut self, worker: &Worker, now: Instant) {
        if self.reusable
            && let Some(upstream) = self.upstream.take()
        {
            worker.pools.put_back(upstream, self.idle_max, now);
        }
    }
}

/// Both directions of an exchange whose answer has begun.
struct Relay {
    download: Transfer,
    upload: Option<Transfer>,
    upload_failed: bool,
    watches_client: bool,
    client_reads: Pace,
    upstream_sends: Silence,
    total: Option<Instant>,
    /// Whether it has no end of its own.
    endless: bool,
}

impl Relay {
    #[expect(clippy::too_many_arguments, reason = "takes apart what the steps before have left")]
    fn new(
        reading: Reading,
        writing: Writing,
        out: Vec<u8>,
        rest: Option<crate::buffers::Buffer>,
        upload: Option<Transfer>,
        route: &Route,
        connection: &Connection,
        since: Instant,
        now: Instant,
    ) -> Self {
        let limits = &connection.listener.limits;
        let times = &route.upstream.settings.timeouts;
        Self {
            download: Transfer::new(reading, writing, out, rest, u64::MAX, route.pipeline.response_trailers_dropped()),
            upload,
            upload_failed: false,
            watches_client: true,
            client_reads: Pace::new(limits.body_rate_min, limits.rate_window, Reason::ClientTooSlow),
            upstream_sends: Silence::new(now, times.idle, Reason::UpstreamStalled),
            total: times.total.map(|total| since + total),
            endless: false,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Source,
        connection: &mut Connection,
        worker: &Worker,
    ) -> Poll<Result<(), Reason>> {
        // SECURITY: nothing more is moved for a caller who is out.
        if let Some(reason) = connection.poll_ended(cx, worker) {
            return Poll::Ready(Err(reason));
        }
        let moved = match &mut source.upstream {
            Some(upstream) => {
                self.poll_upload(cx, upstream, connection, worker)?;
                self.download.poll(cx, upstream, &mut connection.io, &worker.buffers)
            }
            None => self.download.poll_rest(cx, &mut connection.io),
        };
        match moved {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(TransferError::Sink)) => return Poll::Ready(Err(Reason::ClientGone)),
            Poll::Ready(Err(TransferError::Source)) => return Poll::Ready(Err(Reason::UpstreamReset)),
            Poll::Ready(Err(TransferError::Malformed(_) | TransferError::TooLarge)) => {
                return Poll::Ready(Err(Reason::UpstreamMalformed));
            }
            Poll::Pending => {}
        }
        // SECURITY: a client that does not read what has come keeps no connection from others (threats D 77).
        if !self.download.needs_source() && self.upload.is_none() && !self.upload_failed {
            source.put_back(worker, Instant::now());
        }
        if worker.is_cut() {
            return Poll::Ready(Err(Reason::ShuttingDown));
        }
        // A silent event stream would else be kept for a client that is long gone.
        if self.watches_client && self.upload.is_none() {
            match connection.io.poll_gone(cx) {
                Poll::Ready(true) => return Poll::Ready(Err(Reason::ClientGone)),
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
    ) -> Result<(), Reason> {
        if self.upload_failed {
            return Ok(());
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        match upload.poll(cx, &mut connection.io, upstream, &worker.buffers) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                upstream.finish(upload.trailers_or(connection.io.trailers()).as_deref());
                connection.carry = upload.take_rest(&worker.buffers);
                self.upload = None;
                // The head of the answer said that the connection ends; it does, but nothing is left unread on it.
            }
            Poll::Ready(Err(TransferError::Sink | TransferError::Source)) => self.upload_failed = true,
            Poll::Ready(Err(TransferError::Malformed(error))) => return Err(error.reason),
            Poll::Ready(Err(TransferError::TooLarge)) => return Err(Reason::BodyTooLarge),
        }
        Ok(())
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<Result<(), Reason>> {
        let now = Instant::now();
        let client = self.download.waiting == Waiting::Sink;
        let progress = self.download.progress;
        self.client_reads.note(now, client, progress);
        self.upstream_sends.note(now, progress, client);
        self.set_alarm(connection);
        while connection.alarm.poll(cx).is_ready() {
            let now = Instant::now();
            let late = self.total.is_some_and(|total| now >= total);
            let verdict = if late { Err(Reason::UpstreamStalled) } else { self.upstream_sends.check(now) };
            let verdict = verdict.and_then(|()| self.client_reads.check(now, progress));
            if let Err(reason) = verdict.and_then(|()| connection.watch.check(now, self.endless)) {
                return Poll::Ready(Err(reason));
            }
            self.set_alarm(connection);
        }
        Poll::Pending
    }

    fn set_alarm(&self, connection: &mut Connection) {
        let watch = connection.watch.deadline(self.endless);
        let deadlines = [self.client_reads.deadline(), self.total, Some(self.upstream_sends.deadline()), watch];
        if let Some(earliest) = deadlines.into_iter().flatten().min() {
            connection.alarm.set(earliest);
        }
    }
}
