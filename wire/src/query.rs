//! The canonical query. docs/canonical.md lists every construct.

use crate::WireError;
use crate::bytes::{hex_digit, hex_pair, is_unreserved};
use crate::path::check_utf8;
use portcullis_model::Reason;

/// How many pairs a query may have.
const PAIRS_MAX: usize = 256;

fn refuse<T>(detail: &'static str) -> Result<T, WireError> {
    Err(WireError::new(Reason::QueryAmbiguous, detail))
}

/// Whether a byte may stand in a query as it is: `query` of RFC 3986 section 3.4 without `%` and `;`.
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' | b'/' | b'?')
}

/// Whether `query` is canonical as it stands; most are.
pub(crate) fn is_canonical(query: &[u8]) -> bool {
    !query.is_empty() && query.iter().all(|byte| is_plain(*byte)) && query.iter().filter(|byte| **byte == b'&').count() < PAIRS_MAX
}

/// Appends the canonical form of `query` (without `?`) to `out`.
pub(crate) fn canonicalise(query: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    let mut above_ascii = false;
    let mut rest = query;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'%' => {
                let Some(value) = hex_pair(rest) else { return refuse("`%` without two hexadecimal digits in a query") };
                rest = rest.get(2..).unwrap_or_default();
                above_ascii |= value >= 0x80;
                match value {
                    0 => return refuse("an escaped NUL in a query"),
                    _ if is_unreserved(value) => out.push(value),
                    _ => push_escape(value, out),
                }
            }
            // Sent raw by browsers and tools, though they must be escaped; `;` separates pairs for some readers.
            b'[' | b']' | b'{' | b'}' | b'|' | b'^' | b'`' | b'"' | b'<' | b'>' | b'\\' | b';' => push_escape(*byte, out),
            _ if is_plain(*byte) => out.push(*byte),
            b'#' => return refuse("a fragment in a request target"),
            _ => return refuse("a byte that must be escaped in a query"),
        }
    }
    let made = out.get(start..).unwrap_or_default();
    if made.split(|byte| *byte == b'&').count() > PAIRS_MAX {
        return refuse("more pairs in a query than allowed");
    }
    if above_ascii && check_utf8(made).is_err() {
        return refuse("escapes in a query that do not spell UTF-8");
    }
    Ok(())
}

fn push_escape(value: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'%', hex_digit(value >> 4), hex_digit(value)]);
}

/// The pairs of a canonical query as written, name and value; a pair without `=` has an empty value. Repeated names are kept, in
/// order: a decision about one must look at all.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::{canonicalise, is_canonical, query_pairs};

    fn canonical(query: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        canonicalise(query.as_bytes(), &mut out).map_err(|error| error.detail)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn b46_a_query_has_one_spelling() {
        for (given, expected) in [
            ("a=1&b=2", "a=1&b=2"),
            ("a=%41", "a=A"),
            ("a[]=1", "a%5B%5D=1"),
            ("a=1;b=2", "a=1%3Bb=2"),
            ("a=b+c", "a=b+c"),
            ("a=%2f%3f", "a=%2F%3F"),
            ("q=caf%c3%a9", "q=caf%C3%A9"),
            ("x=1&x=2", "x=1&x=2"),
            ("next=/a?b", "next=/a?b"),
        ] {
            assert_eq!(canonical(given), Ok(expected.to_owned()), "{given}");
            assert_eq!(is_canonical(given.as_bytes()), given == expected && !given.contains('%'), "{given}");
        }
    }

    #[test]
    fn queries_that_read_in_two_ways_are_refused() {
        for bad in ["a=%", "a=%zz", "a=%00", "a=%ff", "a=%c0%af", "a#b", "a b", "a=\u{e9}", "a=\u{1}"] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
        assert!(canonical(&"a&".repeat(300)).is_err());
    }

    #[test]
    fn pairs_keep_order_and_repetition() {
        assert_eq!(query_pairs("a=1&b&a=2&=x").collect::<Vec<_>>(), [("a", "1"), ("b", ""), ("a", "2"), ("", "x")]);
    }
}
