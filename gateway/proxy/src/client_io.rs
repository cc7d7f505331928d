//! The client's side of an exchange: a connection of its own, or one stream of an HTTP/2 connection.

use crate::h2::Http2Stream;
use crate::stream::ByteStream;
use portcullis_gateway_listener::Io;
use portcullis_wire::{ResponseFraming, ResponseHead, Trailers};
use std::io;
use std::task::{Context, Poll};

/// The client's side of an exchange. Steps further on read and write bytes of bodies, whatever carries them.
pub(crate) enum ClientIo {
    /// An HTTP/1 connection.
    Connection(Io),
    /// A stream of an HTTP/2 connection.
    Stream(Box<Http2Stream>),
}

impl ClientIo {
    /// Waits for something to read without needing a buffer.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(io) => io.poll_read_ready(cx),
            Self::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ready with `true` when the client is known to be gone, with `false` when that cannot be told any more.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::Connection(io) => io.poll_gone(cx),
            Self::Stream(stream) => stream.poll_gone(cx),
        }
    }

    /// Whether [`ClientIo::poll_read_ready`] waits.
    pub(crate) fn tells_readiness(&self) -> bool {
        matches!(self, Self::Connection(io) if io.tells_readiness())
    }

    /// Whether bytes have been read that have not been handed over.
    pub(crate) fn has_buffered(&self) -> bool {
        matches!(self, Self::Connection(io) if io.has_buffered())
    }

    /// Puts the head of an answer on its way, with the framing that is meant: as bytes in `out`, to be written before the body, or as
    /// fields of the stream. Gives how many bytes it has.
    pub(crate) fn put_head(
        &mut self,
        head: &ResponseHead,
        framing: ResponseFraming,
        connection: Option<&'static str>,
        upgrade_websocket: bool,
        out: &mut Vec<u8>,
    ) -> u64 {
        match self {
            Self::Connection(_) => {
                head.write_to(out, framing, connection, upgrade_websocket);
                out.len() as u64
            }
            Self::Stream(stream) => stream.send_head(head, framing, upgrade_websocket),
        }
    }

    /// Whether it is a stream, which has no framing in its bytes.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Tells a client that waits for it to send its body; gives the bytes to write for that.
    pub(crate) fn invite_body(&mut self) -> &'static [u8] {
        match self {
            Self::Connection(_) => b"HTTP/1.1 100 Continue\r\n\r\n",
            Self::Stream(stream) => {
                stream.invite_body();
                &[]
            }
        }
    }

    /// Says that the answer is complete. A connection needs nothing of the kind: its framing has told.
    pub(crate) fn finish(&mut self, trailers: Option<&Trailers>) {
        if let Self::Stream(stream) = self {
            stream.finish(trailers);
        }
    }
}

impl ByteStream for ClientIo {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(io) => io.poll_read(cx, buf),
            Self::Stream(stream) => stream.poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(io) => io.poll_write(cx, head, body),
            Self::Stream(stream) => stream.poll_write(cx, if head.is_empty() { body } else { head }),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(io) => io.poll_flush(cx),
            // The connection writes what its streams have handed it, as soon as they wait.
            Self::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(io) => io.poll_shutdown(cx),
            Self::Stream(stream) => {
                stream.finish(None);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(_) => Poll::Ready(Ok(usize::MAX)),
            Self::Stream(stream) => stream.poll_room(cx),
        }
    }

    fn is_one_of_many(&self) -> bool {
        self.is_stream()
    }

    fn give_back_room(&mut self) {
        if let Self::Stream(stream) = self {
            stream.give_back_room();
        }
    }

    fn trailers(&self) -> Option<&Trailers> {
        match self {
            Self::Connection(_) => None,
            Self::Stream(stream) => stream.trailers(),
        }
    }
}
