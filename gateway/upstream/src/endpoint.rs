//! One address of an upstream, and what all workers know of it.

use crate::latency::Latency;
use crate::outlier::OutlierState;
use crate::room::Room;
use crate::tls::EndpointTls;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What is known of an endpoint before it is used: by the configuration, or by an answer of the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where connections go. Whoever makes this has checked that the gateway may connect there.
    pub address: SocketAddr,
    /// The host name that the address came from; none when the configuration has the address itself.
    pub host: Option<Arc<str>>,
    /// How it is reached by TLS; without it everything goes in plain text.
    pub tls: Option<EndpointTls>,
    /// Its share beside the others of the upstream; at least 1.
    pub weight: u32,
}

impl EndpointSpec {
    /// An address that stands in the configuration, in plain text, with the ordinary weight.
    #[must_use]
    pub fn literal(address: SocketAddr) -> Self {
        Self { address, host: None, tls: None, weight: 1 }
    }
}

/// What all workers count and know of an endpoint; on cache lines of its own, without locks. Lives as long as the endpoint stays
/// in its upstream, also across reloads and answers of the DNS.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct EndpointState {
    open: AtomicU32,
    in_flight: AtomicU32,
    pub(crate) latency: Latency,
    pub(crate) outlier: OutlierState,
    /// Set by active health checks alone.
    unhealthy: AtomicBool,
    /// When it came, or came back to health; in microseconds, 0 if it was there from the beginning.
    since: AtomicU64,
}

impl EndpointState {
    /// The state of an endpoint that comes at `since` (microseconds); 0 for one that is there from the beginning.
    pub(crate) fn coming(since: u64) -> Self {
        Self { since: AtomicU64::new(since), ..Self::default() }
    }

    /// How many connections are open, used and unused, by all workers.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many exchanges are under way, by all workers.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether active health checks find it unfit.
    #[must_use]
    pub fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Ordering::Relaxed)
    }

    /// Whether the last request to it failed by its fault.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.outlier.has_failed()
    }

    /// Whether it is left out at `now` (microseconds) because it failed again and again.
    #[must_use]
    pub fn is_ejected(&self, now: u64) -> bool {
        self.outlier.is_ejected(now)
    }

    /// Its moving average of latency, microseconds, if it has answered yet.
    #[must_use]
    pub fn latency_micros(&self, now: u64) -> Option<u64> {
        self.latency.at(now)
    }

    /// Whether requests may go to it at `now`.
    pub(crate) fn is_available(&self, now: u64) -> bool {
        !self.is_unhealthy() && !self.outlier.is_ejected(now)
    }

    /// What active health checks have found at `now`. Says whether that is a change.
    pub fn note_health(&self, healthy: bool, now: u64) -> bool {
        let changed = self.unhealthy.swap(!healthy, Ordering::Relaxed) == healthy;
        if changed && healthy {
            self.since.store(now.max(1), Ordering::Relaxed);
        }
        changed
    }

    /// When it came or came back last; 0 if it has been there all the time.
    pub(crate) fn back_since(&self) -> u64 {
        self.since.load(Ordering::Relaxed).max(self.outlier.back_since())
    }

    /// One more exchange under way. For connections, and for simulations.
    pub fn begin_exchange(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn end_exchange(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One address of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// Where connections go.
    pub address: SocketAddr,
    /// The host name it came from, if any.
    pub host: Option<Arc<str>>,
    /// How it is reached by TLS, if it is.
    pub tls: Option<EndpointTls>,
    /// Its share beside the others.
    pub weight: u32,
    /// Distinguishes endpoints in a worker's pools; the same as long as the endpoint stays, never used again in this process.
    pub id: u64,
    /// What all workers know of it.
    pub state: Arc<EndpointState>,
    /// Where those wait who find no place at any endpoint of the upstream.
    pub(crate) room: Arc<Room>,
}

impl Endpoint {
    /// Whether this is what `spec` describes, whatever its weight: its state and connections can stay.
    pub(crate) fn is_of(&self, spec: &EndpointSpec) -> bool {
        self.address == spec.address && self.host == spec.host && self.tls == spec.tls
    }

    /// A place for one more connection, unless there are `limit` already.
    #[must_use]
    pub fn admit(self: &Arc<Self>, limit: u32) -> Option<EndpointPlace> {
        let more = |open| (open < limit).then_some(open + 1);
        let admitted = self.state.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        admitted.is_ok().then(|| EndpointPlace(Arc::clone(self)))
    }
}

/// Holds the place of one connection to an endpoint; gives it back when dropped.
#[derive(Debug)]
pub struct EndpointPlace(Arc<Endpoint>);

impl EndpointPlace {
    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for EndpointPlace {
    fn drop(&mut self) {
        self.0.state.open.fetch_sub(1, Ordering::Relaxed);
        self.0.room.one_place_more();
    }
}

#[cfg(test)]
mod tests {
    use super::EndpointSpec;
    use crate::set::EndpointSet;

    #[test]
    fn the_limit_of_connections_holds_and_a_place_comes_back() {
        let set = EndpointSet::of_test(&[EndpointSpec::literal("127.0.0.1:1".parse().unwrap())]);
        let endpoint = &set.endpoints()[0];
        let (first, second) = (endpoint.admit(2), endpoint.admit(2));
        assert!(first.is_some() && second.is_some() && endpoint.admit(2).is_none());
        drop(first);
        assert_eq!(endpoint.state.open_connections(), 1);
        assert!(endpoint.admit(2).is_some());
    }

    #[test]
    fn health_tells_of_changes_alone() {
        let set = EndpointSet::of_test(&[EndpointSpec::literal("127.0.0.1:1".parse().unwrap())]);
        let state = &set.endpoints()[0].state;
        assert!(!state.note_health(true, 5) && state.note_health(false, 6) && !state.note_health(false, 7));
        assert!(!state.is_available(8) && state.note_health(true, 9) && state.is_available(9));
        assert_eq!(state.back_since(), 9);
    }
}
