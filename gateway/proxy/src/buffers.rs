//! Buffers of one worker, lent to exchanges while bytes are in them.

use std::cell::RefCell;
use std::ops::Range;

/// Payload bytes a buffer can hold: a body of 64 KiB, which many are, and the head before it, so that both come with one read.
pub(crate) const BUFFER_BYTES: usize = 68 * 1024;
/// Room behind them, for the framing that follows a payload.
const SPARE_BYTES: usize = 64;
/// How many unused buffers a worker keeps.
const KEPT_MAX: usize = 64;

/// Bytes that were read and have not been dealt with, in `start..end`.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER_BYTES + SPARE_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Payload bytes it can hold.
    fn capacity(&self) -> usize {
        self.bytes.len() - SPARE_BYTES
    }

    /// The bytes from `at` on in as much memory as they need; positions are then that much less.
    fn shrunk(&self, at: usize) -> Self {
        let mut bytes = Vec::with_capacity(self.end.saturating_sub(at) + SPARE_BYTES);
        bytes.extend_from_slice(self.slice(at..self.end));
        let end = bytes.len();
        bytes.resize(end + SPARE_BYTES, 0);
        Self { bytes: bytes.into_boxed_slice(), start: self.start - at, end }
    }

    /// The bytes not dealt with yet.
    pub(crate) fn unread(&self) -> &[u8] {
        self.slice(self.start..self.end)
    }

    /// Bytes by position, for ranges that an earlier call gave.
    pub(crate) fn slice(&self, range: Range<usize>) -> &[u8] {
        // INVARIANT: ranges come from this buffer's own positions, which only grow until it is empty.
        self.bytes.get(range).unwrap_or_default()
    }

    /// Where the next unread byte lies.
    pub(crate) fn position(&self) -> usize {
        self.start
    }

    /// Marks `count` bytes as dealt with. An empty buffer begins again at the front only in [`Buffer::room`].
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Whether everything has been dealt with.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room to read into; moves what is unread to the front when there is none behind it.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.capacity() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let end = self.capacity();
        self.bytes.get_mut(self.end..end).unwrap_or_default()
    }

    /// Says that `count` bytes were read into the room.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.capacity());
    }

    /// Copies as much of `bytes` behind what is unread as there is room for; says how much.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = bytes.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.filled(count);
        count
    }

    /// Moves bytes inside the buffer to `to`, which must not lie behind them.
    pub(crate) fn shift(&mut self, from: Range<usize>, to: usize) {
        debug_assert!(to <= from.start && from.end <= self.bytes.len(), "bytes are only moved forward");
        if to != from.start {
            self.bytes.copy_within(from, to);
        }
    }

    /// Writes framing at `at`, which must not reach into unread bytes; says whether it fitted.
    pub(crate) fn put(&mut self, at: usize, framing: &[u8]) -> bool {
        let stop = at + framing.len();
        if self.start < self.end && stop > self.start {
            return false;
        }
        match self.bytes.get_mut(at..stop) {
            Some(slot) => {
                slot.copy_from_slice(framing);
                true
            }
            None => false,
        }
    }
}

/// The unused buffers of one worker.
#[derive(Default)]
pub(crate) struct BufferPool {
    unused: RefCell<Vec<Buffer>>,
}

impl BufferPool {
    /// An empty buffer.
    pub(crate) fn take(&self) -> Buffer {
        self.unused.borrow_mut().pop().unwrap_or_else(Buffer::new)
    }

    /// Gives unused buffers back to the system.
    pub(crate) fn give_up(&self) {
        self.unused.borrow_mut().clear();
    }

    /// Takes a buffer back, whatever is in it.
    pub(crate) fn give(&self, mut buffer: Buffer) {
        let mut unused = self.unused.borrow_mut();
        if unused.len() < KEPT_MAX && buffer.capacity() == BUFFER_BYTES {
            (buffer.start, buffer.end) = (0, 0);
            unused.push(buffer);
        }
    }

    /// Takes a buffer back for what is in it from `at` on in as much memory as that needs, where it will be held for long and that is
    /// much less. Says whether it did: positions are then less by `at`.
    pub(crate) fn shrink(&self, buffer: &mut Buffer, at: usize) -> bool {
        // INVARIANT: `at` is not behind what is unread.
        let worth_it = buffer.capacity() == BUFFER_BYTES && at <= buffer.start && buffer.end - at <= BUFFER_BYTES / 2;
        if worth_it {
            let small = buffer.shrunk(at);
            self.give(std::mem::replace(buffer, small));
        }
        worth_it
    }

    /// A whole buffer to read into, in place of an empty one that may be small.
    pub(crate) fn renew(&self, buffer: Option<Buffer>) -> Buffer {
        match buffer {
            Some(buffer) if buffer.capacity() == BUFFER_BYTES => buffer,
            _ => self.take(),
        }
    }

    /// A buffer with these bytes and then what is unread in `rest`. An error gives `rest` back: there is no room for both.
    pub(crate) fn joined(&self, bytes: &[u8], rest: Option<Buffer>) -> Result<Buffer, Option<Buffer>> {
        let behind = rest.as_ref().map_or(0, |rest| rest.unread().len());
        if bytes.len() + behind > BUFFER_BYTES {
            return Err(rest);
        }
        let mut whole = self.take();
        whole.append(bytes);
        if let Some(rest) = rest {
            whole.append(rest.unread());
            self.give(rest);
        }
        Ok(whole)
    }

    /// Takes a buffer back if nothing is left in it.
    pub(crate) fn give_if_empty(&self, buffer: &mut Option<Buffer>) {
        if buffer.as_ref().is_some_and(Buffer::is_empty)
            && let Some(empty) = buffer.take()
        {
            self.give(empty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFER_BYTES, BufferPool};

    #[test]
    fn a_given_back_buffer_shows_nothing_of_its_past() {
        let pool = BufferPool::default();
        let mut buffer = pool.take();
        buffer.room()[..6].copy_from_slice(b"secret");
        buffer.filled(6);
        pool.give(buffer);
        assert!(pool.take().unread().is_empty());
    }

    #[test]
    fn room_comes_back_when_bytes_are_dealt_with() {
        let pool = BufferPool::default();
        let mut buffer = pool.take();
        buffer.filled(BUFFER_BYTES);
        assert!(buffer.room().is_empty());
        buffer.consume(BUFFER_BYTES - 3);
        assert_eq!((buffer.room().len(), buffer.unread().len()), (BUFFER_BYTES - 3, 3));
    }

    #[test]
    fn what_is_shrunk_has_the_same_bytes_and_room_behind_them() {
        let pool = BufferPool::default();
        let mut buffer = pool.take();
        buffer.append(b"headpayloadrest");
        buffer.consume(11);
        assert!(pool.shrink(&mut buffer, 4));
        assert_eq!((buffer.slice(0..7), buffer.unread(), buffer.position()), (&b"payload"[..], &b"rest"[..], 7));
        assert!(!pool.shrink(&mut buffer, 0), "it is as small as it can be");
        assert!(buffer.put(0, b"\r\n"));
        buffer.consume(4);
        assert_eq!((buffer.room().len(), buffer.append(b"0123456789abcdef")), (11, 11));
        pool.give(buffer);
        assert_eq!(pool.take().room().len(), BUFFER_BYTES, "only whole buffers are used again");
        let mut full = pool.take();
        full.filled(BUFFER_BYTES);
        assert!(!pool.shrink(&mut full, 0));
    }

    #[test]
    fn what_is_joined_comes_in_order_or_not_at_all() {
        let pool = BufferPool::default();
        let mut rest = pool.take();
        rest.append(b"gone, rest");
        rest.consume(6);
        assert_eq!(pool.joined(b"first ", Some(rest)).ok().unwrap().unread(), b"first rest");
        assert_eq!(pool.joined(b"all", None).ok().unwrap().unread(), b"all");
        let mut full = pool.take();
        full.filled(BUFFER_BYTES - 2);
        let back = pool.joined(b"all", Some(full)).err().unwrap().unwrap();
        assert_eq!(back.unread().len(), BUFFER_BYTES - 2);
    }

    #[test]
    fn framing_never_overwrites_unread_bytes() {
        let mut buffer = BufferPool::default().take();
        buffer.filled(10);
        buffer.consume(4);
        assert!(buffer.put(2, b"\r\n"));
        assert!(!buffer.put(3, b"\r\n"));
    }
}
