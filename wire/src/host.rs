//! Hosts: a name or an address, in one spelling.

use crate::WireError;
use crate::bytes::decimal;
use portcullis_model::Reason;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest host name (RFC 1035 section 2.3.4, as text).
const NAME_BYTES_MAX: usize = 253;

fn refuse<T>(detail: &'static str) -> Result<T, WireError> {
    Err(WireError::new(Reason::HostInvalid, detail))
}

/// Reads `host[:port]`, writes the host in its canonical spelling to `out`, and gives the port. Canonical: lower case, no trailing
/// dot, addresses in their shortest form, IPv6 in brackets.
pub(crate) fn canonical_authority(authority: &[u8], out: &mut Vec<u8>) -> Result<Option<u16>, WireError> {
    if authority.first() == Some(&b'[') {
        return canonical_v6(authority, out);
    }
    let (host, port) = match authority.iter().position(|byte| *byte == b':') {
        Some(colon) => (authority.get(..colon).unwrap_or_default(), Some(authority.get(colon + 1..).unwrap_or_default())),
        None => (authority, None),
    };
    canonical_name(host, out)?;
    port.map(parse_port).transpose()
}

/// Where `host[:port]` is in canonical spelling already, as it nearly always is: the length of the host, and the port.
pub(crate) fn canonical_as_it_is(authority: &[u8]) -> Option<(usize, Option<u16>)> {
    let length = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
    let host = authority.get(..length)?;
    let mut previous = b'.';
    for byte in host {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'.' if previous != b'.' => {}
            _ => return None,
        }
        previous = *byte;
    }
    if previous == b'.' || host.len() > NAME_BYTES_MAX || check_number(host).is_err() {
        return None;
    }
    match authority.get(length + 1..) {
        None => Some((length, None)),
        Some([b'0', ..]) => None,
        Some(digits) => parse_port(digits).ok().map(|port| (length, Some(port))),
    }
}

fn parse_port(digits: &[u8]) -> Result<u16, WireError> {
    match decimal(digits).and_then(|port| u16::try_from(port).ok()) {
        Some(port @ 1..) if digits.len() <= 5 => Ok(port),
        _ => refuse("a port that is not a number from 1 to 65535"),
    }
}

fn canonical_v6(authority: &[u8], out: &mut Vec<u8>) -> Result<Option<u16>, WireError> {
    let Some(close) = authority.iter().position(|byte| *byte == b']') else { return refuse("an IPv6 address without `]`") };
    let inside = authority.get(1..close).unwrap_or_default();
    // A zone id (`%eth0`) does not parse as an address and is refused with the rest.
    let Some(address) = std::str::from_utf8(inside).ok().and_then(|text| text.parse::<Ipv6Addr>().ok()) else {
        return refuse("not an IPv6 address in brackets");
    };
    let written = write!(out, "[{address}]");
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    match authority.get(close + 1..).unwrap_or_default() {
        [] => Ok(None),
        [b':', port @ ..] => parse_port(port).map(Some),
        _ => refuse("bytes behind an IPv6 address"),
    }
}

fn canonical_name(host: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() || host.len() > NAME_BYTES_MAX {
        return refuse("a host name that is empty or too long");
    }
    let start = out.len();
    let mut previous = b'.';
    for byte in host {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => out.push(*byte),
            b'A'..=b'Z' => out.push(byte.to_ascii_lowercase()),
            b'.' if previous != b'.' => out.push(b'.'),
            b'.' => return refuse("an empty label in a host name"),
            _ => return refuse("a byte in a host name that is none of letters, digits, `-`, `_` and `.`"),
        }
        previous = *byte;
    }
    check_number(out.get(start..).unwrap_or_default())
}

/// A name whose last label is a number is an IPv4 address to many readers; then it must be one in the plain form (WHATWG URL,
/// "ends in a number"), so that `0x7f.1` and `2130706433` are not taken for names.
fn check_number(name: &[u8]) -> Result<(), WireError> {
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix(b"0x").is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !hexadecimal && !last.iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    match std::str::from_utf8(name).ok().and_then(|text| text.parse::<Ipv4Addr>().ok()) {
        Some(_) => Ok(()),
        None => refuse("a host that ends in a number and is not an IPv4 address"),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical_authority;

    fn read(text: &str) -> Option<(String, Option<u16>)> {
        let mut out = Vec::new();
        let port = canonical_authority(text.as_bytes(), &mut out).ok()?;
        Some((String::from_utf8(out).unwrap(), port))
    }

    #[test]
    fn b45_hosts_have_one_spelling() {
        for (given, host, port) in [
            ("API.Example.com", "api.example.com", None),
            ("api.example.com.", "api.example.com", None),
            ("api.example.com.:8443", "api.example.com", Some(8443)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[2001:DB8:0::1]:443", "[2001:db8::1]", Some(443)),
            ("my_host", "my_host", None),
        ] {
            assert_eq!(read(given), Some((host.to_owned(), port)), "{given}");
        }
    }

    #[test]
    fn hosts_that_are_none_are_refused() {
        for bad in [
            "",
            ".",
            "a..b",
            "a b",
            "a/b",
            "user@a",
            "a:b",
            "a:0",
            "a:65536",
            "a:",
            "a:+1",
            "a:080000",
            "[::1",
            "[::1]x",
            "[fe80::1%eth0]",
            "0x7f.1",
            "2130706433",
            "127.1",
            "a\u{e9}",
            "a,b",
            "a#b",
            "a?b",
            "a\\b",
            "[::1]:",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
