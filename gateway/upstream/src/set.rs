//! The endpoints that an upstream has at the moment.

use crate::balance::Balance;
use crate::endpoint::{Endpoint, EndpointSpec, EndpointState};
use crate::ring::Ring;
use crate::room::Room;
use crate::wheel::Wheel;
use std::sync::Arc;

/// The most endpoints an upstream may have.
pub const ENDPOINTS_MAX: usize = 1024;

/// The endpoints that an upstream has at the moment; immutable. When they change another set takes its place.
#[derive(Debug)]
pub struct EndpointSet {
    /// Counts the sets of an upstream.
    pub generation: u64,
    endpoints: Box<[Arc<Endpoint>]>,
    wheel: Wheel,
    ring: Option<Ring>,
}

/// What a set is made from besides its endpoints.
pub(crate) struct SetParts<'p> {
    pub(crate) balance: &'p Balance,
    pub(crate) before: Option<&'p EndpointSet>,
    pub(crate) room: &'p Arc<Room>,
    /// When new endpoints come, microseconds; 0 for the first set of an upstream.
    pub(crate) since: u64,
    pub(crate) next_id: &'p dyn Fn() -> u64,
}

impl EndpointSet {
    /// A set of these endpoints. Those that the set before has too are the same as before, with their state, numbers and connections.
    /// Beyond [`ENDPOINTS_MAX`] they are left out.
    pub(crate) fn build(generation: u64, specs: &[EndpointSpec], parts: &SetParts<'_>) -> Self {
        let known =
            |spec: &EndpointSpec| parts.before.into_iter().flat_map(|set| &set.endpoints).find(|endpoint| endpoint.is_of(spec));
        let endpoint = |spec: &EndpointSpec| match known(spec) {
            Some(same) if same.weight == spec.weight => Arc::clone(same),
            known => Arc::new(Endpoint {
                address: spec.address,
                host: spec.host.clone(),
                tls: spec.tls.clone(),
                weight: spec.weight.max(1),
                id: known.map_or_else(parts.next_id, |same| same.id),
                state: known.map_or_else(|| Arc::new(EndpointState::coming(parts.since)), |same| Arc::clone(&same.state)),
                room: Arc::clone(parts.room),
            }),
        };
        let endpoints: Box<[Arc<Endpoint>]> = specs.iter().take(ENDPOINTS_MAX).map(endpoint).collect();
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let ring = matches!(parts.balance, Balance::ConsistentHash(_)).then(|| Ring::new(&endpoints));
        Self { generation, endpoints, wheel: Wheel::new(&weights), ring }
    }

    /// All endpoints, in the order they were given.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoint whose turn it is, by weight.
    pub(crate) fn by_turn(&self, turn: u64) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(self.wheel.at(turn)?)
    }

    /// The ring, if keys are hashed.
    pub(crate) fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn of_test(specs: &[EndpointSpec]) -> Self {
        let next = std::cell::Cell::new(0);
        let next_id = move || next.replace(next.get() + 1) + 1;
        let balance = Balance::ConsistentHash(crate::balance::HashKey::ClientIp);
        let parts = SetParts { balance: &balance, before: None, room: &Arc::default(), since: 0, next_id: &next_id };
        Self::build(1, specs, &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::{EndpointSet, SetParts};
    use crate::balance::Balance;
    use crate::endpoint::EndpointSpec;
    use std::cell::Cell;
    use std::sync::Arc;

    fn specs(addresses: &[&str]) -> Vec<EndpointSpec> {
        addresses.iter().map(|address| EndpointSpec::literal(address.parse().unwrap())).collect()
    }

    #[test]
    fn endpoints_that_stay_keep_their_state_and_number_and_new_ones_never_reuse_one() {
        let next = Cell::new(1);
        let next_id = || next.replace(next.get() + 1);
        let room = Arc::default();
        let build = |generation, addresses: &[&str], before: Option<&EndpointSet>| {
            let parts = SetParts { balance: &Balance::RoundRobin, before, room: &room, since: generation - 1, next_id: &next_id };
            EndpointSet::build(generation, &specs(addresses), &parts)
        };
        let first = build(1, &["127.0.0.1:1", "127.0.0.1:2"], None);
        let place = first.endpoints()[1].admit(9).unwrap();
        let second = build(2, &["127.0.0.1:2", "127.0.0.1:3"], Some(&first));
        let third = build(3, &["127.0.0.1:1", "127.0.0.1:2"], Some(&second));
        let ids = |set: &EndpointSet| set.endpoints().iter().map(|endpoint| endpoint.id).collect::<Vec<_>>();
        assert_eq!((ids(&first), ids(&second), ids(&third)), (vec![1, 2], vec![2, 3], vec![4, 2]));
        let since = |set: &EndpointSet| set.endpoints().iter().map(|endpoint| endpoint.state.back_since()).collect::<Vec<_>>();
        assert_eq!((since(&first), since(&second), since(&third)), (vec![0, 0], vec![0, 1], vec![2, 0]));
        assert_eq!(third.endpoints()[1].state.open_connections(), 1);
        drop(place);
        assert_eq!(third.endpoints()[1].state.open_connections(), 0);
    }
}
