//! A connection to an endpoint.

use crate::endpoint::{Endpoint, EndpointPlace};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection to an endpoint of an upstream.
#[derive(Debug)]
pub struct UpstreamConnection {
    stream: TcpStream,
    /// The endpoint's address.
    pub address: SocketAddr,
    /// Whether it has carried an exchange before.
    pub reused: bool,
    place: EndpointPlace,
}

impl UpstreamConnection {
    pub(crate) fn new(stream: TcpStream, place: EndpointPlace) -> Self {
        Self { stream, address: place.endpoint().address, reused: false, place }
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.place.endpoint()
    }

    /// Reads into `buf`; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(buf);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(read.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes `head` and `body` in one call, as much as goes; returns how many bytes of both went.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        match (head.is_empty(), body.is_empty()) {
            (_, true) => stream.poll_write(cx, head),
            (true, _) => stream.poll_write(cx, body),
            _ => stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]),
        }
    }

    /// Says that nothing more will be written.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Whether an unused connection is still fit for use: nothing has been sent on it, and it has not been closed.
    pub(crate) fn is_fresh(&mut self) -> bool {
        let mut one = [0_u8; 1];
        self.poll_read(&mut Context::from_waker(std::task::Waker::noop()), &mut one).is_pending()
    }
}
