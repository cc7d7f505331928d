//! A body that goes by a stream, as far as there is room for it.

use crate::convert::write_trailers;
use crate::gone;
use bytes::{Buf, Bytes};
use h2::SendStream;
use portcullis_wire::Trailers;
use std::io;
use std::task::{Context, Poll, ready};

/// How much room is asked for at a time, and so how much is read before it can be sent.
pub const ROOM_BYTES: usize = 32 * 1024;

/// A body that goes by a stream, in parts that the library holds as `B`.
pub struct Outgoing<B: Buf> {
    stream: SendStream<B>,
    /// Bytes that are to come, if that is known.
    left: Option<u64>,
}

/// What was put on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// So many bytes.
    pub taken: usize,
    /// Whether they were the last, and the stream has ended with them.
    pub is_last: bool,
}

impl<B: Buf> Outgoing<B> {
    /// A body of so many bytes, if that is known.
    #[must_use]
    pub fn new(stream: SendStream<B>, length: Option<u64>) -> Self {
        Self { stream, left: length }
    }

    /// Waits until something can be sent, and gives how much.
    ///
    /// # Errors
    /// When the other side is gone, or has reset the stream.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wanted = self.left.and_then(|left| usize::try_from(left).ok()).map_or(ROOM_BYTES, |left| left.clamp(1, ROOM_BYTES));
        if self.stream.capacity() == 0 {
            self.stream.reserve_capacity(wanted);
        }
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(gone())),
            }
        }
        Poll::Ready(Ok(self.stream.capacity()))
    }

    /// Leaves the room to other streams while there is nothing to send.
    pub fn give_back_room(&mut self) {
        self.stream.reserve_capacity(0);
    }

    /// Puts as much of `bytes` on its way as there is room for, held as `hold` says.
    ///
    /// # Errors
    /// When the other side is gone, or has reset the stream.
    pub fn put(&mut self, bytes: &[u8], hold: impl FnOnce(Bytes) -> B) -> io::Result<Put> {
        let part = bytes.get(..self.stream.capacity().min(bytes.len())).unwrap_or(bytes);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(part.len() as u64);
        }
        let is_last = self.left == Some(0);
        self.stream.send_data(hold(Bytes::copy_from_slice(part)), is_last).map_err(|_| gone())?;
        Ok(Put { taken: part.len(), is_last })
    }

    /// Ends the body, with trailers behind it if there are any, else with `nothing`. Says whether that could be sent.
    pub fn finish(&mut self, trailers: Option<&Trailers>, nothing: impl FnOnce() -> B) -> bool {
        match trailers.filter(|trailers| !trailers.is_empty()) {
            Some(trailers) => self.stream.send_trailers(write_trailers(trailers)).is_ok(),
            None => self.stream.send_data(nothing(), true).is_ok(),
        }
    }

    /// Ready when the other side has reset the stream, or is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: h2::Reason) {
        self.stream.send_reset(reason);
    }
}
