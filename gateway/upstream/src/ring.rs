//! Consistent hashing: points on a ring. When an endpoint comes or goes, only the keys beside its own points move.

use crate::endpoint::Endpoint;
use std::fmt::Write;
use std::sync::Arc;

/// Points of an endpoint with the ordinary weight.
const POINTS: usize = 128;
/// Points of all endpoints together, about.
const POINTS_MAX: usize = 32_768;

/// The ring of one set of endpoints.
#[derive(Debug)]
pub(crate) struct Ring(Box<[(u32, u16)]>);

/// A hash that is the same in every process and version, so that several gateways send a key to the same endpoint (FNV-1a, then mixed).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let folded =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(folded)
}

/// Spreads a number over all bits.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

impl Ring {
    pub(crate) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let weight_min = endpoints.iter().map(|endpoint| endpoint.weight).min().unwrap_or(1).max(1) as usize;
        let points_each = POINTS.min(POINTS_MAX / endpoints.len().max(1)).max(8);
        let mut points = Vec::new();
        let mut name = String::new();
        for (at, endpoint) in endpoints.iter().enumerate() {
            name.clear();
            // INVARIANT: writing to a String does not fail.
            let _written = write!(name, "{}", endpoint.address);
            let base = hash(name.as_bytes());
            let count = (points_each * endpoint.weight as usize / weight_min).min(POINTS_MAX);
            let at = u16::try_from(at).unwrap_or(u16::MAX);
            points.extend((0..count as u64).map(|number| ((mix(base.wrapping_add(mix(number))) >> 32) as u32, at)));
        }
        points.sort_unstable();
        Self(points.into())
    }

    /// The endpoints' numbers in the order of the ring, beginning with the key's own. A number may come several times.
    pub(crate) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let key = (key >> 32) as u32;
        let begin = self.0.partition_point(|(point, _)| *point < key);
        let (before, after) = self.0.split_at(begin);
        after.iter().chain(before).map(|(_, at)| usize::from(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ring, hash};
    use crate::endpoint::EndpointSpec;
    use crate::set::EndpointSet;

    fn set(ports: impl Iterator<Item = u16>) -> EndpointSet {
        let specs: Vec<_> = ports.map(|port| EndpointSpec::literal(([10, 0, 0, 1], port).into())).collect();
        EndpointSet::of_test(&specs)
    }

    fn owners(set: &EndpointSet) -> Vec<u16> {
        let ring = Ring::new(set.endpoints());
        let owner = |key: u32| ring.walk(hash(&key.to_le_bytes())).next().unwrap();
        (0..20_000).map(|key| set.endpoints()[owner(key)].address.port()).collect()
    }

    #[test]
    fn keys_are_spread_and_few_move_when_an_endpoint_goes() {
        let (ten, nine) = (owners(&set(1..=10)), owners(&set(1..=9)));
        for port in 1..=10 {
            let share = ten.iter().filter(|owner| **owner == port).count();
            assert!((1200..2800).contains(&share), "{port}: {share}");
        }
        let moved = ten.iter().zip(&nine).filter(|(before, after)| before != after).count();
        assert_eq!(moved, ten.iter().filter(|owner| **owner == 10).count(), "only the keys of the endpoint that went move");
    }
}
