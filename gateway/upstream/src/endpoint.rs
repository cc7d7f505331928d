//! A named upstream and its endpoints.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long each part of an exchange with the upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection is there.
    pub connect: Duration,
    /// From the end of the request until the first byte of the response.
    pub first_byte: Duration,
    /// Between two pieces of the response.
    pub idle: Duration,
    /// For the whole exchange, if bounded; upgraded connections are not counted.
    pub total: Option<Duration>,
    /// Without a byte in either direction on an upgraded connection.
    pub upgraded_idle: Duration,
}

/// What is configured for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Addresses, literal in the configuration.
    pub endpoints: Vec<SocketAddr>,
    /// Times.
    pub timeouts: Timeouts,
    /// Connections in all, by all workers.
    pub connections_max: u32,
    /// Unused connections that a worker keeps for an endpoint.
    pub idle_per_worker: usize,
    /// How long an unused connection is kept.
    pub pooled_idle: Duration,
    /// When a `danger_plaintext` of this upstream ends, in Unix seconds.
    pub plaintext_expires: Option<u64>,
}

/// Counts of one endpoint, shared by all workers; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    open: AtomicU32,
}

/// One address of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    /// Distinguishes endpoints in a worker's pools, also across reloads.
    pub id: u64,
}

/// A named upstream. Lives as long as its settings do not change, also across reloads, and so do the workers' pools for it.
#[derive(Debug)]
pub struct Upstream {
    /// What is configured.
    pub settings: UpstreamSettings,
    endpoints: Vec<Endpoint>,
    counts: Arc<Counts>,
}

/// Holds one place among the upstream's connections; gives it back when dropped.
#[derive(Debug)]
pub struct EndpointUse(Arc<Counts>);

impl Drop for EndpointUse {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    /// An upstream; `first_id` and the numbers after it name its endpoints and must not have been used before in this process.
    #[must_use]
    pub fn new(settings: UpstreamSettings, first_id: u64) -> Self {
        let endpoints = (first_id..).zip(&settings.endpoints).map(|(id, address)| Endpoint { address: *address, id }).collect();
        Self { settings, endpoints, counts: Arc::default() }
    }

    /// The endpoints, beginning with the one whose turn it is by `turn`.
    pub fn endpoints_from(&self, turn: usize) -> impl Iterator<Item = &Endpoint> {
        let len = self.endpoints.len().max(1);
        self.endpoints.iter().cycle().skip(turn % len).take(self.endpoints.len())
    }

    /// All endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// A place for one more connection, if the limit allows it.
    #[must_use]
    pub fn admit(&self) -> Option<EndpointUse> {
        let limit = self.settings.connections_max;
        let admitted =
            self.counts.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < limit).then_some(open + 1));
        admitted.is_ok().then(|| EndpointUse(Arc::clone(&self.counts)))
    }

    /// How many connections are open, by all workers.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.counts.open.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Timeouts, Upstream, UpstreamSettings};
    use std::time::Duration;

    fn upstream(addresses: &[&str], connections_max: u32) -> Upstream {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, first_byte: second, idle: second, total: None, upgraded_idle: second };
        let endpoints = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let settings = UpstreamSettings {
            name: "u".into(),
            endpoints,
            timeouts,
            connections_max,
            idle_per_worker: 4,
            pooled_idle: second,
            plaintext_expires: None,
        };
        Upstream::new(settings, 7)
    }

    #[test]
    fn turns_go_round_and_name_every_endpoint_once() {
        let upstream = upstream(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], 8);
        let ids = |turn| upstream.endpoints_from(turn).map(|e| e.id).collect::<Vec<_>>();
        assert_eq!((ids(0), ids(1), ids(5)), (vec![7, 8, 9], vec![8, 9, 7], vec![9, 7, 8]));
    }

    #[test]
    fn the_limit_of_connections_holds_and_a_place_comes_back() {
        let upstream = upstream(&["127.0.0.1:1"], 2);
        let (first, second) = (upstream.admit(), upstream.admit());
        assert!(first.is_some() && second.is_some() && upstream.admit().is_none());
        drop(first);
        assert_eq!(upstream.open_connections(), 1);
        assert!(upstream.admit().is_some());
    }
}
