//! The endpoints that an upstream has at the moment.

use crate::endpoint::{Endpoint, EndpointSpec};
use crate::upstream::Origin;
use std::sync::Arc;

/// The endpoints that an upstream has at the moment; immutable. When they change another set takes its place.
#[derive(Debug)]
pub struct EndpointSet {
    /// Counts the sets of an upstream.
    pub generation: u64,
    endpoints: Box<[Arc<Endpoint>]>,
}

impl EndpointSet {
    /// A set of these endpoints. Those that `before` has too are the same as before, with their state, numbers and connections.
    pub(crate) fn build(generation: u64, specs: &[EndpointSpec], before: Option<&Self>, origin: &Origin) -> Self {
        let known = |spec: &EndpointSpec| before.into_iter().flat_map(|set| &set.endpoints).find(|endpoint| endpoint.is_of(spec));
        let endpoint = |spec: &EndpointSpec| match known(spec) {
            Some(same) if same.weight == spec.weight => Arc::clone(same),
            known => Arc::new(Endpoint {
                address: spec.address,
                host: spec.host.clone(),
                tls: spec.tls.clone(),
                weight: spec.weight.max(1),
                id: known.map_or_else(|| origin.next_id(), |same| same.id),
                state: known.map_or_else(Arc::default, |same| Arc::clone(&same.state)),
            }),
        };
        Self { generation, endpoints: specs.iter().map(endpoint).collect() }
    }

    /// All endpoints, in the order they were given.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoints, beginning with the one whose turn it is by `turn`.
    pub(crate) fn turn_from(&self, turn: usize) -> impl Iterator<Item = &Arc<Endpoint>> {
        let len = self.endpoints.len().max(1);
        self.endpoints.iter().cycle().skip(turn % len).take(self.endpoints.len())
    }
}

#[cfg(test)]
mod tests {
    use super::EndpointSet;
    use crate::endpoint::EndpointSpec;
    use crate::upstream::Origin;

    fn specs(addresses: &[&str]) -> Vec<EndpointSpec> {
        addresses.iter().map(|address| EndpointSpec::literal(address.parse().unwrap())).collect()
    }

    #[test]
    fn turns_go_round_and_name_every_endpoint_once() {
        let set = EndpointSet::build(1, &specs(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]), None, &Origin::default());
        let ids = |turn| set.turn_from(turn).map(|endpoint| endpoint.id).collect::<Vec<_>>();
        assert_eq!((ids(0), ids(1), ids(5)), (vec![1, 2, 3], vec![2, 3, 1], vec![3, 1, 2]));
    }

    #[test]
    fn endpoints_that_stay_keep_their_state_and_number_and_new_ones_never_reuse_one() {
        let origin = Origin::default();
        let first = EndpointSet::build(1, &specs(&["127.0.0.1:1", "127.0.0.1:2"]), None, &origin);
        let place = first.endpoints()[1].admit(9).unwrap();
        let second = EndpointSet::build(2, &specs(&["127.0.0.1:2", "127.0.0.1:3"]), Some(&first), &origin);
        let third = EndpointSet::build(3, &specs(&["127.0.0.1:1", "127.0.0.1:2"]), Some(&second), &origin);
        let ids = |set: &EndpointSet| set.endpoints().iter().map(|endpoint| endpoint.id).collect::<Vec<_>>();
        assert_eq!((ids(&first), ids(&second), ids(&third)), (vec![1, 2], vec![2, 3], vec![4, 2]));
        assert_eq!(third.endpoints()[1].state.open_connections(), 1);
        drop(place);
        assert_eq!(third.endpoints()[1].state.open_connections(), 0);
    }
}
