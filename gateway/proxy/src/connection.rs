//! A client's connection: one exchange after the other.

use crate::alarm::Alarm;
use crate::buffers::Buffer;
use crate::client_io::ClientIo;
use crate::drain::{FIRST_GRACE, IDLE_GRACE};
use crate::h2::serve_http2;
use crate::life_of_a_request::life_of_a_request;
use crate::snapshot::Listener;
use crate::stream::ByteStream;
use crate::watch::Watch;
use crate::worker::Worker;
use portcullis_gateway_listener::Io;
use portcullis_gateway_policy::ConnectionFacts;
use portcullis_model::Reason;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// How much a client may still send after the last answer on its connection, and for how long, so that the answer is not lost
/// to a reset (RFC 9112 section 9.6).
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It goes on.
    KeepAlive,
    /// It ends; everything the client sent has been read.
    Close,
    /// It ends, but the client may still be sending.
    Linger,
}

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) io: ClientIo,
    pub(crate) facts: Rc<ConnectionFacts>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) alarm: Alarm,
    /// Over the exchange that has been let through.
    pub(crate) watch: Watch,
    /// [`Worker::trusts`] when it was last looked whether the client's certificate is still taken.
    pub(crate) trusts: u64,
    /// Bytes read beyond the last exchange: of a pipelined request, or of a body that is yet to be forwarded.
    pub(crate) carry: Option<Buffer>,
    /// Requests begun on it.
    pub(crate) requests: u32,
    /// When the last exchange was finished, or the connection was made.
    pub(crate) finished: Instant,
}

impl Connection {
    /// Whether another request may follow the one that is being served.
    pub(crate) fn may_go_on(&self) -> bool {
        self.listener.limits.requests_max.is_none_or(|limit| self.requests < limit)
    }

    /// Writes all of `bytes`, by the deadline the alarm is set to. `false`: the client is gone or too slow.
    pub(crate) async fn write_all(&mut self, mut head: &[u8], mut body: &[u8]) -> bool {
        poll_fn(|cx| {
            while !head.is_empty() || !body.is_empty() {
                match self.io.poll_write(cx, head, body) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                    Poll::Ready(Ok(count)) => {
                        let of_head = count.min(head.len());
                        head = head.get(of_head..).unwrap_or_default();
                        body = body.get(count - of_head..).unwrap_or_default();
                    }
                    Poll::Pending => return self.alarm.poll(cx).map(|()| false),
                }
            }
            match self.io.poll_flush(cx) {
                Poll::Ready(outcome) => Poll::Ready(outcome.is_ok()),
                Poll::Pending => self.alarm.poll(cx).map(|()| false),
            }
        })
        .await
    }

    /// Why the exchange has been ended, if it has: its caller has been revoked, or the certificate of its connection.
    pub(crate) fn poll_ended(&mut self, cx: &Context<'_>, worker: &Worker) -> Option<Reason> {
        if self.facts.certificate.is_some() && self.trusts != worker.trusts() {
            self.trusts = worker.trusts();
            // A stream has no certificate of its own: its connection looks for all of them.
            if let ClientIo::Connection(Io::Tls(stream)) = &self.io
                && let Some(Err(reason)) = worker.listener(&self.listener).tls.as_ref().map(|tls| tls.takes_still(stream))
            {
                return Some(reason);
            }
        }
        self.watch.poll_ended(cx)
    }

    /// Waits for the next request without holding a buffer. `false`: there will be none.
    async fn wait_for_request(&mut self, worker: &Worker) -> bool {
        if self.carry.is_some() || self.io.has_buffered() {
            return true;
        }
        // Whoever has just connected wants something; only who has been served may be idle.
        let limits = &self.listener.limits;
        let (patience, grace) =
            if self.requests == 0 { (limits.header_deadline, FIRST_GRACE) } else { (limits.idle_timeout, IDLE_GRACE) };
        self.alarm.set(self.finished + patience);
        poll_fn(|cx| match self.io.poll_read_ready(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome.is_ok()),
            Poll::Pending if worker.is_out(&self.facts, &self.listener) => Poll::Ready(false),
            Poll::Pending => {
                if worker.ends_idle() {
                    self.alarm.set(self.finished + grace.min(patience));
                }
                self.alarm.poll(cx).map(|()| false)
            }
        })
        .await
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<Option<usize>> {
        let mut buffer = worker.buffers.take();
        let read = self.io.poll_read(cx, buffer.room());
        worker.buffers.give(buffer);
        match ready!(read) {
            Ok(0) | Err(_) => Poll::Ready(None),
            Ok(count) => Poll::Ready(Some(count)),
        }
    }

    /// Ends our side and reads for a while what the client still sends.
    async fn close(&mut self, worker: &Worker, linger: bool) {
        self.alarm.set(Instant::now() + LINGER_TIME_MAX);
        let mut left = if linger { LINGER_BYTES_MAX } else { 0 };
        let mut shut = false;
        poll_fn(|cx| {
            if self.alarm.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !shut {
                match self.io.poll_shutdown(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => shut = true,
                }
            }
            while left > 0 {
                match ready!(self.poll_discard(cx, worker)) {
                    None => return Poll::Ready(()),
                    Some(count) => left = left.saturating_sub(count),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Serves a client's connection until it ends. `io` has had its handshake, if it is one that has.
pub async fn serve_connection(io: Io, facts: ConnectionFacts, listener: Arc<Listener>, worker: Rc<Worker>) {
    let _count = worker.count_connection();
    let agreed = facts.tls.as_ref().and_then(|tls| tls.alpn);
    let facts = Rc::new(facts);
    if agreed == Some("h2") {
        return Box::pin(serve_http2(io, facts, listener, Rc::clone(&worker))).await;
    }
    if listener.tls.as_ref().is_some_and(|context| !context.speaks_http1()) {
        // A client that agreed on nothing would speak HTTP/1, which this listener does not.
        return;
    }
    let alarm = Alarm::new(listener.limits.header_deadline);
    let io = ClientIo::Connection(io);
    let watch = Watch::default();
    let (trusts, finished) = (worker.trusts(), Instant::now());
    let mut connection = Connection { io, facts, listener, alarm, watch, trusts, carry: None, requests: 0, finished };
    let after = loop {
        if !connection.wait_for_request(&worker).await {
            break After::Close;
        }
        // Boxed, so that an idle connection does not keep room for the state of an exchange.
        let mut life = Box::pin(life_of_a_request(&mut connection, &worker));
        // When time is up an exchange is dropped wherever it is; its record leaves all the same.
        let after = poll_fn(|cx| match life.as_mut().poll(cx) {
            Poll::Pending if worker.is_cut() => Poll::Ready(After::Close),
            outcome => outcome,
        })
        .await;
        drop(life);
        connection.watch = Watch::default();
        if after != After::KeepAlive {
            break after;
        }
    };
    Box::pin(connection.close(&worker, after == After::Linger)).await;
}
