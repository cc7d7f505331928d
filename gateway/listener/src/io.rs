//! The client's side of an exchange.

use crate::TlsStream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection: plain, in TLS, or in memory for tests. An enum, so that nothing further on is generic.
#[derive(Debug)]
pub enum Io {
    /// Plain text.
    Tcp(TcpStream),
    /// TLS.
    Tls(Box<TlsStream>),
    /// In memory.
    Mem(DuplexStream),
}

/// Reads from any stream of tokio's into `buf`.
pub(crate) fn poll_read_plain(stream: Pin<&mut impl AsyncRead>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut read = ReadBuf::new(buf);
    stream.poll_read(cx, &mut read).map_ok(|()| read.filled().len())
}

fn poll_write_plain(stream: Pin<&mut impl AsyncWrite>, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
    match (head.is_empty(), body.is_empty()) {
        (_, true) => stream.poll_write(cx, head),
        (true, _) => stream.poll_write(cx, body),
        _ => stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]),
    }
}

impl Io {
    /// Reads into `buf`; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => poll_read_plain(Pin::new(stream), cx, buf),
            Self::Tls(stream) => stream.poll_read(cx, buf),
            Self::Mem(stream) => poll_read_plain(Pin::new(stream), cx, buf),
        }
    }

    /// Writes `head` and `body` in one call, as much as goes; returns how many bytes of both were taken. In TLS what was taken is
    /// encrypted, and may wait for [`Io::poll_flush`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => poll_write_plain(Pin::new(stream), cx, head, body),
            Self::Tls(stream) => stream.poll_write(cx, head, body),
            Self::Mem(stream) => poll_write_plain(Pin::new(stream), cx, head, body),
        }
    }

    /// Waits until everything that was taken is on its way.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
            Self::Mem(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says that nothing more will be written.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
            Self::Mem(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Waits for something to read without needing a buffer.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
            // Memory tells nothing without a read; whoever waits reads next.
            Self::Mem(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ready with `true` when the client is known to be gone (its connection was reset), with `false` when it has sent something or
    /// ended its side, which both tell nothing of the kind.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(stream) => stream.socket(),
            Self::Mem(_) => return Poll::Pending,
        };
        let mut byte = [0];
        tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)).map(|outcome| outcome.is_err())
    }

    /// Whether [`Io::poll_read_ready`] waits; memory has nothing to wait for but a read.
    #[must_use]
    pub fn tells_readiness(&self) -> bool {
        !matches!(self, Self::Mem(_))
    }

    /// Whether bytes have been read from the socket that have not been handed over.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.has_buffered(),
            Self::Tcp(_) | Self::Mem(_) => false,
        }
    }
}
