//! A set of addresses: looked up in tens of nanoseconds, however many networks it was made of.
//!
//! Networks become ranges, which are sorted and joined where they meet. What is kept is the sorted list of places at which the set begins
//! or ends: an address is in the set if the number of such places up to it is odd. Over that list lie coarser ones, each with every 16th
//! place of the one below, so that a look-up reads one or two cache lines of each.

use ipnet::IpNet;
use std::net::IpAddr;

/// How many places one place of the list above stands for.
const FANOUT: usize = 16;

/// A number that addresses are compared as.
trait Place: Copy + Ord {
    fn next(self) -> Option<Self>;
}

macro_rules! places {
    ($($number:ty),*) => { $(impl Place for $number {
        fn next(self) -> Option<Self> {
            self.checked_add(1)
        }
    })* };
}
places!(u32, u64, u128);

/// Where a set begins and ends, the coarsest list last.
#[derive(Debug)]
struct Ranges<P> {
    lists: Vec<Box<[P]>>,
}

impl<P: Place> Ranges<P> {
    /// From ranges with both ends in them.
    fn build(mut ranges: Vec<(P, P)>) -> Self {
        ranges.sort_unstable();
        let mut places: Vec<P> = Vec::new();
        let mut open: Option<(P, P)> = None;
        for (first, last) in ranges {
            open = Some(match open {
                Some((begin, end)) if end.next().is_none_or(|behind| first <= behind) => (begin, end.max(last)),
                Some((begin, end)) => {
                    places.extend([Some(begin), end.next()].into_iter().flatten());
                    (first, last)
                }
                None => (first, last),
            });
        }
        if let Some((begin, end)) = open {
            places.extend([Some(begin), end.next()].into_iter().flatten());
        }
        let mut lists = vec![places.into_boxed_slice()];
        while let Some(finest) = lists.last().filter(|list| list.len() > FANOUT) {
            let coarser = finest.iter().step_by(FANOUT).copied().collect();
            lists.push(coarser);
        }
        Self { lists }
    }

    fn contains(&self, address: P) -> bool {
        let mut last = 0;
        for list in self.lists.iter().rev() {
            let start = last * FANOUT;
            let part = list.get(start..(start + FANOUT).min(list.len())).unwrap_or_default();
            let up_to = part.iter().filter(|place| **place <= address).count();
            // Below the first place of all.
            let Some(within) = up_to.checked_sub(1) else { return false };
            last = start + within;
        }
        last.is_multiple_of(2)
    }

    fn bytes(&self) -> usize {
        self.lists.iter().map(|list| size_of_val(&**list)).sum()
    }
}

/// A set of IPv4 and IPv6 addresses.
#[derive(Debug)]
pub struct AddressSet {
    v4: Ranges<u32>,
    /// IPv6 networks of at most 64 bits, by those bits: nearly all that lists have, in half the memory.
    v6_networks: Ranges<u64>,
    /// Longer ones.
    v6_parts: Ranges<u128>,
}

/// Where IPv4 addresses lie in IPv6: `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff << 32;

impl AddressSet {
    /// The addresses of these networks. A network inside `::ffff:0:0/96` is the IPv4 network; a larger IPv6 network has no IPv4 addresses.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6_networks, mut v6_parts) = (Vec::new(), Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((u32::from(network.network()), u32::from(network.broadcast()))),
                IpNet::V6(network) => {
                    let (first, last) = (u128::from(network.network()), u128::from(network.broadcast()));
                    if network.prefix_len() >= 96 && first >> 32 == MAPPED >> 32 {
                        v4.push((first as u32, last as u32));
                    } else if network.prefix_len() <= 64 {
                        v6_networks.push(((first >> 64) as u64, (last >> 64) as u64));
                    } else {
                        v6_parts.push((first, last));
                    }
                }
            }
        }
        Self { v4: Ranges::build(v4), v6_networks: Ranges::build(v6_networks), v6_parts: Ranges::build(v6_parts) }
    }

    /// Whether an address is in the set; an IPv4 address written as IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(u32::from(address)),
            IpAddr::V6(address) => {
                let number = u128::from(address);
                self.v6_networks.contains((number >> 64) as u64) || self.v6_parts.contains(number)
            }
        }
    }

    /// The memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6_networks.bytes() + self.v6_parts.bytes()
    }
}
