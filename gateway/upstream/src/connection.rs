//! A connection to an endpoint.

use crate::endpoint::{Endpoint, EndpointPlace};
use crate::tls::ClientStream;
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

/// A connection to an endpoint of an upstream.
#[derive(Debug)]
pub struct UpstreamConnection {
    stream: Stream,
    /// The endpoint's address.
    pub address: SocketAddr,
    /// Whether it has carried an exchange before.
    pub reused: bool,
    /// Whether an exchange is under way on it.
    in_use: bool,
    place: EndpointPlace,
}

impl UpstreamConnection {
    pub(crate) fn new(stream: Stream, place: EndpointPlace) -> Self {
        place.endpoint().state.begin_exchange();
        Self { stream, address: place.endpoint().address, reused: false, in_use: true, place }
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
        self.place.endpoint()
    }

    /// The protocol that was agreed on in the TLS handshake (RFC 7301), if one was; else it is HTTP/1.1.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Tcp(_) => None,
            Stream::Tls(stream) => stream.side().protocol(),
        }
    }

    /// Reads into `buf`; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_read(cx, buf)
    }

    /// Writes `head` and `body` in one call, as much as goes; returns how many bytes of both were taken. In TLS what was taken is
    /// encrypted, and may wait for [`UpstreamConnection::poll_flush`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, head, body)
    }

    /// Waits until everything that was taken is on its way.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    /// Says that nothing more will be written.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
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
