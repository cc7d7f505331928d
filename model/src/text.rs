//! A small arena for the texts of one record.

/// A piece of text stored in a [`crate::DecisionRecord`]'s arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    start: u32,
    len: u32,
}

impl Text {
    /// Appends `bytes` to `arena` and returns where they lie. Bytes past 4 GiB are not kept.
    pub(crate) fn push(arena: &mut Vec<u8>, bytes: &[u8]) -> Self {
        let (Ok(start), Ok(len)) = (u32::try_from(arena.len()), u32::try_from(bytes.len())) else {
            return Self::default();
        };
        arena.extend_from_slice(bytes);
        Self { start, len }
    }

    /// The bytes in the arena they were pushed to.
    pub(crate) fn of(self, arena: &[u8]) -> &[u8] {
        let start = self.start as usize;
        // INVARIANT: a Text is only made by `push` on the same arena, which never shrinks while the record lives.
        arena.get(start..start + self.len as usize).unwrap_or(b"")
    }
}
