//! The PROXY protocol, versions 1 and 2: what a balancer says in front of a connection about who is behind it.
//!
//! The whole header is read, nothing in it is passed on, and its length is exact: what follows is the client's first byte. Its
//! length is bounded before it is believed (threats A 35, CVE-2026-47692).

use crate::WireError;
use portcullis_model::Reason;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its CR LF.
const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is taken, with its extensions.
const V2_BYTES_MAX: usize = 4096;
/// No header is longer than this.
pub const PROXY_HEADER_BYTES_MAX: usize = V2_BYTES_MAX;

const V1_BEGIN: &[u8] = b"PROXY ";
const V2_BEGIN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = V2_BEGIN.len() + 4;

/// The extension that holds a checksum of the header.
const TLV_CRC32C: u8 = 0x03;
/// An extension's type and length.
const TLV_HEAD_BYTES: usize = 3;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it has. The byte behind them is the client's.
    pub length: usize,
    /// The client, mapped addresses as what they map. Nothing when the header tells no address: the balancer connects for itself
    /// (`LOCAL`), does not know (`UNKNOWN`, `UNSPEC`), or forwards from a Unix socket.
    pub client: Option<SocketAddr>,
}

const fn invalid(detail: &'static str) -> WireError {
    WireError::new(Reason::ProxyHeaderInvalid, detail)
}

/// Reads the header that `bytes` begin with; `None` as long as more of it must come.
///
/// # Errors
/// What makes it none: another beginning, more bytes than allowed, addresses that cannot be a client's, extensions that do not fill
/// exactly what is announced, a wrong checksum.
pub fn parse_proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, WireError> {
    if begins_as(bytes, V2_BEGIN) {
        return version_2(bytes);
    }
    if begins_as(bytes, V1_BEGIN) {
        return version_1(bytes);
    }
    Err(invalid("the connection does not begin with a PROXY protocol header"))
}

/// Whether `bytes` begin with `mark`, or with as much of it as has come.
fn begins_as(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.iter().zip(mark).all(|(byte, expected)| byte == expected)
}

fn version_1(bytes: &[u8]) -> Result<Option<ProxyHeader>, WireError> {
    let looked_at = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', looked_at) else {
        return if bytes.len() >= V1_BYTES_MAX { Err(invalid("the header's line is too long")) } else { Ok(None) };
    };
    let line = looked_at.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| line.strip_prefix(V1_BEGIN)).ok_or(invalid("the header's line does not end with CR LF"))?;
    Ok(Some(ProxyHeader { length: end + 1, client: told_by_line(line)? }))
}

/// What the line of version 1 tells behind its first word.
fn told_by_line(line: &[u8]) -> Result<Option<SocketAddr>, WireError> {
    let text = std::str::from_utf8(line).map_err(|_| invalid("the header's line has odd bytes"))?;
    let mut words = text.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // What follows is to be ignored by whoever reads it, but it is still a line of text.
        let is_text = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
        return if is_text { Ok(None) } else { Err(invalid("the header's line has odd bytes")) };
    }
    let parts = [(); 4].map(|()| words.next().unwrap_or_default());
    let [source, destination, source_port, destination_port] = parts;
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let told = (address(source), address(destination), port(source_port), port(destination_port), words.next());
    let (Some(source), Some(_), Some(port), Some(_), None) = told else {
        return Err(invalid("the header's line does not tell two addresses and ports of one family"));
    };
    client(source, port).map(Some)
}

/// A port in decimal, with no sign and no needless zero.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// A client's address, unless it is one that nobody connects from.
fn client(address: IpAddr, port: u16) -> Result<SocketAddr, WireError> {
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(invalid("the header tells an address that no client has"));
    }
    Ok(SocketAddr::new(address, port))
}

/// What the family of version 2 says about the addresses that follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Ipv4,
    Ipv6,
    Unix,
}

impl Family {
    /// Streams only: what comes here is a TCP connection.
    fn of(byte: u8) -> Option<Self> {
        match byte {
            0x00 => Some(Self::Unspecified),
            0x11 => Some(Self::Ipv4),
            0x21 => Some(Self::Ipv6),
            0x31 => Some(Self::Unix),
            _ => None,
        }
    }

    fn address_bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Ipv4 => 12,
            Self::Ipv6 => 36,
            Self::Unix => 216,
        }
    }
}

fn version_2(bytes: &[u8]) -> Result<Option<ProxyHeader>, WireError> {
    let Some(&[version_and_command, family, high, low]) = bytes.get(V2_BEGIN.len()..V2_FIXED_BYTES) else { return Ok(None) };
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(invalid("the header has another version or command")),
    };
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(invalid("the header announces more bytes than allowed"));
    }
    let family = Family::of(family);
    if family.is_none() && !is_local {
        return Err(invalid("the header's family is not one of streams"));
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let told = match family {
        Some(family) => told_by_block(header, family)?,
        // Of a balancer's own connection the family and all that follows is to be ignored.
        None => None,
    };
    Ok(Some(ProxyHeader { length, client: if is_local { None } else { told } }))
}

/// What a whole header of version 2 tells: its address, behind which extensions fill the rest exactly.
fn told_by_block(header: &[u8], family: Family) -> Result<Option<SocketAddr>, WireError> {
    let block = header.get(V2_FIXED_BYTES..).unwrap_or_default();
    let Some((addresses, extensions)) = block.split_at_checked(family.address_bytes()) else {
        return Err(invalid("the header announces fewer bytes than its addresses have"));
    };
    check_extensions(header, header.len() - extensions.len())?;
    match family {
        Family::Ipv4 => {
            let (Some(source), Some(port)) = (addresses.first_chunk::<4>(), number(addresses, 8)) else { return Ok(None) };
            client(IpAddr::from(*source), port).map(Some)
        }
        Family::Ipv6 => {
            let (Some(source), Some(port)) = (addresses.first_chunk::<16>(), number(addresses, 32)) else { return Ok(None) };
            client(IpAddr::from(*source), port).map(Some)
        }
        Family::Unspecified | Family::Unix => Ok(None),
    }
}

/// A number of two bytes.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Walks over the extensions that begin at `at` and must end with the header; verifies the checksum if one is among them.
fn check_extensions(header: &[u8], mut at: usize) -> Result<(), WireError> {
    let mut has_sum = false;
    while at < header.len() {
        let kind = header.get(at).copied().unwrap_or_default();
        let length = number(header, at + 1).map(usize::from);
        let value_at = at + TLV_HEAD_BYTES;
        let value = length.and_then(|length| header.get(value_at..value_at + length));
        let Some(value) = value else { return Err(invalid("an extension of the header reaches beyond its end")) };
        if kind == TLV_CRC32C {
            let told = <[u8; 4]>::try_from(value).map_err(|_| invalid("the checksum of the header has not four bytes"))?;
            if has_sum || u32::from_be_bytes(told) != crc32c(header, value_at) {
                return Err(invalid("the checksum of the header is wrong"));
            }
            has_sum = true;
        }
        at = value_at + value.len();
    }
    Ok(())
}

/// The checksum CRC32c (RFC 4960 appendix B) of a header whose own four bytes of it, at `sum_at`, count as zeros.
fn crc32c(header: &[u8], sum_at: usize) -> u32 {
    let mut sum = u32::MAX;
    for (at, byte) in header.iter().enumerate() {
        sum ^= u32::from(if (sum_at..sum_at + 4).contains(&at) { 0 } else { *byte });
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn the_checksum_is_the_one_of_iscsi() {
        // RFC 3720 appendix B.4, with no byte left out.
        assert_eq!(crc32c(&[0; 32], 32), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32], 32), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789", 9), 0xe306_9283);
        assert_eq!(crc32c(b"12345abcd", 5), crc32c(b"12345\0\0\0\0", 9));
    }
}
