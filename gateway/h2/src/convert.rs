//! Fields, from our type to that of `http` and back.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use portcullis_wire::{Fields, KnownName, Trailers};
use std::sync::LazyLock;

/// What a field costs in HTTP/1 beside its name and value; records count the same for both.
pub const FIELD_EXTRA: u64 = 4;

/// The fields of a message as name and value.
pub fn fields(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// The known names as `http` has them, in the order of [`KnownName::ALL`].
static NAMES: LazyLock<Box<[HeaderName]>> =
    LazyLock::new(|| KnownName::ALL.iter().map(|name| HeaderName::from_static(name.as_str())).collect());

fn name_of(known: Option<KnownName>, name: &[u8]) -> Option<HeaderName> {
    match known {
        Some(known) => NAMES.get(known as usize).cloned(),
        None => HeaderName::from_bytes(name).ok(),
    }
}

/// Writes fields, but those that a codec writes itself, and gives how many bytes they have; those that `http` does not take cannot be, as
/// they are well-formed. Each value has memory of its own: the library's table may keep one of them for long, and must not keep a whole
/// head with it.
pub fn write_fields(fields: &Fields, map: &mut HeaderMap) -> u64 {
    let mut bytes = 0;
    for (known, name, value) in fields.end_to_end_known() {
        bytes += (name.len() + value.len()) as u64 + FIELD_EXTRA;
        if let (Some(name), Ok(value)) = (name_of(known, name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    bytes
}

/// Writes trailers.
pub(crate) fn write_trailers(trailers: &Trailers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(trailers.len());
    write_fields(trailers, &mut map);
    map
}
