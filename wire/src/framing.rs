//! How long a message's body is. Any doubt is a refusal (RFC 9112 section 6.3; threats A 1 to 22).

use crate::bytes::{decimal, is_token};
use crate::span::Span;
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

/// Whether a field line is `name:value` or `name: value` and ends there. Other whitespace is allowed around a value (RFC 9110 section
/// 5.5), but around those that frame a message it is what readers have disagreed about, a tab above all (threats A 5).
pub(crate) fn is_written_plainly(head: &[u8], name: Span, value: Span) -> bool {
    let between = head.get(name.range().end..value.range().start);
    matches!(between, Some(b":" | b": ")) && head.get(value.range().end..).is_some_and(|behind| behind.starts_with(b"\r\n"))
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

#[cfg(test)]
mod tests {
    use crate::{BodyFraming, HeadLimits, RequestHead};
    use portcullis_model::Reason;

    fn framing(line: &str) -> Result<BodyFraming, Reason> {
        let mut head = RequestHead::default();
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\nX: y\r\n\r\n");
        head.parse(text.as_bytes(), &HeadLimits::default()).map(|()| head.framing()).map_err(|error| error.reason)
    }

    #[test]
    fn a05_a_tab_or_space_too_many_around_what_frames_is_refused() {
        for name in ["Transfer-Encoding", "Content-Length"] {
            let (value, expected) = match name {
                "Content-Length" => ("5", BodyFraming::Length(5)),
                _ => ("chunked", BodyFraming::Chunked),
            };
            for plain in [format!("{name}: {value}"), format!("{name}:{value}")] {
                assert_eq!(framing(&plain), Ok(expected), "{plain}");
            }
            for space in ["\t", " ", "  ", " \t "] {
                for odd in [format!("{name}: {value}{space}"), format!("{name}: {space}{value}")] {
                    assert_eq!(framing(&odd), Err(Reason::FramingAmbiguous), "{odd:?}");
                }
            }
        }
    }
}
