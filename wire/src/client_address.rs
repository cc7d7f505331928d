//! Who the client is, when proxies stand before us.

use crate::bytes::trim_ows;
use std::net::{IpAddr, SocketAddr};

/// How many entries are looked at.
const ENTRIES_MAX: usize = 64;

/// Walks the entries of X-Forwarded-For (its lines in the order they came) from the right, as long as each was written by a trusted
/// proxy, and gives the first address that is not one. An entry that is no address ends the walk at the last good one: what stands
/// left of it may be anybody's word.
pub fn client_address<'v>(
    peer: IpAddr,
    values: impl DoubleEndedIterator<Item = &'v [u8]>,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer.to_canonical();
    let entries = values.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    for entry in entries.take(ENTRIES_MAX) {
        if !trusted(client) {
            break;
        }
        match parse(trim_ows(entry)) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address, possibly with a port, IPv6 possibly in brackets.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::client_address;
    use std::net::IpAddr;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        client_address(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes()), trusted).to_string()
    }

    #[test]
    fn c63_what_an_untrusted_peer_says_is_ignored() {
        assert_eq!(client("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
    }

    #[test]
    fn the_walk_goes_from_the_right_through_trusted_proxies_only() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
    }

    #[test]
    fn c65_mapped_addresses_are_the_addresses_they_map() {
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn c61_lines_of_the_client_do_not_push_out_what_the_proxy_added() {
        let mut lines = vec!["6.6.6.6"; 90];
        lines.push("203.0.113.9");
        assert_eq!(client("10.0.0.1", &lines), "203.0.113.9");
        let one_line = format!("{}203.0.113.9", "6.6.6.6,".repeat(1000));
        assert_eq!(client("10.0.0.1", &[&one_line]), "203.0.113.9");
    }

    #[test]
    fn the_walk_is_bounded() {
        let lines = [["6.6.6.6"; 5000].join(","), ["10.0.0.3"; 70].join(","), "10.0.0.4".to_owned()];
        assert_eq!(client("10.0.0.1", &lines.each_ref().map(String::as_str)), "10.0.0.3");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, "]), "10.0.0.1");
    }
}
