//! What requests, answers and trailers have in common that come as HTTP/2 fields (RFC 9113 section 8.2). The one reader of them.

use crate::bytes::{is_token, is_value_byte};
use crate::fields::{Field, FieldName, Fields};
use crate::hygiene::is_forbidden_trailer;
use crate::span::push;
use crate::{KnownName, Trailers, WireError};
use portcullis_model::Reason;

/// What a field costs beside its name and value, as in HTTP/1: colon, space, line end.
const FIELD_EXTRA: usize = 4;
/// Bytes and fields of a trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 32;

/// How many fields and bytes have come so far of a section.
#[derive(Default)]
pub(crate) struct SectionSize {
    fields: usize,
    bytes: usize,
}

impl SectionSize {
    /// A section that has so many bytes before its first field.
    pub(crate) fn beginning_with(bytes: usize) -> Self {
        Self { fields: 0, bytes }
    }

    /// One field more. Says whether the section is still within its bounds.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8], fields_max: usize, bytes_max: usize) -> bool {
        self.fields += 1;
        self.bytes += name.len() + value.len() + FIELD_EXTRA;
        self.fields <= fields_max && self.bytes <= bytes_max
    }
}

/// Checks a field by RFC 9113 section 8.2.1: lower-case name; a value without control bytes, and without spaces around it. `reason` says
/// whose fault it is if it is not so.
pub(crate) fn check_field(name: &[u8], value: &[u8], reason: Reason) -> Result<(), WireError> {
    if !is_token(name) || name.iter().any(u8::is_ascii_uppercase) {
        return Err(WireError::new(reason, "a field name that is not a lower-case token"));
    }
    let spaced = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if spaced(value.first()) || spaced(value.last()) || !value.iter().all(|byte| is_value_byte(*byte)) {
        return Err(WireError::new(reason, "a field value with control bytes, or spaces around it"));
    }
    Ok(())
}

impl Fields {
    /// Adds a field that was checked, unless it is one of a connection, which HTTP/2 does not have (RFC 9113 section 8.2.2).
    pub(crate) fn add_of_h2(
        &mut self,
        known: Option<KnownName>,
        name: &[u8],
        value: &[u8],
        reason: Reason,
    ) -> Result<(), WireError> {
        let name = match known {
            Some(
                KnownName::Connection
                | KnownName::KeepAlive
                | KnownName::ProxyConnection
                | KnownName::TransferEncoding
                | KnownName::Upgrade,
            ) => return Err(WireError::new(reason, "a field that HTTP/2 does not have")),
            Some(known) => FieldName::Known(known),
            None => FieldName::Other(push(&mut self.buffer, name)),
        };
        let value = push(&mut self.buffer, value);
        self.list.push(Field { name, value });
        Ok(())
    }

    /// Reads a trailer section that came as fields. Those that may not come as trailers are left out, as with chunked coding.
    ///
    /// # Errors
    /// What is not well-formed, or more than allowed; `reason` says whose fault that is.
    pub fn read_trailers<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, reason: Reason) -> Result<Trailers, WireError> {
        let (mut trailers, mut size) = (Trailers::default(), SectionSize::default());
        for (name, value) in fields {
            if !size.add(name, value, TRAILER_FIELDS_MAX, TRAILER_BYTES_MAX) {
                return Err(WireError::new(reason, "trailers longer than allowed"));
            }
            check_field(name, value, reason)?;
            if !is_forbidden_trailer(name)
                && let Ok(name) = std::str::from_utf8(name)
            {
                // One that only the codec may write is dropped, as a forbidden one is.
                let _kept_or_dropped = trailers.append_named(name, value).is_ok();
            }
        }
        Ok(trailers)
    }
}
