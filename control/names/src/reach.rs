//! Where an answer of the DNS may lead.
//!
//! SECURITY: whoever answers for a name decides where the gateway connects to. Addresses that lead back into this machine, to its
//! neighbours without a router between, or to the services that clouds offer their machines are never taken from an answer, in
//! whatever form they are wrapped (threats F 141). Private networks are allowed: there upstreams live. An operator who writes such an
//! address itself has named it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Services that clouds offer their machines, often with credentials, at addresses that no rule below has.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// The same: fd00:ec2::/32 and fd20:ce::/32.
const METADATA_V6: [[u16; 2]; 2] = [[0xfd00, 0x0ec2], [0xfd20, 0x00ce]];

/// Why an answer of the DNS may not make this address reachable, in words; nothing when it may.
#[must_use]
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, ..] = address.octets();
    match first {
        0 => Some("an unspecified address"),
        127 => Some("a loopback address"),
        224..=239 => Some("a multicast address"),
        240..=255 => Some("a reserved address"),
        _ if address.is_link_local() => Some("a link-local address, where clouds keep metadata"),
        _ if METADATA_V4.contains(&address) => Some("an address where clouds keep metadata"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let [a, b, c, d, e, f, g, h] = segments;
    if address.is_unspecified() {
        return Some("an unspecified address");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    // fe80::/10, and fec0::/10, which was for sites (RFC 3879).
    if (0xfe80..=0xfeff).contains(&a) {
        return Some("a link-local address");
    }
    if METADATA_V6.contains(&[a, b]) {
        return Some("an address where clouds keep metadata");
    }
    let last = v4(g, h);
    match segments {
        // Mapped (RFC 4291 section 2.5.5.2), compatible (2.5.5.1), translated (RFC 2765), NAT64 (RFC 6052, RFC 8215).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => forbidden_v4(last),
        [0x64, 0xff9b, 1, ..] => Some("an address of a local translator"),
        // 6to4 (RFC 3056) and Teredo (RFC 4380): the address inside is where it ends.
        [0x2002, ..] => forbidden_v4(v4(b, c)),
        [0x2001, 0, ..] => forbidden_v4(v4(!g, !h)),
        // ISATAP (RFC 5214).
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => forbidden_v4(last),
        _ => {
            let _rest_is_not_looked_at = (d, e, f);
            None
        }
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::forbidden;

    #[test]
    fn f141_no_answer_leads_into_this_machine_or_to_metadata_however_it_is_wrapped() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "2001:db8::5efe:7f00:1",
            "::ffff:0.0.0.0",
        ] {
            assert!(forbidden(address.parse().unwrap()).is_some(), "{address}");
        }
    }

    #[test]
    fn upstreams_may_live_in_private_and_public_networks() {
        for address in [
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.2.2",
            "8.8.8.8",
            "fd00::2",
            "fd12:3456::1",
            "2001:db8::1",
            "2606:4700::1",
            "::ffff:10.0.0.1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), None, "{address}");
        }
    }
}
