//! The canonical path. docs/canonical.md lists every construct.

use crate::WireError;
use crate::bytes::{hex_digit, hex_pair, is_unreserved};
use portcullis_model::Reason;

fn refuse<T>(detail: &'static str) -> Result<T, WireError> {
    Err(WireError::new(Reason::PathAmbiguous, detail))
}

/// Whether a byte may stand in a path as it is: pchar without `%` and `;` (RFC 3986 section 3.3).
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// Whether `path` is canonical as it stands; most are.
pub(crate) fn is_canonical(path: &[u8]) -> bool {
    let mut previous = 0;
    for byte in path {
        let suspicious = match byte {
            b'/' => previous == b'/',
            b'.' => previous == b'/',
            _ => !is_plain(*byte),
        };
        if suspicious {
            return false;
        }
        previous = *byte;
    }
    path.first() == Some(&b'/')
}

/// Appends the canonical form of `path` to `out`. Says whether it keeps an encoded slash.
pub(crate) fn canonicalise(path: &[u8], out: &mut Vec<u8>) -> Result<bool, WireError> {
    if path.first() != Some(&b'/') {
        return refuse("a path that does not begin with `/`");
    }
    let start = out.len();
    let mut encoded_slash = false;
    let mut above_ascii = false;
    let mut rest = path;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'/' => out.push(b'/'),
            b'%' => {
                let Some(value) = hex_pair(rest) else { return refuse("`%` without two hexadecimal digits") };
                rest = rest.get(2..).unwrap_or_default();
                encoded_slash |= value == b'/';
                above_ascii |= value >= 0x80;
                push_decoded(value, out)?;
            }
            _ if is_plain(*byte) => out.push(*byte),
            _ => return refuse_raw(*byte),
        }
    }
    let made = out.get(start..).unwrap_or_default();
    check_segments(made)?;
    check_escaped_twice(made)?;
    if above_ascii {
        check_utf8(made)?;
    }
    Ok(encoded_slash)
}

fn refuse_raw<T>(byte: u8) -> Result<T, WireError> {
    refuse(match byte {
        b';' => "`;` in a path: some readers cut what follows off",
        b'\\' => "`\\` in a path: some readers take it for `/`",
        b'#' => "a fragment in a request target",
        0x80.. => "a raw byte beyond ASCII in a path",
        _ => "a byte that must be escaped in a path",
    })
}

fn push_decoded(value: u8, out: &mut Vec<u8>) -> Result<(), WireError> {
    match value {
        _ if is_unreserved(value) => out.push(value),
        0..0x20 | 0x7f => return refuse("an escaped control byte in a path"),
        b'\\' => return refuse("an escaped `\\` in a path"),
        b';' => return refuse("an escaped `;` in a path"),
        _ => out.extend_from_slice(&[b'%', hex_digit(value >> 4), hex_digit(value)]),
    }
    Ok(())
}

/// Refuses empty and dot segments. An encoded slash parts segments as well: a reader that decodes it must find nothing that would have
/// been refused. Only the last part of a path may be empty.
fn check_segments(path: &[u8]) -> Result<(), WireError> {
    let mut rest = path.get(1..).unwrap_or_default();
    while let Some((at, width)) = next_slash(rest) {
        match rest.get(..at).unwrap_or_default() {
            b"" => return refuse("an empty segment in a path"),
            part => check_dots(part)?,
        }
        rest = rest.get(at + width..).unwrap_or_default();
    }
    check_dots(rest)
}

/// Where the next slash is, plain or encoded, and how many bytes it takes.
fn next_slash(path: &[u8]) -> Option<(usize, usize)> {
    path.iter().enumerate().find_map(|(at, byte)| match byte {
        b'/' => Some((at, 1)),
        b'%' if path.get(at + 1..at + 3) == Some(b"2F") => Some((at, 3)),
        _ => None,
    })
}

/// Refuses an escaped `%` with two hexadecimal digits behind it: a reader that decodes twice would read another path. Looked for in the
/// canonical form, where the digits cannot be escaped themselves (`%25%32%66`).
fn check_escaped_twice(path: &[u8]) -> Result<(), WireError> {
    let twice = path.windows(5).any(|window| window.starts_with(b"%25") && hex_pair(window.get(3..).unwrap_or_default()).is_some());
    if twice { refuse("a doubly escaped byte in a path") } else { Ok(()) }
}

fn check_dots(segment: &[u8]) -> Result<(), WireError> {
    if matches!(segment, b"." | b"..") { refuse("a dot segment in a path") } else { Ok(()) }
}

/// Refuses escapes that do not spell UTF-8 (overlong forms and surrogates among them).
pub(crate) fn check_utf8(escaped: &[u8]) -> Result<(), WireError> {
    if std::str::from_utf8(&decode(escaped)).is_err() { refuse("escapes that do not spell UTF-8") } else { Ok(()) }
}

/// The bytes that canonical text of a path or query stands for, as an upstream will decode it.
#[must_use]
pub fn unescape(canonical: &str) -> Vec<u8> {
    decode(canonical.as_bytes())
}

/// The bytes that canonical text stands for.
pub(crate) fn decode(escaped: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((byte, behind)) = rest.split_first() {
        match (byte, hex_pair(behind)) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{canonicalise, is_canonical};

    fn canonical(path: &str) -> Result<(String, bool), &'static str> {
        let mut out = Vec::new();
        let slash = canonicalise(path.as_bytes(), &mut out).map_err(|error| error.detail)?;
        assert_eq!(is_canonical(path.as_bytes()), path.as_bytes() == out && !path.contains('%') && !path.contains("/."), "{path}");
        Ok((String::from_utf8(out).unwrap(), slash))
    }

    #[test]
    fn b36_dot_segments_are_refused_in_every_spelling() {
        for path in [
            "/..",
            "/../admin",
            "/pub/../admin",
            "/pub/./x",
            "/.",
            "/pub/..",
            "/pub/.",
            "/%2e%2e/admin",
            "/pub/%2e%2e/admin",
            "/pub/.%2e/x",
            "/pub/%2e./x",
            "/pub/%2E%2E/x",
            "/pub/%2e/x",
            "/%2e",
            "/pub/..%2fadmin",
            "/pub%2f../admin",
            "/pub%2f..%2fadmin",
            "/pub/%2e%2e%2fadmin",
            "/..%2f..%2f",
            "/a/b/../../c",
        ] {
            assert!(canonical(path).is_err(), "{path}");
        }
    }

    #[test]
    fn b37_b40_separators_and_control_bytes_in_disguise_are_refused() {
        for path in [
            "/pub\\admin",
            "/pub%5cadmin",
            "/pub%5Cadmin",
            "/admin;x",
            "/pub/..;/admin",
            "/a%3bb",
            "/a%00",
            "/a%0d%0aX:y",
            "/a%7f",
            "/a%1f",
            "/a%252fb",
            "/pub/%25%32%65",
            "/a%25%32f",
            "/a%252%66",
            "/a%252e%252e",
            "//admin",
            "/pub//admin",
            "///",
            "/a//",
            "/a b",
            "/a\"b",
            "/a<b",
            "/a>b",
            "/a^b",
            "/a`b",
            "/a{b}",
            "/a|b",
            "/admin#x",
            "/pub/#/../admin",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%-1",
            "/\u{e9}",
            "/%ff",
            "/%c0%af",
            "/%e0%80%af",
            "/%ed%a0%80",
            "/%c3",
            "admin",
            "",
        ] {
            assert!(canonical(path).is_err(), "{path}");
        }
    }

    #[test]
    fn b43_escapes_have_one_spelling() {
        for (given, expected) in [
            ("/%41dmin", "/Admin"),
            ("/ADMIN", "/ADMIN"),
            ("/a%7eb", "/a~b"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/c%23", "/c%23"),
            ("/100%25", "/100%25"),
            ("/a%3fb", "/a%3Fb"),
            ("/a%ef%bc%8f%ef%bc%8eb", "/a%EF%BC%8F%EF%BC%8Eb"),
            ("/a/", "/a/"),
            ("/", "/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a...b/..c/...", "/a...b/..c/..."),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
        ] {
            assert_eq!(canonical(given), Ok((expected.to_owned(), false)), "{given}");
        }
    }

    #[test]
    fn b37_an_encoded_slash_is_kept_apart_and_told() {
        for (given, expected) in
            [("/a%2fb", "/a%2Fb"), ("/a%2Fb%2fc/d", "/a%2Fb%2Fc/d"), ("/a%2f", "/a%2F"), ("/a/b%2F", "/a/b%2F")]
        {
            assert_eq!(canonical(given), Ok((expected.to_owned(), true)), "{given}");
        }
    }

    #[test]
    fn b37_b41_nothing_is_empty_beside_an_encoded_slash() {
        for path in [
            "/a%2F%2Fb",
            "/a%2f%2fb",
            "/%2Fa",
            "/%2f",
            "/a/%2Fb",
            "/a%2F/b",
            "/a/%2f",
            "/a%2F%2F",
            "/a/%2f/b",
            "/a%2F%2F%2Fb",
            "/a%2F/",
        ] {
            assert_eq!(canonical(path), Err("an empty segment in a path"), "{path}");
        }
    }
}
