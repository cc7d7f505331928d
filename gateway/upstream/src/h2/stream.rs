//! One stream: the upstream's side of one exchange.

use super::connection::{Lines, ROOM_BYTES};
use super::convert::{fields, number_of, read_trailers, write_request, write_trailers};
use crate::endpoint::Endpoint;
use crate::retry::Failure;
use bytes::{Buf, Bytes};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::{BodyFraming, HeadLimits, Method, RequestHead, ResponseFraming, ResponseHead, Trailers};
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
    sending: Option<SendStream<Bytes>>,
    /// Bytes of the request's body that are to come, if that is known.
    unsent: Option<u64>,
    body: Option<RecvStream>,
    /// What came and has not been read.
    unread: Bytes,
    /// Bytes of the answer's body that are to come, if that is known.
    left: Option<u64>,
    trailers: Option<Trailers>,
    /// Why the request could not be sent.
    failed: Option<NoHead>,
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
        Self {
            lines,
            reused,
            number: 0,
            response: None,
            sending: None,
            unsent: None,
            body: None,
            unread: Bytes::new(),
            left: None,
            trailers: None,
            failed: None,
        }
    }

    /// The endpoint.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.lines.endpoint()
    }

    /// Sends the head of a request. Whether that worked is told by [`UpstreamStream::poll_head`].
    pub(crate) fn put_request(&mut self, head: &RequestHead) {
        let Some(request) = write_request(head, self.lines.is_secure) else {
            let rejection = Rejection::new(Reason::Internal, "a canonical request is none for HTTP/2");
            self.failed = Some(NoHead { rejection, failure: Failure::Final });
            return;
        };
        self.unsent = match head.framing() {
            BodyFraming::Length(length) => Some(length),
            BodyFraming::None | BodyFraming::Chunked => None,
        };
        let ends = head.framing() == BodyFraming::None;
        let sent = self.lines.send.borrow_mut().send_request(request, ends);
        match sent {
            Ok((response, sending)) => {
                self.number = number_of(&response);
                self.response = Some(response);
                self.sending = (!ends).then_some(sending);
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
        let malformed = |error: portcullis_wire::WireError| NoHead { rejection: error.into(), failure: Failure::Final };
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
        self.left = match head.framing() {
            ResponseFraming::Length(length) => Some(length),
            _ => None,
        };
        self.body = Some(body);
        Poll::Ready(read.map_err(malformed))
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
        let Some(body) = &mut self.body else { return Poll::Ready(Err(gone())) };
        while self.unread.is_empty() {
            match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    if let Some(left) = &mut self.left {
                        *left = left.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                    }
                    self.unread = data;
                }
                Some(Err(_)) => return Poll::Ready(Err(gone())),
                None if self.left.is_some_and(|left| left > 0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                None => return self.poll_trailers(cx).map_ok(|()| 0),
            }
        }
        let count = self.unread.len().min(buf.len());
        if let Some(slot) = buf.get_mut(..count) {
            slot.copy_from_slice(self.unread.get(..count).unwrap_or_default());
        }
        self.unread.advance(count);
        // Whoever reads has passed on what was read before: the window opens as fast as the client takes.
        body.flow_control().release_capacity(count).map_err(|_| gone())?;
        Poll::Ready(Ok(count))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Err(gone())) };
        match ready!(body.poll_trailers(cx)) {
            Ok(None) => Poll::Ready(Ok(())),
            Ok(Some(map)) => match read_trailers(&map) {
                Ok(trailers) => {
                    self.trailers = Some(trailers);
                    Poll::Ready(Ok(()))
                }
                Err(_) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            },
            Err(_) => Poll::Ready(Err(gone())),
        }
    }

    /// The trailers of the answer, once its body has ended.
    pub(crate) fn trailers(&self) -> Option<&Trailers> {
        self.trailers.as_ref()
    }

    /// Waits until something can be sent, and gives how much.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.sending else { return Poll::Ready(Err(gone())) };
        let wanted = self.unsent.and_then(|left| usize::try_from(left).ok()).map_or(ROOM_BYTES, |left| left.clamp(1, ROOM_BYTES));
        if stream.capacity() == 0 {
            stream.reserve_capacity(wanted);
        }
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(gone())),
            }
        }
        Poll::Ready(Ok(stream.capacity()))
    }

    /// Leaves the room to other streams while there is nothing to send.
    pub(crate) fn give_back_room(&mut self) {
        if let Some(stream) = &mut self.sending {
            stream.reserve_capacity(0);
        }
    }

    /// Takes bytes of the request's body.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx))?;
        let Some(stream) = &mut self.sending else { return Poll::Ready(Err(gone())) };
        let part = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        if let Some(left) = &mut self.unsent {
            *left = left.saturating_sub(part.len() as u64);
        }
        let ends = self.unsent == Some(0);
        stream.send_data(Bytes::copy_from_slice(part), ends).map_err(|_| gone())?;
        if ends {
            self.sending = None;
        }
        Poll::Ready(Ok(part.len()))
    }

    /// Ends the request, unless it has ended with its last byte.
    pub(crate) fn finish(&mut self, trailers: Option<&Trailers>) {
        let Some(mut stream) = self.sending.take() else { return };
        // An upstream that is gone is noticed where it is waited for.
        let _ended = match trailers.filter(|trailers| !trailers.is_empty()) {
            Some(trailers) => stream.send_trailers(write_trailers(trailers)),
            None => stream.send_data(Bytes::new(), true),
        };
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
