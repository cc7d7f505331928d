//! The fields of a head: one buffer and places in it; order and repetition are kept.

use crate::bytes::{is_token, is_value_byte};
use crate::span::{Span, push};
use crate::{KnownName, NameSet, WireError};
use portcullis_model::Reason;

/// The name of a field: a known one, or the place of its lower-case bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldName {
    Known(KnownName),
    Other(Span),
}

/// A field value that has been checked, to be set without checking again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldValue(Box<[u8]>);

impl FieldValue {
    /// Checks a value.
    ///
    /// # Errors
    /// When it has bytes that no value may have.
    pub fn new(value: &[u8]) -> Result<Self, WireError> {
        if !value.iter().all(|byte| is_value_byte(*byte)) {
            return Err(WireError::new(Reason::Internal, "a field value has bytes that no value may have"));
        }
        Ok(Self(value.into()))
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: FieldName,
    pub(crate) value: Span,
}

/// The fields of a head. The buffer also holds what else belongs to the head (its first line).
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub(crate) buffer: Vec<u8>,
    pub(crate) list: Vec<Field>,
}

impl Fields {
    /// Begins anew with the bytes of a head, keeping memory.
    pub(crate) fn reset(&mut self, head: &[u8]) {
        self.buffer.clear();
        self.list.clear();
        self.buffer.extend_from_slice(head);
    }

    /// Adds a field line that was parsed from the bytes in the buffer. Lower-cases its name in place, and gives it.
    pub(crate) fn add_parsed(&mut self, name: Span, value: Span) -> FieldName {
        name.bytes_mut(&mut self.buffer).make_ascii_lowercase();
        let name = match KnownName::of_lower(name.bytes(&self.buffer)) {
            Some(known) => FieldName::Known(known),
            None => FieldName::Other(name),
        };
        self.list.push(Field { name, value });
        name
    }

    pub(crate) fn name_bytes(&self, name: FieldName) -> &[u8] {
        match name {
            FieldName::Known(known) => known.as_str().as_bytes(),
            FieldName::Other(place) => place.bytes(&self.buffer),
        }
    }

    /// The known names that occur.
    #[must_use]
    pub fn names(&self) -> NameSet {
        let mut names = NameSet::default();
        for field in &self.list {
            if let FieldName::Known(name) = field.name {
                names.insert(name);
            }
        }
        names
    }

    /// Removes every field whose name is in the set.
    pub fn remove_all(&mut self, names: NameSet) {
        self.list.retain(|field| !matches!(field.name, FieldName::Known(name) if names.contains(name)));
    }

    /// Adds a field line whose value was checked before.
    pub fn append_checked(&mut self, name: KnownName, value: &FieldValue) {
        debug_assert!(!is_codecs_own(name), "framing and connection fields are written by the codec alone");
        let value = push(&mut self.buffer, &value.0);
        self.list.push(Field { name: FieldName::Known(name), value });
    }

    /// Adds a field line whose value is already in the buffer, and is one that a value may be.
    pub(crate) fn append_at(&mut self, name: KnownName, value: Span) {
        self.list.push(Field { name: FieldName::Known(name), value });
    }

    /// The first value of a name.
    #[must_use]
    pub fn first(&self, name: KnownName) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// Every value of a name, in order.
    pub fn values(&self, name: KnownName) -> impl DoubleEndedIterator<Item = &[u8]> {
        let wanted = FieldName::Known(name);
        self.list.iter().filter(move |field| field.name == wanted).map(|field| field.value.bytes(&self.buffer))
    }

    /// The value of a name (lower case) that occurs exactly once; one that occurs several times has no value to decide on
    /// (threats B 52).
    #[must_use]
    pub fn sole_named(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.iter().filter(|(found, _)| *found == name.as_bytes());
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The first value of a name in lower case.
    #[must_use]
    pub fn first_named(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// Every field as name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|field| (self.name_bytes(field.name), field.value.bytes(&self.buffer)))
    }

    /// How many field lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Removes every field of a name; says how many there were.
    pub fn remove(&mut self, name: KnownName) -> usize {
        let before = self.list.len();
        self.list.retain(|field| field.name != FieldName::Known(name));
        before - self.list.len()
    }

    /// Removes every field of a name in lower case; says how many there were.
    pub fn remove_named(&mut self, name: &str) -> usize {
        if let Some(known) = KnownName::of_lower(name.as_bytes()) {
            return self.remove(known);
        }
        let before = self.list.len();
        let buffer = &self.buffer;
        self.list.retain(|field| match field.name {
            FieldName::Known(_) => true,
            FieldName::Other(place) => place.bytes(buffer) != name.as_bytes(),
        });
        before - self.list.len()
    }

    /// Removes every field that reads as this lower-case name to those who take `_` and `.` for `-`; says how many there were.
    pub fn remove_alike(&mut self, name: &str) -> usize {
        let mut list = std::mem::take(&mut self.list);
        let before = list.len();
        list.retain(|field| !crate::is_same_field(self.name_bytes(field.name), name.as_bytes()));
        let removed = before - list.len();
        self.list = list;
        removed
    }

    /// Sets a name to one value.
    ///
    /// # Errors
    /// When the value has bytes that no value may have, or the name is one that only the codec writes.
    pub fn set(&mut self, name: KnownName, value: &[u8]) -> Result<(), WireError> {
        self.remove(name);
        self.append(name, value)
    }

    /// Sets a name in lower case to one value.
    ///
    /// # Errors
    /// As [`Fields::set`], and when the name is not a token.
    pub fn set_named(&mut self, name: &str, value: &[u8]) -> Result<(), WireError> {
        self.remove_named(name);
        self.append_named(name, value)
    }

    /// Adds a field line.
    ///
    /// # Errors
    /// As [`Fields::set`].
    pub fn append(&mut self, name: KnownName, value: &[u8]) -> Result<(), WireError> {
        if is_codecs_own(name) {
            return Err(WireError::new(Reason::Internal, "framing and connection fields are written by the codec alone"));
        }
        if !value.iter().all(|byte| is_value_byte(*byte)) {
            return Err(WireError::new(Reason::Internal, "a field value has bytes that no value may have"));
        }
        let value = push(&mut self.buffer, value);
        self.list.push(Field { name: FieldName::Known(name), value });
        Ok(())
    }

    /// Adds a field line of a name in lower case.
    ///
    /// # Errors
    /// As [`Fields::set_named`].
    pub fn append_named(&mut self, name: &str, value: &[u8]) -> Result<(), WireError> {
        if let Some(known) = KnownName::of_lower(name.as_bytes()) {
            return self.append(known, value);
        }
        if !is_token(name.as_bytes()) || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(WireError::new(Reason::Internal, "a field name is not a lower-case token"));
        }
        if !value.iter().all(|byte| is_value_byte(*byte)) {
            return Err(WireError::new(Reason::Internal, "a field value has bytes that no value may have"));
        }
        let name = push(&mut self.buffer, name.as_bytes());
        let value = push(&mut self.buffer, value);
        self.list.push(Field { name: FieldName::Other(name), value });
        Ok(())
    }

    /// Every field as name and value, in order, but those that a codec writes itself.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.end_to_end_known().map(|(_, name, value)| (name, value))
    }

    /// As [`Fields::end_to_end`], each with its name as a known one, if it is.
    pub fn end_to_end_known(&self) -> impl Iterator<Item = (Option<KnownName>, &[u8], &[u8])> {
        let written = |field: &&Field| !matches!(field.name, FieldName::Known(name) if is_codecs_own(name));
        self.list.iter().filter(written).map(|field| {
            let known = match field.name {
                FieldName::Known(name) => Some(name),
                FieldName::Other(_) => None,
            };
            (known, self.name_bytes(field.name), field.value.bytes(&self.buffer))
        })
    }

    /// Writes every field line but those the codec writes itself.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        for (name, value) in self.end_to_end() {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Fields that say how the message is framed, where it goes and what becomes of the connection: never copied, always written anew.
pub(crate) const fn is_codecs_own(name: KnownName) -> bool {
    matches!(
        name,
        KnownName::Host
            | KnownName::ContentLength
            | KnownName::TransferEncoding
            | KnownName::Connection
            | KnownName::Upgrade
            | KnownName::KeepAlive
            | KnownName::ProxyConnection
            | KnownName::Te
            | KnownName::Trailer
            | KnownName::Expect
    )
}

#[cfg(test)]
mod tests {
    use super::Fields;
    use crate::KnownName;

    #[test]
    fn values_with_line_ends_are_refused() {
        let mut fields = Fields::default();
        for bad in [&b"a\r\nx: y"[..], b"a\nb", b"a\0b", b"a\x7f", b"\x1b[31m"] {
            assert!(fields.set(KnownName::Etag, bad).is_err(), "{bad:?}");
            assert!(fields.set_named("x-note", bad).is_err(), "{bad:?}");
        }
        assert!(fields.set_named("X-Upper", b"v").is_err());
        assert!(fields.set_named("x:y", b"v").is_err());
        assert!(fields.set(KnownName::ContentLength, b"5").is_err());
        assert!(fields.is_empty());
    }

    #[test]
    fn set_replaces_every_value_and_append_keeps_order() {
        let mut fields = Fields::default();
        fields.append_named("x-a", b"1").unwrap();
        fields.append_named("x-a", b"2").unwrap();
        assert_eq!(fields.sole_named("x-a"), None);
        fields.set_named("x-a", b"3").unwrap();
        assert_eq!((fields.sole_named("x-a"), fields.len()), (Some(&b"3"[..]), 1));
        let mut out = Vec::new();
        fields.write_to(&mut out);
        assert_eq!(out, b"x-a: 3\r\n");
    }
}
