//! What body transfer needs of a connection, whichever side it is on.

use portcullis_gateway_upstream::UpstreamConnection;
use portcullis_wire::Trailers;
use std::io;
use std::task::{Context, Poll};

/// A connection that bytes are moved from and to.
pub(crate) trait ByteStream {
    /// Reads into `buf`; 0 is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes `head` and then `body` in one call, as much as goes; returns how many bytes of both were taken.
    fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>>;
    /// Waits until everything that was taken is on its way.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Says that nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Waits until something may be written, and gives how much. What is read for it is then written without waiting; where the
    /// socket's own buffer is all there is to wait for, anything may.
    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(usize::MAX))
    }
    /// Whether there may be many of it on one connection, so that what each waits with counts.
    fn is_one_of_many(&self) -> bool {
        false
    }
    /// Says that the room is not needed for now.
    fn give_back_room(&mut self) {}
    /// The trailers that came behind the end of the stream, where such a thing can be.
    fn trailers(&self) -> Option<&Trailers> {
        None
    }
}

impl ByteStream for UpstreamConnection {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_read(self, cx, buf)
    }
    fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, cx, head, body)
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self, cx)
    }
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self, cx)
    }
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Self::poll_room(self, cx)
    }
    fn give_back_room(&mut self) {
        Self::give_back_room(self);
    }
    fn trailers(&self) -> Option<&Trailers> {
        Self::trailers(self)
    }
}
