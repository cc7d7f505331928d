//! Pieces of JSON, appended to a buffer. Written by hand: valid for any bytes, and without the formatting machinery.

use portcullis_model::RequestId;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// A member's name behind another member.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// An object's beginning, and the name of its first member.
macro_rules! first_key {
    ($name:literal) => {
        concat!("{\"", $name, "\":")
    };
}

pub(crate) use {first_key, key};

pub(crate) fn push_raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn push_text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    push_raw(out, key);
    out.push(b'"');
    push_escaped(out, value);
    out.push(b'"');
}

pub(crate) fn push_optional(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        push_text(out, key, value.as_bytes());
    }
}

pub(crate) fn push_number(out: &mut Vec<u8>, key: &str, value: u64) {
    push_raw(out, key);
    push_decimal(out, value);
}

pub(crate) fn push_boolean(out: &mut Vec<u8>, key: &str, value: bool) {
    push_raw(out, key);
    push_raw(out, if value { "true" } else { "false" });
}

/// The lowest so many hexadecimal digits of a number.
pub(crate) fn push_hex<const DIGITS: usize>(out: &mut Vec<u8>, key: &str, value: u128) {
    push_raw(out, key);
    out.push(b'"');
    let digits = RequestId(value).hex();
    out.extend_from_slice(digits.last_chunk::<DIGITS>().map_or(&digits[..], |last| last));
    out.push(b'"');
}

pub(crate) fn push_address(out: &mut Vec<u8>, key: &str, address: IpAddr) {
    push_raw(out, key);
    out.push(b'"');
    push_ip(out, address);
    out.push(b'"');
}

pub(crate) fn push_socket(out: &mut Vec<u8>, key: &str, address: SocketAddr) {
    push_raw(out, key);
    out.push(b'"');
    if address.is_ipv4() {
        push_ip(out, address.ip());
    } else {
        out.push(b'[');
        push_ip(out, address.ip());
        out.push(b']');
    }
    out.push(b':');
    push_decimal(out, u64::from(address.port()));
    out.push(b'"');
}

fn push_decimal(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            push_decimal(out, u64::from(a));
            for octet in [b, c, d] {
                out.push(b'.');
                push_decimal(out, u64::from(octet));
            }
        }
        IpAddr::V6(address) => {
            let written = write!(out, "{address}");
            debug_assert!(written.is_ok(), "writing to memory does not fail");
        }
    }
}

/// Appends bytes as the inside of a JSON string: control characters escaped, also those that turn the direction of writing round,
/// and what is not UTF-8 replaced (threats C 69).
pub(crate) fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    // Without an early end, so that many bytes are compared at once; nearly all texts are plain.
    let is_plain = bytes.iter().fold(true, |plain, byte| plain & (b' '..=b'~').contains(byte) & (*byte != b'"') & (*byte != b'\\'));
    if is_plain {
        return out.extend_from_slice(bytes);
    }
    for char in String::from_utf8_lossy(bytes).chars() {
        match char {
            '"' => push_raw(out, "\\\""),
            '\\' => push_raw(out, "\\\\"),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let written = write!(out, "\\u{:04x}", u32::from(char));
                debug_assert!(written.is_ok(), "writing to memory does not fail");
            }
            _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
