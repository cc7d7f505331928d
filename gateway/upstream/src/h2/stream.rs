//! One stream: the upstream's side of one exchange.

use super::connection::Lines;
use super::convert::{number_of, write_request};
use crate::endpoint::Endpoint;
use crate::retry::Failure;
use bytes::Bytes;
use h2::client::ResponseFuture;
use portcullis_gateway_h2::{Incoming, Outgoing, fields};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::{BodyFraming, HeadLimits, Method, RequestHead, ResponseFraming, ResponseHead, Trailers, WireError};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Why no answer came, and what that means for trying again.
#[derive(Clone, Debug)]
pub struct NoHead {
    /// What went wrong.
    pub rejection: Rejection,
    /// What it means for trying again.
    pub failure: Failure,
}

/// One stream. Writing to it gives the body of the request, reading it the body of the answer.
pub(crate) struct UpstreamStream {
    lines: Rc<Lines>,
    pub(crate) reused: bool,
    number: u32,
    response: Option<ResponseFuture>,
    sending: Option<Outgoing<Bytes>>,
    body: Option<Incoming>,
    /// Why the request could not be sent.
    failed: Option<NoHead>,
    /// Whether it is to carry a WebSocket, so that it stays open when the request is complete.
    is_websocket: bool,
}

impl std::fmt::Debug for UpstreamStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamStream").field("number", &self.number).finish_non_exhaustive()
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl UpstreamStream {
    pub(super) fn new(lines: Rc<Lines>) -> Self {
        let reused = lines.one_more();
        Self { lines, reused, number: 0, response: None, sending: None, body: None, failed: None, is_websocket: false }
    }

    /// The endpoint.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.lines.endpoint()
    }

    /// Sends the head of a request. Whether that worked is told by [`UpstreamStream::poll_head`].
    pub(crate) fn put_request(&mut self, head: &RequestHead) {
        self.is_websocket = head.wants_websocket();
        if self.is_websocket && !self.lines.takes_websockets() {
            let detail = "the upstream speaks HTTP/2 and does not offer WebSocket (SETTINGS_ENABLE_CONNECT_PROTOCOL)";
            self.failed = Some(NoHead { rejection: Rejection::new(Reason::UpstreamNoWebsocket, detail), failure: Failure::Final });
            return;
        }
        let Some(request) = write_request(head, self.lines.is_secure) else {
            let rejection = Rejection::new(Reason::Internal, "a canonical request is none for HTTP/2");
            self.failed = Some(NoHead { rejection, failure: Failure::Final });
            return;
        };
        let length = match head.framing() {
            BodyFraming::Length(length) => Some(length),
            BodyFraming::None | BodyFraming::Chunked => None,
        };
        let ends = head.framing() == BodyFraming::None && !self.is_websocket;
        let sent = self.lines.send.borrow_mut().send_request(request, ends);
        match sent {
            Ok((response, sending)) => {
                self.number = number_of(&response);
                self.response = Some(response);
                self.sending = (!ends).then(|| Outgoing::new(sending, length));
            }
            Err(_) => {
                let rejection = Rejection::new(Reason::UpstreamReset, "the connection ended before the request was sent");
                self.failed = Some(NoHead { rejection, failure: Failure::Unseen });
            }
        }
    }

    /// Waits for the next head of the answer: an interim one or the final one.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        limits: &HeadLimits,
        method: Method,
    ) -> Poll<Result<(), NoHead>> {
        if let Some(failed) = &self.failed {
            return Poll::Ready(Err(failed.clone()));
        }
        let Some(response) = &mut self.response else { return Poll::Pending };
        let malformed = |error: WireError| NoHead { rejection: error.into(), failure: Failure::Final };
        match ready!(response.poll_informational(cx)) {
            Some(Ok(interim)) => {
                let read = head.read_fields(interim.status().as_u16(), fields(interim.headers()), false, limits, method);
                return Poll::Ready(read.map_err(malformed));
            }
            Some(Err(error)) => return Poll::Ready(Err(self.no_head(&error))),
            None => {}
        }
        let response = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(self.no_head(&error))),
        };
        self.response = None;
        let (parts, body) = response.into_parts();
        let ends = body.is_end_stream();
        let read = head.read_fields(parts.status.as_u16(), fields(&parts.headers), ends, limits, method);
        let length = match head.framing() {
            ResponseFraming::Length(length) => Some(length),
            _ => None,
        };
        self.body = Some(Incoming::new(body, length, Reason::UpstreamMalformed));
        Poll::Ready(read.and_then(|()| self.consented(head)).map_err(malformed))
    }

    /// Takes consent to a WebSocket for the upgrade that it is. After a refusal nothing more is said: the stream is reset when the answer
    /// has been read, because servers are known that give up the whole connection, with everybody's streams, when they hear of the end
    /// of a request that they have done with.
    fn consented(&self, head: &mut ResponseHead) -> Result<(), WireError> {
        if self.is_websocket && matches!(head.status(), 200..300) { head.read_as_upgrade() } else { Ok(()) }
    }

    /// What an error before the head of an answer means.
    fn no_head(&self, error: &h2::Error) -> NoHead {
        let of = |reason, detail: &'static str, failure| NoHead { rejection: Rejection::new(reason, detail), failure };
        if let Some(fault) = self.lines.signs.fault() {
            return of(Reason::UpstreamMalformed, fault, Failure::Final);
        }
        if error.is_library() {
            let what = error.reason().map_or_else(String::new, |reason| reason.description().to_owned());
            let rejection = Rejection::new(Reason::UpstreamMalformed, format!("the rules of HTTP/2 were broken: {what}"));
            return NoHead { rejection, failure: Failure::Final };
        }
        if self.lines.signs.is_unseen(self.number) {
            return of(Reason::UpstreamReset, "the upstream went away before it looked at the request", Failure::Unseen);
        }
        if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            return of(Reason::UpstreamReset, "the upstream refused the stream", Failure::Refused);
        }
        if error.is_reset() {
            return of(Reason::UpstreamReset, "the upstream reset the stream before an answer", Failure::ResetBeforeBytes);
        }
        let failure = if self.reused { Failure::Stale } else { Failure::ResetBeforeBytes };
        of(Reason::UpstreamReset, "the connection ended before the head of an answer was complete", failure)
    }

    /// Reads the body of the answer; 0 is its end. A body of another length than was told is an error.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.body {
            Some(body) => body.poll_read(cx, buf),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// The trailers of the answer, once its body has ended.
    pub(crate) fn trailers(&self) -> Option<&Trailers> {
        self.body.as_ref().and_then(Incoming::trailers)
    }

    /// Waits until something can be sent, and gives how much.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.sending {
            Some(sending) => sending.poll_room(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Leaves the room to other streams while there is nothing to send.
    pub(crate) fn give_back_room(&mut self) {
        if let Some(sending) = &mut self.sending {
            sending.give_back_room();
        }
    }

    /// Takes bytes of the request's body.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(sending) = &mut self.sending else { return Poll::Ready(Err(gone())) };
        ready!(sending.poll_room(cx))?;
        let put = sending.put(bytes, |bytes| bytes)?;
        if put.is_last {
            self.sending = None;
        }
        Poll::Ready(Ok(put.taken))
    }

    /// Ends the request, unless it has ended with its last byte, or opens a WebSocket.
    pub(crate) fn finish(&mut self, trailers: Option<&Trailers>) {
        if !self.is_websocket {
            self.end(trailers);
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn shut_down(&mut self) {
        self.end(None);
    }

    fn end(&mut self, trailers: Option<&Trailers>) {
        let Some(mut sending) = self.sending.take() else { return };
        // An upstream that is gone is noticed where it is waited for.
        let _ended = sending.finish(trailers, Bytes::new);
    }
}

impl Drop for UpstreamStream {
    fn drop(&mut self) {
        // What is not complete is cancelled by the library when its handles go, which they must before another stream is begun.
        self.response = None;
        self.sending = None;
        self.body = None;
        self.lines.one_less();
    }
}
