//! The PROXY protocol: what is a header, how long it is, and what it tells.

use portcullis_model::Reason;
use portcullis_wire::{PROXY_HEADER_BYTES_MAX, ProxyHeader, parse_proxy_header};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::{prop_assert, prop_assert_eq};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// 203.0.113.9:56324 to 10.0.0.1:443.
const IPV4: [u8; 12] = [203, 0, 113, 9, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
/// The checksum of a header with these addresses and nothing but a checksum, by a table-driven reading of RFC 4960.
const CHECKSUM: [u8; 4] = [0x57, 0x13, 0xd3, 0xfc];

fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// What a header tells, if it is one; whole, and at every cut "more".
fn told(header: &[u8]) -> Result<Option<String>, &'static str> {
    for end in 0..header.len() {
        match parse_proxy_header(&header[..end]) {
            Ok(None) => {}
            Ok(Some(found)) => panic!("{found:?} after {end} of {} bytes", header.len()),
            Err(error) => return Err(error.detail),
        }
    }
    let follows = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
    match parse_proxy_header(&follows) {
        Ok(Some(ProxyHeader { length, client })) => {
            assert_eq!(length, header.len(), "a header of another length");
            Ok(client.map(|client| client.to_string()))
        }
        Ok(None) => Err("more"),
        Err(error) => {
            assert_eq!(error.reason, Reason::ProxyHeaderInvalid);
            Err(error.detail)
        }
    }
}

#[test]
fn version_1_tells_the_client() {
    for (line, client) in [
        ("PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n", Some("203.0.113.9:56324")),
        ("PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n", Some("[2001:db8::9]:56324")),
        ("PROXY TCP6 ::ffff:203.0.113.9 ::1 1 65535\r\n", Some("203.0.113.9:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    ] {
        assert_eq!(told(line.as_bytes()), Ok(client.map(str::to_owned)), "{line}");
    }
}

#[test]
fn lines_that_are_not_exactly_version_1_are_refused() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 203.0.113.9 10.0.0.1 56324 443\r\n",
        "PROXY  TCP4 203.0.113.9 10.0.0.1 56324 443\r\n",
        "PROXY TCP4 203.0.113.9  10.0.0.1 56324 443\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443 \r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443 1\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 56324\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 56324 65536\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 +1 443\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 01 443\r\n",
        "PROXY TCP4 203.0.113.09 10.0.0.1 1 443\r\n",
        "PROXY TCP4 203.0.113.9.1 10.0.0.1 1 443\r\n",
        "PROXY TCP4 2001:db8::9 2001:db8::1 1 443\r\n",
        "PROXY TCP6 203.0.113.9 10.0.0.1 1 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        "PROXY TCP5 203.0.113.9 10.0.0.1 1 443\r\n",
        "PROXY UDP4 203.0.113.9 10.0.0.1 1 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN \x01\r\n",
        "PROXY UNKNOWN \u{e9}\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "PROXY TCP4 0.0.0.0 10.0.0.1 1 443\r\n",
        "PROXY TCP4 224.0.0.1 10.0.0.1 1 443\r\n",
        "PROXY TCP4 255.255.255.255 10.0.0.1 1 443\r\n",
        "PROXY TCP6 ff02::1 ::1 1 443\r\n",
    ] {
        assert!(told(line.as_bytes()).is_err_and(|detail| detail != "more"), "{line:?}");
    }
}

#[test]
fn a_line_of_version_1_ends_within_107_bytes() {
    let just = format!("PROXY UNKNOWN{}\r\n", " ".repeat(92));
    assert_eq!((just.len(), told(just.as_bytes())), (107, Ok(None)));
    let long = format!("PROXY UNKNOWN{}\r\n", " ".repeat(93));
    assert!(told(long.as_bytes()).is_err());
    // Refused as soon as it cannot end any more, not when it ends.
    assert!(parse_proxy_header(&long.as_bytes()[..106]).is_ok_and(|found| found.is_none()));
    assert!(parse_proxy_header(&long.as_bytes()[..107]).is_err());
}

#[test]
fn version_2_tells_the_client() {
    let mut ipv6 = [0_u8; 36];
    ipv6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    ipv6[15] = 9;
    ipv6[32..].copy_from_slice(&[0xdc, 4, 1, 0xbb]);
    for (header, client) in [
        (version_2(0x21, 0x11, &IPV4), Some("203.0.113.9:56324")),
        (version_2(0x21, 0x21, &ipv6), Some("[2001:db8::9]:56324")),
        (version_2(0x21, 0x31, &[b'/'; 216]), None),
        (version_2(0x21, 0x00, b""), None),
        (version_2(0x20, 0x00, b""), None),
        (version_2(0x20, 0x11, &IPV4), None),
        // Of the balancer's own connection the family does not matter.
        (version_2(0x20, 0x47, &[7; 30]), None),
    ] {
        assert_eq!(told(&header), Ok(client.map(str::to_owned)), "{header:?}");
    }
}

#[test]
fn headers_that_are_not_exactly_version_2_are_refused() {
    for (what, header) in [
        ("version 1 in the form of version 2", version_2(0x11, 0x11, &IPV4)),
        ("version 3", version_2(0x31, 0x11, &IPV4)),
        ("an unknown command", version_2(0x22, 0x11, &IPV4)),
        ("datagrams", version_2(0x21, 0x12, &IPV4)),
        ("an unknown family", version_2(0x21, 0x41, &IPV4)),
        ("no transport", version_2(0x21, 0x10, &IPV4)),
        ("too short for its addresses", version_2(0x21, 0x11, &IPV4[..11])),
        ("too short for its addresses, IPv6", version_2(0x21, 0x21, &IPV4)),
        ("an address of nobody", version_2(0x21, 0x11, &[0; 12])),
        ("more than allowed", version_2(0x21, 0x00, &vec![0; PROXY_HEADER_BYTES_MAX - 15])),
        ("another signature", [b"\r\n\r\n\0\r\nQUIT\r".as_slice(), &[0x21, 0, 0, 0]].concat()),
    ] {
        assert!(told(&header).is_err_and(|detail| detail != "more"), "{what}");
    }
    // Refused by what it announces, before any of it is waited for.
    let announced = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert!(parse_proxy_header(&announced).is_err());
}

#[test]
fn a35_extensions_are_passed_over_exactly() {
    for extensions in [
        tlv(0x04, &[0; 9]),
        tlv(0x04, b""),
        [tlv(0x01, b"h2"), tlv(0x02, b"a.test"), tlv(0x20, &[1; 40]), tlv(0xea, &[0xff; 300])].concat(),
        tlv(0x04, &vec![0; PROXY_HEADER_BYTES_MAX - 16 - 12 - 3]),
    ] {
        let header = version_2(0x21, 0x11, &[&IPV4[..], &extensions].concat());
        assert_eq!(told(&header), Ok(Some("203.0.113.9:56324".to_owned())));
    }
    for extensions in [&[4_u8][..], &[4, 0], &[4, 0, 1], &[4, 0xff, 0xff, 1], &[4, 0, 0, 4], &[4, 0, 2, 0, 0, 9]] {
        let header = version_2(0x21, 0x11, &[&IPV4[..], extensions].concat());
        assert!(told(&header).is_err(), "{extensions:?}");
    }
}

#[test]
fn a_checksum_is_verified_when_there_is_one() {
    let with = |sum: [u8; 4]| version_2(0x21, 0x11, &[&IPV4[..], &tlv(3, &sum)].concat());
    let right = with(CHECKSUM);
    assert_eq!(told(&right), Ok(Some("203.0.113.9:56324".to_owned())));
    // All but the byte that says that it is a checksum.
    for at in (SIGNATURE.len() + 4..right.len()).filter(|at| *at != right.len() - 7) {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        assert!(told(&wrong).is_err(), "byte {at}");
    }
    let twice = version_2(0x21, 0x11, &[&IPV4[..], &tlv(3, &CHECKSUM), &tlv(3, &CHECKSUM)].concat());
    assert!(told(&twice).is_err());
    assert!(told(&version_2(0x21, 0x11, &[&IPV4[..], &tlv(3, &[0; 5])].concat())).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// However much has come, what is found is found with the same length and meaning, and nothing behind it changes that.
    #[test]
    fn what_is_found_does_not_depend_on_what_follows(
        command in 0x20_u8..0x22,
        family in any::<u8>(),
        block in vec(any::<u8>(), 0..400),
        more in vec(any::<u8>(), 0..64),
    ) {
        let header = version_2(command, family, &block);
        let whole = parse_proxy_header(&header);
        prop_assert_eq!(whole, parse_proxy_header(&[&header[..], &more].concat()));
        if let Ok(found) = whole {
            prop_assert_eq!(found.map(|found| found.length), Some(header.len()));
        }
    }

    /// Whatever comes is told from a header within the bound.
    #[test]
    fn nothing_is_waited_for_beyond_the_bound(begin in 0_usize..3, rest in vec(any::<u8>(), 0..600)) {
        let begin = [SIGNATURE, b"PROXY ", b""][begin];
        let bytes = [begin, &rest].concat();
        match parse_proxy_header(&bytes) {
            Ok(Some(found)) => prop_assert!(found.length <= bytes.len() && found.length <= PROXY_HEADER_BYTES_MAX),
            Ok(None) => prop_assert!(bytes.len() < PROXY_HEADER_BYTES_MAX),
            Err(error) => prop_assert_eq!(error.reason, Reason::ProxyHeaderInvalid),
        }
    }
}
