//! A connection to an endpoint.

use crate::endpoint::{Endpoint, EndpointPlace};
use crate::h2::{NoHead, UpstreamStream};
use crate::tls::ClientStream;
use portcullis_wire::{HeadLimits, Method, RequestHead, ResponseHead, Trailers};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What carries the bytes. An enum, so that nothing further on is generic.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Plain text.
    Tcp(TcpStream),
    /// TLS, after a handshake that succeeded.
    Tls(Box<ClientStream>),
}

impl Stream {
    /// Reads into `buf`; 0 is the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => {
                let mut read = ReadBuf::new(buf);
                Pin::new(stream).poll_read(cx, &mut read).map_ok(|()| read.filled().len())
            }
            Stream::Tls(stream) => match ready!(stream.poll_read(cx, buf))? {
                // SECURITY: without close_notify somebody on the way may have cut off the rest of an answer that ends with the
                // stream (RFC 9112 section 9.8).
                0 if !stream.clean_close() => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                count => Poll::Ready(Ok(count)),
            },
        }
    }

    /// Writes `head` and `body` in one call, as much as goes; returns how many bytes of both were taken. In TLS what was taken is
    /// encrypted, and may wait for [`Stream::poll_flush`].
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        let stream = match self {
            Stream::Tcp(stream) => Pin::new(stream),
            Stream::Tls(stream) => return stream.poll_write(cx, head, body),
        };
        match (head.is_empty(), body.is_empty()) {
            (_, true) => stream.poll_write(cx, head),
            (true, _) => stream.poll_write(cx, body),
            _ => stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]),
        }
    }

    /// Waits until everything that was taken is on its way.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}

/// What an exchange has of its endpoint.
#[derive(Debug)]
enum Carrier {
    /// A connection of its own, and the place it takes.
    Own(Stream, EndpointPlace),
    /// One stream of a connection that it shares.
    Shared(Box<UpstreamStream>),
}

/// The upstream's side of an exchange: a connection of its own, or one stream of a connection that speaks HTTP/2.
#[derive(Debug)]
pub struct UpstreamConnection {
    carrier: Carrier,
    /// The endpoint's address.
    pub address: SocketAddr,
    /// Whether the connection has carried an exchange before.
    pub reused: bool,
    /// Whether an exchange is under way on it.
    in_use: bool,
}

impl UpstreamConnection {
    pub(crate) fn new(stream: Stream, place: EndpointPlace) -> Self {
        place.endpoint().state.begin_exchange();
        let address = place.endpoint().address;
        Self { carrier: Carrier::Own(stream, place), address, reused: false, in_use: true }
    }

    pub(crate) fn of_stream(stream: UpstreamStream) -> Self {
        stream.endpoint().state.begin_exchange();
        let (address, reused) = (stream.endpoint().address, stream.reused);
        Self { carrier: Carrier::Shared(Box::new(stream)), address, reused, in_use: true }
    }

    /// Another exchange begins on it.
    pub(crate) fn begin_again(&mut self) {
        self.reused = true;
        self.in_use = true;
        self.endpoint().state.begin_exchange();
    }

    /// Its exchange is over.
    pub(crate) fn end_exchange(&mut self) {
        if std::mem::replace(&mut self.in_use, false) {
            self.endpoint().state.end_exchange();
        }
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        match &self.carrier {
            Carrier::Own(_, place) => place.endpoint(),
            Carrier::Shared(stream) => stream.endpoint(),
        }
    }

    /// Whether it is a stream, which has no framing in its bytes.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.carrier, Carrier::Shared(_))
    }

    /// Puts the head of a request on its way: as bytes in `out`, to be written before the body, or as fields of the stream.
    pub(crate) fn put_head(&mut self, head: &RequestHead, out: &mut Vec<u8>) {
        match &mut self.carrier {
            Carrier::Own(..) => head.write_to(out),
            Carrier::Shared(stream) => stream.put_request(head),
        }
    }

    /// Waits for the next head of an answer that comes by a stream, an interim or the final one. Where there is no stream the head is among
    /// the bytes that are read, and this is never ready.
    pub fn poll_stream_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        limits: &HeadLimits,
        method: Method,
    ) -> Poll<Result<(), NoHead>> {
        match &mut self.carrier {
            Carrier::Own(..) => Poll::Pending,
            Carrier::Shared(stream) => stream.poll_head(cx, head, limits, method),
        }
    }

    /// Reads into `buf`; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Own(stream, _) => stream.poll_read(cx, buf),
            Carrier::Shared(stream) => stream.poll_read(cx, buf),
        }
    }

    /// Writes `head` and `body` in one call, as much as goes; returns how many bytes of both were taken. In TLS what was taken is
    /// encrypted, and may wait for [`UpstreamConnection::poll_flush`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Own(stream, _) => stream.poll_write(cx, head, body),
            Carrier::Shared(stream) => stream.poll_write(cx, if head.is_empty() { body } else { head }),
        }
    }

    /// Waits until everything that was taken is on its way. A stream's connection sends what it was handed by itself.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Own(stream, _) => stream.poll_flush(cx),
            Carrier::Shared(_) => Poll::Ready(Ok(())),
        }
    }

    /// Says that nothing more will be written.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Own(stream, _) => stream.poll_shutdown(cx),
            Carrier::Shared(stream) => {
                stream.shut_down();
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Waits until a stream has room, and gives how much; a connection of its own waits when it is written to.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Own(..) => Poll::Ready(Ok(usize::MAX)),
            Carrier::Shared(stream) => stream.poll_room(cx),
        }
    }

    /// Says that the room is not needed for now.
    pub fn give_back_room(&mut self) {
        if let Carrier::Shared(stream) = &mut self.carrier {
            stream.give_back_room();
        }
    }

    /// Says that the request is complete. A connection of its own needs nothing of the kind: its framing has told.
    pub fn finish(&mut self, trailers: Option<&Trailers>) {
        if let Carrier::Shared(stream) = &mut self.carrier {
            stream.finish(trailers);
        }
    }

    /// The trailers that came behind the body of a stream's answer.
    #[must_use]
    pub fn trailers(&self) -> Option<&Trailers> {
        match &self.carrier {
            Carrier::Own(..) => None,
            Carrier::Shared(stream) => stream.trailers(),
        }
    }

    /// Whether an unused connection is still fit for use: nothing has been sent on it, and it has not been closed.
    pub(crate) fn is_fresh(&mut self) -> bool {
        let mut one = [0_u8; 1];
        self.poll_read(&mut Context::from_waker(std::task::Waker::noop()), &mut one).is_pending()
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.end_exchange();
    }
}
