//! What lists of 1,000,000 networks cost: `cargo run --release -p portcullis-policies --example address_lookup`.
//!
//! For IPv4, IPv6 networks and single IPv6 addresses: reading the text of the list, the memory of what is kept, and nanoseconds a look-up,
//! of addresses on the list and random ones by turns, in an order that caches cannot guess. Told is the time that half of the rounds
//! stay below.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints, and takes real time")]

use portcullis_gateway_policy::LiveFile;
use portcullis_policies::ip_rules::{AddressSet, LIST};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

const NETWORKS: usize = 1_000_000;
/// Look-ups in a round, and rounds.
const LOOKUPS: usize = 100_000;
const ROUNDS: usize = 51;

fn main() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    measure("IPv4 /32", "", || IpAddr::V4(Ipv4Addr::from(random() as u32)));
    measure("IPv6 /48", "/48", || IpAddr::V6(Ipv6Addr::from(u128::from(0x2000_0000_0000_0000 | random() >> 3 & !0xffff) << 64)));
    measure("IPv6 /128", "", || {
        IpAddr::V6(Ipv6Addr::from(u128::from(0x2000_0000_0000_0000 | random() >> 3) << 64 | u128::from(random())))
    });
}

fn measure(what: &str, prefix: &str, mut next: impl FnMut() -> IpAddr) {
    let addresses: Vec<IpAddr> = (0..NETWORKS).map(|_| next()).collect();
    let mut text = String::new();
    for address in &addresses {
        let written = writeln!(text, "{address}{prefix}");
        assert!(written.is_ok(), "text can be written");
    }
    let begin = Instant::now();
    let content = (LIST.read)(text.as_bytes()).unwrap_or_else(|problems| {
        println!("{problems:?}");
        std::process::exit(1);
    });
    let read = begin.elapsed();
    let file = LiveFile::new(content);
    let bytes = file.look(AddressSet::bytes).unwrap_or_default();
    // Every other one is on the list; the list is passed in steps that skip what was loaded with the one before.
    let asked: Vec<IpAddr> = (0..LOOKUPS)
        .map(
            |turn| if turn % 2 == 0 { next() } else { addresses.get(turn * 611_953 % NETWORKS).copied().unwrap_or_else(&mut next) },
        )
        .collect();
    let (mut rounds, mut found) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for address in &asked {
            found += usize::from(file.look(|set: &AddressSet| set.contains(*address)) == Some(true));
        }
        rounds.push(begin.elapsed().as_nanos() / LOOKUPS as u128);
    }
    rounds.sort_unstable();
    let (least, median) = (rounds.first().copied().unwrap_or_default(), rounds.get(ROUNDS / 2).copied().unwrap_or_default());
    let kib = bytes / 1024;
    println!("{NETWORKS} {what}: read in {read:.0?}, {kib} KiB, {median} ns a look-up (least {least}), {found} found");
}
