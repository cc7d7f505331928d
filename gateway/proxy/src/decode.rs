//! Step 2: bytes become a canonical request, or a refusal.

use crate::buffers::Buffer;
use crate::client_io::ClientIo;
use crate::connection::{After, Connection};
use crate::forwarded_fields::{add_forwarded_fields, client_of};
use crate::h2::add_key;
use crate::stream::ByteStream;
use crate::worker::Worker;
use portcullis_gateway_policy::Exchange;
use portcullis_model::{Phase, Protocol, Reason, Rejection, TraceContext};
use portcullis_wire::{HeadFinder, HeadLimits, KnownName, RequestHead, Version, WireError};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// What came of reading.
pub(crate) enum Decoded {
    /// A request in canonical form.
    Request(Exchange),
    /// A request that is refused as it stands.
    Refused(Exchange, Rejection),
    /// No request at all.
    Nothing(After),
}

/// How reading a head ended.
enum HeadEnd {
    Complete { bytes: usize },
    Refused { bytes: usize, error: WireError },
    TimedOut { bytes: usize },
    Ended { bytes: usize },
    NotYet,
}

/// Reads the head of a request and makes an exchange of it, with its record.
pub(crate) async fn decode(connection: &mut Connection, worker: &Worker, begin: Instant) -> Decoded {
    if connection.io.is_stream() {
        return decode_stream(connection, worker, begin).await;
    }
    let limits = connection.listener.limits.head;
    connection.alarm.set(begin + connection.listener.limits.header_deadline);
    let started_unix_micros = worker.unix_micros();
    let mut request = worker.request_head();
    let mut reader = HeadReader::default();
    let end = poll_fn(|cx| reader.poll(cx, connection, worker, &limits, &mut request)).await;
    let refusal = match end {
        HeadEnd::Complete { .. } => None,
        HeadEnd::Refused { error, .. } => Some(Rejection::from(error)),
        HeadEnd::TimedOut { bytes: 0 } | HeadEnd::Ended { bytes: 0 } => return Decoded::Nothing(After::Close),
        HeadEnd::NotYet => return Decoded::Nothing(After::KeepAlive),
        HeadEnd::TimedOut { .. } => Some(Rejection::new(Reason::HeaderTimeout, "the head was not complete in time")),
        HeadEnd::Ended { .. } => Some(Rejection::new(Reason::ClientGone, "the connection ended inside a head")),
    };
    let bytes = match end {
        HeadEnd::Complete { bytes } | HeadEnd::Refused { bytes, .. } | HeadEnd::TimedOut { bytes } | HeadEnd::Ended { bytes } => {
            bytes
        }
        HeadEnd::NotYet => 0,
    };
    if refusal.is_some() {
        // SECURITY: nothing of a head that was not understood is used, its framing least of all; the connection ends with it.
        request = Box::default();
    }
    let mut exchange = begin_exchange(connection, worker, request, refusal.is_none());
    exchange.arrived = worker.since_epoch(begin);
    exchange.record.started_unix_micros = started_unix_micros;
    exchange.record.traffic.request_head = bytes as u64;
    if reader.has_waited() {
        exchange.record.timings.add(Phase::Head, begin.elapsed().as_micros() as u64);
    }
    match refusal {
        None => Decoded::Request(exchange),
        Some(rejection) => Decoded::Refused(exchange, rejection),
    }
}

/// The head of a stream's request is there when the stream is.
async fn decode_stream(connection: &mut Connection, worker: &Worker, begin: Instant) -> Decoded {
    let limits = connection.listener.limits.head;
    let started_unix_micros = worker.unix_micros();
    let mut request = worker.request_head();
    let ClientIo::Stream(stream) = &mut connection.io else { return Decoded::Nothing(After::Close) };
    let (bytes, read) = stream.read_head(&mut request, &limits);
    // A stream that was reset as soon as it was opened is work for nobody (threats D 73).
    let gone = poll_fn(|cx| Poll::Ready(stream.poll_gone(cx).is_ready())).await;
    let refusal = match read {
        _ if gone => Some(Rejection::new(Reason::ClientGone, "the stream was reset before its request was looked at")),
        Ok(()) => None,
        Err(error) => Some(Rejection::from(error)),
    };
    if refusal.is_some() {
        request = Box::default();
    }
    let mut exchange = begin_exchange(connection, worker, request, refusal.is_none());
    exchange.record.protocol = Protocol::Http2;
    add_key(&mut exchange.request, worker.next_id().0);
    exchange.arrived = worker.since_epoch(begin);
    exchange.record.started_unix_micros = started_unix_micros;
    exchange.record.traffic.request_head = bytes;
    match refusal {
        None => Decoded::Request(exchange),
        Some(rejection) => Decoded::Refused(exchange, rejection),
    }
}

fn begin_exchange(connection: &Connection, worker: &Worker, mut request: Box<RequestHead>, complete: bool) -> Exchange {
    let facts = &connection.facts;
    let mut record = worker.begin_record();
    let (id, span) = worker.next_id();
    record.id = id;
    record.listener = Some(facts.listener.clone());
    record.peer = Some(facts.peer);
    record.balancer = facts.balancer;
    record.tls.clone_from(&facts.tls);
    let mut client = facts.peer.ip().to_canonical();
    if complete {
        record.trace = TraceContext::continue_from(request.fields().first(KnownName::Traceparent), id, span);
        record.protocol = match request.version() {
            Version::H10 => Protocol::Http10,
            Version::H11 => Protocol::Http11,
            Version::H2 => Protocol::Http2,
        };
        let agent = request.fields().first(KnownName::UserAgent);
        record.note_request(
            request.method_bytes(),
            request.host().as_bytes(),
            request.path().as_bytes(),
            request.query().map(str::as_bytes),
            agent,
        );
        client = client_of(&request, client, worker);
        request.strip_untrusted();
        add_forwarded_fields(&mut request, client, facts, &record);
    } else {
        record.trace = TraceContext::continue_from(None, id, span);
    }
    record.client = Some(client);
    Exchange::new(request, record, connection.facts.clone(), client, u64::MAX)
}

/// Finds the end of a head. What has come of an incomplete one is kept in as many bytes as it has, not in a whole buffer.
#[derive(Default)]
struct HeadReader {
    finder: HeadFinder,
    partial: Vec<u8>,
}

impl HeadReader {
    /// Whether the head came in more than one piece; else reading it took no time worth a look at the clock.
    fn has_waited(&self) -> bool {
        !self.partial.is_empty()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        worker: &Worker,
        limits: &HeadLimits,
        request: &mut RequestHead,
    ) -> Poll<HeadEnd> {
        loop {
            let buffer = match connection.carry.take() {
                Some(buffer) => buffer,
                None => match ready!(self.poll_more(cx, connection, worker)) {
                    Ok(buffer) => buffer,
                    Err(end) => return Poll::Ready(end),
                },
            };
            let (end, rest) = self.look_for_end(buffer, worker, limits, request);
            connection.carry = rest;
            if let Some(end) = end {
                return Poll::Ready(end);
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, connection: &mut Connection, worker: &Worker) -> Poll<Result<Buffer, HeadEnd>> {
        let bytes = self.partial.len();
        let mut buffer = worker.buffers.take();
        let read = connection.io.poll_read(cx, buffer.room());
        if let Poll::Ready(Ok(count @ 1..)) = read {
            buffer.filled(count);
            return Poll::Ready(Ok(buffer));
        }
        worker.buffers.give(buffer);
        match read {
            Poll::Ready(_) => Poll::Ready(Err(HeadEnd::Ended { bytes })),
            // Something made the connection readable that was not part of a request (a TLS message): back to waiting idle.
            Poll::Pending if bytes == 0 && connection.io.tells_readiness() => Poll::Ready(Err(HeadEnd::NotYet)),
            Poll::Pending => connection.alarm.poll(cx).map(|()| Err(HeadEnd::TimedOut { bytes })),
        }
    }

    /// Looks for the end of the head in what was read; gives back what lies behind it.
    fn look_for_end(
        &mut self,
        mut buffer: Buffer,
        worker: &Worker,
        limits: &HeadLimits,
        request: &mut RequestHead,
    ) -> (Option<HeadEnd>, Option<Buffer>) {
        let before = self.partial.len();
        if before > 0 {
            self.partial.extend_from_slice(buffer.unread());
        }
        let bytes = if before > 0 { self.partial.as_slice() } else { buffer.unread() };
        let seen = bytes.len();
        let parsed = match self.finder.find(bytes, limits) {
            Ok(None) => {
                if before == 0 {
                    self.partial.extend_from_slice(buffer.unread());
                }
                worker.buffers.give(buffer);
                return (None, None);
            }
            // INVARIANT: `find` answers with a length within the bytes it was given.
            Ok(Some(length)) => request.parse(bytes.get(..length).unwrap_or_default(), limits).map(|()| length),
            Err(error) => Err(error),
        };
        match parsed {
            Ok(length) => {
                buffer.consume(length - before);
                let mut rest = Some(buffer);
                worker.buffers.give_if_empty(&mut rest);
                (Some(HeadEnd::Complete { bytes: length }), rest)
            }
            Err(error) => {
                worker.buffers.give(buffer);
                (Some(HeadEnd::Refused { bytes: seen, error }), None)
            }
        }
    }
}
