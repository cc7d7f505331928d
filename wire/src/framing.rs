//! How long a message's body is. Any doubt is a refusal (RFC 9112 section 6.3; threats A 1 to 22).

use crate::bytes::{decimal, is_token};
use crate::{Fields, KnownName, WireError};
use portcullis_model::Reason;

/// How the end of a request's body is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked coding.
    Chunked,
}

/// How the end of a response's body is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is no body.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked coding.
    Chunked,
    /// When the connection ends.
    UntilClose,
}

/// What the framing fields of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

/// Reads Content-Length and Transfer-Encoding. Both, either of them twice, or anything but digits and `chunked`, is refused.
pub(crate) fn declared(fields: &Fields, ambiguous: Reason, old_version: bool) -> Result<Declared, WireError> {
    let refuse = |detail| Err(WireError::new(ambiguous, detail));
    let mut lengths = fields.values(KnownName::ContentLength);
    let mut codings = fields.values(KnownName::TransferEncoding);
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() {
        return refuse("several Content-Length lines");
    }
    if codings.next().is_some() {
        return refuse("several Transfer-Encoding lines");
    }
    match (length, coding) {
        (None, None) => Ok(Declared::Nothing),
        (Some(_), Some(_)) => refuse("Content-Length beside Transfer-Encoding"),
        (None, Some(_)) if old_version => refuse("Transfer-Encoding in HTTP/1.0"),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Declared::Chunked),
        (None, Some(coding)) if ambiguous == Reason::FramingAmbiguous && is_token(coding) && !looks_chunked(coding) => {
            Err(WireError::new(Reason::CodingUnsupported, "a transfer coding other than chunked"))
        }
        (None, Some(_)) => refuse("a Transfer-Encoding that is not exactly `chunked`"),
        (Some(length), None) => match decimal(length) {
            Some(length) if length < 1 << 62 => Ok(Declared::Length(length)),
            Some(_) => Err(WireError::new(too_large(ambiguous), "a Content-Length beyond all reason")),
            None if length.len() > 19 && length.iter().all(u8::is_ascii_digit) => {
                Err(WireError::new(too_large(ambiguous), "a Content-Length beyond all reason"))
            }
            None => refuse("a Content-Length that is not digits only"),
        },
    }
}

fn too_large(ambiguous: Reason) -> Reason {
    if ambiguous == Reason::FramingAmbiguous { Reason::BodyTooLarge } else { ambiguous }
}

/// Whether a sloppy reader might take this coding for chunked.
fn looks_chunked(coding: &[u8]) -> bool {
    coding.windows(7).any(|window| window.eq_ignore_ascii_case(b"chunked"))
}
