//! One stream: the client's side of one exchange.

use super::budget::{Budget, Held, Place};
use super::convert::{read_request, read_trailers, request_bytes, write_response, write_trailers};
use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use portcullis_wire::{HeadLimits, RequestHead, ResponseFraming, ResponseHead, Trailers, WireError};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// How much room for an answer is asked for at a time, and so how much of it is read before it can be sent.
pub(super) const ROOM_BYTES: usize = 32 * 1024;

/// Which half of the answer is on its way.
enum Sending {
    /// Nothing yet.
    Nothing(SendResponse<Held>),
    /// The head; so many bytes of the body are left, if that is known.
    Body(SendStream<Held>, Option<u64>),
    /// Everything, or the client does not want more.
    Ended,
}

/// One stream. Reading it gives the body of the request, writing to it the body of the answer.
pub(crate) struct Http2Stream {
    request: Option<Request<()>>,
    body: RecvStream,
    /// What came and has not been read.
    unread: Bytes,
    trailers: Option<Trailers>,
    sending: Sending,
    budget: Rc<Budget>,
    place: Option<Place>,
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Http2Stream {
    pub(super) fn new(request: Request<RecvStream>, respond: SendResponse<Held>, budget: Rc<Budget>) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            request: Some(Request::from_parts(parts, ())),
            body,
            unread: Bytes::new(),
            trailers: None,
            sending: Sending::Nothing(respond),
            budget,
            place: None,
        }
    }

    /// Reads the head of the request into canonical form. Gives how many bytes it had.
    pub(crate) fn read_head(&mut self, head: &mut RequestHead, limits: &HeadLimits) -> (u64, Result<(), WireError>) {
        let Some(request) = self.request.take() else { return (0, Ok(())) };
        let ends = self.body.is_end_stream();
        (request_bytes(&request), read_request(&request, head, ends, limits))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.unread.is_empty() {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(_)) => return Poll::Ready(Err(gone())),
                None => return self.poll_trailers(cx).map_ok(|()| 0),
            }
        }
        let count = self.unread.len().min(buf.len());
        if let Some(slot) = buf.get_mut(..count) {
            slot.copy_from_slice(self.unread.get(..count).unwrap_or_default());
        }
        self.unread.advance(count);
        // Whoever reads has passed on what was read before: the window opens as fast as the upstream takes.
        self.body.flow_control().release_capacity(count).map_err(|_| gone())?;
        Poll::Ready(Ok(count))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.body.poll_trailers(cx)) {
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

    /// The trailers of the request, once its body has ended.
    pub(crate) fn trailers(&self) -> Option<&Trailers> {
        self.trailers.as_ref()
    }

    /// Ready with `true` when the client has reset the stream, or its connection is gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.sending {
            Sending::Nothing(respond) => respond.poll_reset(cx).map(|_| true),
            Sending::Body(stream, _) => stream.poll_reset(cx).map(|_| true),
            Sending::Ended => Poll::Pending,
        }
    }

    /// Sends a head. A final one is followed by a body as its framing says.
    pub(crate) fn send_head(&mut self, head: &ResponseHead, framing: ResponseFraming, upgraded: bool) -> u64 {
        let (response, bytes) = write_response(head, framing, upgraded);
        let Sending::Nothing(respond) = &mut self.sending else { return 0 };
        if response.status().is_informational() {
            // A client that is gone is noticed where it is waited for.
            let _heard = respond.send_informational(response);
            return bytes;
        }
        let ends = framing == ResponseFraming::None && !upgraded;
        let left = match framing {
            ResponseFraming::Length(length) => Some(length),
            _ => None,
        };
        self.sending = match respond.send_response(response, ends) {
            Ok(_) if ends => Sending::Ended,
            Ok(stream) => Sending::Body(stream, left),
            Err(_) => Sending::Ended,
        };
        bytes
    }

    /// Tells a client that waits for it to send its body.
    pub(crate) fn invite_body(&mut self) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CONTINUE;
        if let Sending::Nothing(respond) = &mut self.sending {
            let _heard = respond.send_informational(response);
        }
    }

    /// Waits until something can be sent, and gives how much.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Sending::Body(stream, left) = &mut self.sending else { return Poll::Ready(Err(gone())) };
        // Whoever waits for the budget of the connection holds none of its window meanwhile.
        if self.budget.poll_room(cx, &mut self.place).is_pending() {
            stream.reserve_capacity(0);
            return Poll::Pending;
        }
        let wanted = left.and_then(|left| usize::try_from(left).ok()).map_or(ROOM_BYTES, |left| left.clamp(1, ROOM_BYTES));
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
        if let Sending::Body(stream, _) = &mut self.sending {
            stream.reserve_capacity(0);
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx))?;
        let Sending::Body(stream, left) = &mut self.sending else { return Poll::Ready(Err(gone())) };
        let part = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        if let Some(left) = left {
            *left = left.saturating_sub(part.len() as u64);
        }
        let ends = *left == Some(0);
        stream.send_data(self.budget.hold(Bytes::copy_from_slice(part)), ends).map_err(|_| gone())?;
        if ends {
            self.sending = Sending::Ended;
        }
        Poll::Ready(Ok(part.len()))
    }

    /// Ends the answer, unless it has ended with its last byte.
    pub(crate) fn finish(&mut self, trailers: Option<&Trailers>) {
        let Sending::Body(stream, _) = &mut self.sending else { return };
        let ended = match trailers.filter(|trailers| !trailers.is_empty()) {
            Some(trailers) => stream.send_trailers(write_trailers(trailers)),
            None => stream.send_data(self.budget.hold(Bytes::new()), true),
        };
        if ended.is_ok() {
            self.sending = Sending::Ended;
        }
    }

    /// Reads on and throws away, until the request has ended or `left` bytes have come.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        while *left > 0 && !self.body.is_end_stream() {
            let Some(Ok(data)) = ready!(self.body.poll_data(cx)) else { return Poll::Ready(()) };
            *left = left.saturating_sub(data.len());
            if self.body.flow_control().release_capacity(data.len()).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Ready(())
    }

    /// Says that what was begun will not be finished, unless it is.
    pub(super) fn abandon(&mut self) {
        match &mut self.sending {
            Sending::Nothing(respond) => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            Sending::Body(stream, _) => stream.send_reset(h2::Reason::INTERNAL_ERROR),
            Sending::Ended => {}
        }
    }
}
