//! Places in a buffer. The only file of this crate that indexes.

use std::ops::Range;

/// A place in a head's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The place of a range. Heads are bounded far below 4 GiB; a range beyond is an empty place.
    pub(crate) fn of(range: Range<usize>) -> Self {
        match (u32::try_from(range.start), u32::try_from(range.end.saturating_sub(range.start))) {
            (Ok(start), Ok(len)) => Self { start, len },
            _ => Self::default(),
        }
    }

    /// The place that `part` has in `whole`, which it must be a part of.
    pub(crate) fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        debug_assert!(part.is_empty() || start + part.len() <= whole.len(), "a part lies within its whole");
        if part.is_empty() { Self::default() } else { Self::of(start..start + part.len()) }
    }

    /// The range.
    pub(crate) fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }

    /// The bytes at this place of the buffer it was made for.
    #[expect(clippy::indexing_slicing, reason = "INVARIANT: a span is only used with the buffer it was made for, which only grows")]
    pub(crate) fn bytes(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.range()]
    }

    /// The same, to change.
    #[expect(clippy::indexing_slicing, reason = "INVARIANT: a span is only used with the buffer it was made for, which only grows")]
    pub(crate) fn bytes_mut(self, buffer: &mut [u8]) -> &mut [u8] {
        &mut buffer[self.range()]
    }

    /// The bytes as text, for places that were checked to be ASCII when they were made.
    pub(crate) fn text(self, buffer: &[u8]) -> &str {
        let text = std::str::from_utf8(self.bytes(buffer));
        debug_assert!(text.is_ok(), "only ASCII places are read as text");
        text.unwrap_or_default()
    }
}

/// Appends `bytes` to `buffer` and says where.
pub(crate) fn push(buffer: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = buffer.len();
    buffer.extend_from_slice(bytes);
    Span::of(start..buffer.len())
}
