//! Step 8: the head of the upstream's answer is made safe, seen by the policies in reverse order, and framed for the client.

use crate::body::{Reading, Writing};
use crate::connection::Connection;
use crate::forward::Forwarded;
use crate::snapshot::Route;
use crate::worker::Worker;
use portcullis_gateway_policy::SESSION_COOKIE_PREFIX;
use portcullis_wire::{BodyFraming, ChunkedDecoder, KnownName, ResponseFraming, Version, cookie::remove_cookies};

/// How the answer will be written.
pub(crate) struct Answered {
    /// The head, as bytes.
    pub(crate) out: Vec<u8>,
    /// How the end of the upstream's body is known.
    pub(crate) reading: Reading,
    /// How it is told to the client.
    pub(crate) writing: Writing,
    /// Whether the client's connection can go on after it.
    pub(crate) keeps_alive: bool,
    /// Whether nobody has said how long it will be, or how long the rest of the request.
    pub(crate) endless: bool,
    /// Whether the connection now belongs to WebSocket.
    pub(crate) upgraded: bool,
}

/// Makes the head of the answer.
pub(crate) fn answer(forwarded: &mut Forwarded, route: &Route, connection: &mut Connection, worker: &Worker) -> Answered {
    let exchange = &mut forwarded.exchange;
    let response = &mut forwarded.response;
    let upgraded = exchange.request.wants_websocket() && response.status() == 101;
    response.strip_hop_by_hop();
    // SECURITY: an upstream gives nobody a session of the gateway (threats E 120).
    remove_cookies(response.fields_mut(), KnownName::SetCookie, SESSION_COOKIE_PREFIX);
    if response.fields().first(KnownName::Date).is_none() {
        // INVARIANT: a date made here is a valid field value.
        let _always_valid = response.fields_mut().set(KnownName::Date, &worker.date.at(worker.unix_micros() / 1_000_000)).is_ok();
        debug_assert!(_always_valid, "a date is a valid value");
    }
    route.pipeline.answer(exchange, response);
    let old_client = exchange.request.version() == Version::H10;
    let framing = response.framing();
    let (reading, written, ends_with_close) = match framing {
        ResponseFraming::None => (Reading::Length(0), ResponseFraming::None, false),
        // A stream checks the length itself, and what follows the body comes with its end.
        ResponseFraming::Length(_) if forwarded.upstream.is_stream() => (Reading::UntilClose, framing, false),
        ResponseFraming::Length(length) => (Reading::Length(length), framing, false),
        ResponseFraming::Chunked if old_client => (chunked(), ResponseFraming::UntilClose, true),
        ResponseFraming::UntilClose if old_client => (Reading::UntilClose, ResponseFraming::UntilClose, true),
        ResponseFraming::Chunked => (chunked(), ResponseFraming::Chunked, false),
        ResponseFraming::UntilClose => (Reading::UntilClose, ResponseFraming::Chunked, false),
    };
    let upload_open = forwarded.upload.is_some();
    let endless = matches!(framing, ResponseFraming::Chunked | ResponseFraming::UntilClose)
        || (upload_open && exchange.request.framing() == BodyFraming::Chunked);
    let asked_to_upgrade = exchange.request.wants_websocket();
    let keeps_alive = !ends_with_close
        && !upload_open
        && !asked_to_upgrade
        && exchange.request.keep_alive()
        && connection.may_go_on()
        && !worker.is_draining();
    let chunks = written == ResponseFraming::Chunked && !connection.io.is_stream();
    let writing = if chunks { Writing::Chunked } else { Writing::Plain };
    let mut out = worker.out();
    let closing = (!keeps_alive && !upgraded).then_some("close");
    exchange.record.traffic.response_head = connection.io.put_head(response, written, closing, upgraded, &mut out);
    // Over a stream the consent to WebSocket is a 200 (RFC 8441 section 5).
    exchange.record.status = if upgraded && connection.io.is_stream() { 200 } else { response.status() };
    Answered { out, reading, writing, keeps_alive, endless, upgraded }
}

fn chunked() -> Reading {
    Reading::Chunked(Box::new(ChunkedDecoder::for_response()))
}
