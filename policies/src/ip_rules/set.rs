//! A set of addresses: looked up in tens of nanoseconds, however many networks it was made of.
//!
//! Networks become ranges, which are sorted and joined where they meet. What is kept is the sorted list of places at which the set begins
//! or ends: an address is in the set if the number of such places up to it is odd. Beside that list stands where in it the parts begin into
//! which the space between its ends is cut evenly, a few places for each: a look-up reads one entry there and a few places here. Where places
//! crowd together a part has many, and is searched by halves: that takes longer, and no longer than searching the whole list so would.
//!
//! Single IPv6 addresses, which would be two places of 16 bytes each, lie in a [table](super::singles) instead.

use super::singles::Singles;
use ipnet::IpNet;
use std::net::IpAddr;

/// How many places a part has on average.
const PART: usize = 2;
/// Parts with more places are searched by halves.
const COUNTED_MAX: usize = 32;

/// A number that addresses are compared as.
trait Place: Copy + Ord {
    fn next(self) -> Option<Self>;

    /// How many bits the distance from `first`, which is not behind it, has.
    fn bits_from(self, first: Self) -> u32;

    /// In which part it lies, when each has `1 << shift` numbers and the first begins at `first`.
    fn part(self, first: Self, shift: u32) -> usize;
}

macro_rules! places {
    ($($number:ty),*) => { $(impl Place for $number {
        fn next(self) -> Option<Self> {
            self.checked_add(1)
        }

        fn bits_from(self, first: Self) -> u32 {
            <$number>::BITS - self.saturating_sub(first).leading_zeros()
        }

        fn part(self, first: Self, shift: u32) -> usize {
            self.saturating_sub(first).checked_shr(shift).map_or(0, |part| part as usize)
        }
    })* };
}
places!(u32, u64, u128);

/// Where a set begins and ends.
#[derive(Debug)]
struct Ranges<P> {
    places: Box<[P]>,
    /// For each part the number of places before it, and at the end the number of all.
    parts: Box<[u32]>,
    shift: u32,
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
        Self::cut(places)
    }

    /// Cuts the space between the first and the last place into parts.
    fn cut(places: Vec<P>) -> Self {
        let (Some(first), Some(last)) = (places.first().copied(), places.last().copied()) else {
            return Self { places: Box::default(), parts: Box::default(), shift: 0 };
        };
        let shift = last.bits_from(first).saturating_sub((places.len() / PART).max(1).ilog2());
        let mut parts = vec![0_u32; last.part(first, shift) + 2];
        for place in &places {
            if let Some(count) = parts.get_mut(place.part(first, shift) + 1) {
                *count += 1;
            }
        }
        let mut before = 0;
        for count in &mut parts {
            before += *count;
            *count = before;
        }
        Self { places: places.into_boxed_slice(), parts: parts.into_boxed_slice(), shift }
    }

    fn contains(&self, address: P) -> bool {
        let Some(first) = self.places.first().copied().filter(|first| *first <= address) else { return false };
        let part = address.part(first, self.shift);
        let Some([begin, end]) = self.parts.get(part..).and_then(|parts| parts.first_chunk::<2>()) else {
            // Behind the last place.
            return !self.places.len().is_multiple_of(2);
        };
        let (begin, end) = (*begin as usize, *end as usize);
        let within = self.places.get(begin..end).unwrap_or_default();
        let up_to = if within.len() > COUNTED_MAX {
            within.partition_point(|place| *place <= address)
        } else {
            within.iter().map(|place| usize::from(*place <= address)).sum()
        };
        !(begin + up_to).is_multiple_of(2)
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.places) + size_of_val(&*self.parts)
    }
}

/// A set of IPv4 and IPv6 addresses.
#[derive(Debug)]
pub struct AddressSet {
    v4: Ranges<u32>,
    /// IPv6 networks of at most 64 bits, by those bits: nearly all that lists have, in half the memory.
    v6_networks: Ranges<u64>,
    /// Addresses.
    v6_singles: Singles,
    /// Addresses that found no place there.
    v6_left: Ranges<u128>,
    /// Networks in between.
    v6_parts: Ranges<u128>,
}

/// Where IPv4 addresses lie in IPv6: `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff << 32;

impl AddressSet {
    /// The addresses of these networks. A network inside `::ffff:0:0/96` is the IPv4 network; a larger IPv6 network has no IPv4 addresses.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6_networks, mut v6_parts, mut addresses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((u32::from(network.network()), u32::from(network.broadcast()))),
                IpNet::V6(network) => {
                    let (first, last) = (u128::from(network.network()), u128::from(network.broadcast()));
                    if network.prefix_len() >= 96 && first >> 32 == MAPPED >> 32 {
                        v4.push((first as u32, last as u32));
                    } else if network.prefix_len() <= 64 {
                        v6_networks.push(((first >> 64) as u64, (last >> 64) as u64));
                    } else if first == last {
                        addresses.push(first);
                    } else {
                        v6_parts.push((first, last));
                    }
                }
            }
        }
        let (v6_singles, left) = Singles::build(&addresses);
        Self {
            v4: Ranges::build(v4),
            v6_networks: Ranges::build(v6_networks),
            v6_singles,
            v6_left: Ranges::build(left.into_iter().map(|address| (address, address)).collect()),
            v6_parts: Ranges::build(v6_parts),
        }
    }

    /// Whether an address is in the set; an IPv4 address written as IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(u32::from(address)),
            IpAddr::V6(address) => {
                let number = u128::from(address);
                self.v6_networks.contains((number >> 64) as u64) || self.has_single(number) || self.v6_parts.contains(number)
            }
        }
    }

    fn has_single(&self, address: u128) -> bool {
        self.v6_singles.contains(address).unwrap_or_else(|| self.v6_left.contains(address))
    }

    /// The memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6_networks.bytes() + self.v6_singles.bytes() + self.v6_left.bytes() + self.v6_parts.bytes()
    }
}
