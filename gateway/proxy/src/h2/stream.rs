//! One stream: the client's side of one exchange.

use super::budget::{Budget, Held, Place};
use super::convert::{read_request, request_bytes, write_response};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response, StatusCode};
use portcullis_gateway_h2::{Incoming, Outgoing};
use portcullis_model::Reason;
use portcullis_wire::{HeadLimits, RequestHead, ResponseFraming, ResponseHead, Trailers, WireError};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Which half of the answer is on its way.
enum Sending {
    /// Nothing yet.
    Nothing(SendResponse<Held>),
    /// The head.
    Body(Outgoing<Held>),
    /// Everything, or the client does not want more.
    Ended,
}

/// One stream. Reading it gives the body of the request, writing to it the body of the answer.
pub(crate) struct Http2Stream {
    request: Option<Request<()>>,
    body: Incoming,
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
            // The library itself looks at the length of a request.
            body: Incoming::new(body, None, Reason::RequestMalformed),
            sending: Sending::Nothing(respond),
            budget,
            place: None,
        }
    }

    /// Reads the head of the request into canonical form. Gives how many bytes it had.
    pub(crate) fn read_head(&mut self, head: &mut RequestHead, limits: &HeadLimits) -> (u64, Result<(), WireError>) {
        let Some(request) = self.request.take() else { return (0, Ok(())) };
        let ends = self.body.is_end();
        (request_bytes(&request), read_request(&request, head, ends, limits))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.body.poll_read(cx, buf)
    }

    /// The trailers of the request, once its body has ended.
    pub(crate) fn trailers(&self) -> Option<&Trailers> {
        self.body.trailers()
    }

    /// Ready with `true` when the client has reset the stream, or its connection is gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.sending {
            Sending::Nothing(respond) => respond.poll_reset(cx).map(|_| true),
            Sending::Body(body) => body.poll_reset(cx).map(|()| true),
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
            Ok(stream) => Sending::Body(Outgoing::new(stream, left)),
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
        let Sending::Body(body) = &mut self.sending else { return Poll::Ready(Err(gone())) };
        // Whoever waits for the budget of the connection holds none of its window meanwhile.
        if self.budget.poll_room(cx, &mut self.place).is_pending() {
            body.give_back_room();
            return Poll::Pending;
        }
        body.poll_room(cx)
    }

    /// Leaves the room to other streams while there is nothing to send.
    pub(crate) fn give_back_room(&mut self) {
        if let Sending::Body(body) = &mut self.sending {
            body.give_back_room();
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_room(cx))?;
        let Sending::Body(body) = &mut self.sending else { return Poll::Ready(Err(gone())) };
        let put = body.put(bytes, |bytes| self.budget.hold(bytes))?;
        if put.is_last {
            self.sending = Sending::Ended;
        }
        Poll::Ready(Ok(put.taken))
    }

    /// Ends the answer, unless it has ended with its last byte.
    pub(crate) fn finish(&mut self, trailers: Option<&Trailers>) {
        if let Sending::Body(body) = &mut self.sending
            && body.finish(trailers, || self.budget.hold(Bytes::new()))
        {
            self.sending = Sending::Ended;
        }
    }

    /// Reads on and throws away, until the request has ended or `left` bytes have come.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        self.body.poll_discard(cx, left)
    }

    /// Says that what was begun will not be finished, unless it is.
    pub(super) fn abandon(&mut self) {
        match &mut self.sending {
            Sending::Nothing(respond) => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            Sending::Body(body) => body.reset(h2::Reason::INTERNAL_ERROR),
            Sending::Ended => {}
        }
    }
}
