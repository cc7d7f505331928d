//! Single IPv6 addresses, looked up with one line of memory.
//!
//! They lie in lines of four, which the processor fetches as one. Which line an address belongs to is told by a hash with a secret that is made
//! for each set, so that nobody can write a list whose addresses crowd together. Where that line is full an address lies in a second one,
//! and where both are full it is not kept here: a look-up reads two lines at most.

use std::hash::{BuildHasher, RandomState};

/// Addresses in a line, and how many a line has on average.
const LINE: usize = 4;
const FILLED: usize = 2;

/// A line of memory. What is 0 is free.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([u128; LINE]);

impl Line {
    fn is_full(&self) -> bool {
        self.0.last() != Some(&0)
    }

    fn has(&self, address: u128) -> bool {
        // All are compared: that is no branch, which could not be foretold.
        self.0.iter().fold(false, |found, kept| found | (*kept == address))
    }
}

/// A set of addresses, without `::`.
#[derive(Debug)]
pub(super) struct Singles {
    lines: Box<[Line]>,
    secret: (u64, u64),
}

impl Singles {
    /// Keeps these addresses; gives those that find no place, and `::`.
    pub(super) fn build(addresses: &[u128]) -> (Self, Vec<u128>) {
        let lines = vec![Line::default(); addresses.len().div_ceil(FILLED)].into_boxed_slice();
        let random = RandomState::new();
        let mut singles = Self { lines, secret: (random.hash_one(0), random.hash_one(1)) };
        let left = addresses.iter().copied().filter(|address| !singles.keep(*address)).collect();
        (singles, left)
    }

    fn keep(&mut self, address: u128) -> bool {
        if address == 0 {
            return false;
        }
        for place in self.places(address) {
            let Some(line) = self.lines.get_mut(place) else { return false };
            if let Some(free) = line.0.iter_mut().find(|kept| [0, address].contains(kept)) {
                *free = address;
                return true;
            }
        }
        false
    }

    /// Whether it is there; none if it is not, and might have been among those that found no place.
    pub(super) fn contains(&self, address: u128) -> Option<bool> {
        for place in self.places(address) {
            let line = self.lines.get(place)?;
            if address != 0 && line.has(address) {
                return Some(true);
            }
            if address != 0 && !line.is_full() {
                return Some(false);
            }
        }
        None
    }

    /// The lines that an address may lie in, the first one first.
    fn places(&self, address: u128) -> [usize; 2] {
        let (high, low) = ((address >> 64) as u64 ^ self.secret.0, address as u64 ^ self.secret.1);
        let product = u128::from(high) * u128::from(low);
        let hash = (product >> 64) as u64 ^ product as u64;
        let place = |hash: u64| ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize;
        [place(hash), place(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ high)]
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE, Line, Singles};

    #[test]
    fn what_finds_no_place_is_given_back_and_the_rest_is_found() {
        let addresses: Vec<u128> = (1..=100_000).map(|number| (number << 64) | (number % 7)).chain([0]).collect();
        let (singles, left) = Singles::build(&addresses);
        assert!(left.contains(&0) && left.len() < 5_000, "{} left", left.len());
        for address in &addresses {
            let expected = if left.contains(address) { None } else { Some(true) };
            assert_eq!(singles.contains(*address), expected, "{address}");
            assert_ne!(singles.contains(*address | 1 << 120), Some(true));
        }
        assert_eq!((singles.contains(0), size_of::<Line>()), (None, 16 * LINE));
        let (none, _) = Singles::build(&[]);
        assert_eq!(none.contains(1), None);
    }
}
