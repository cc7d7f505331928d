//! One address of an upstream, and what all workers know of it.

use crate::tls::EndpointTls;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
#[repr(align(128))]
pub struct EndpointState {
    open: AtomicU32,
}

impl EndpointState {
    /// How many connections are open, used and unused, by all workers.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
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
    }
}

#[cfg(test)]
mod tests {
    use super::EndpointSpec;
    use crate::set::EndpointSet;
    use crate::upstream::Origin;

    #[test]
    fn the_limit_of_connections_holds_and_a_place_comes_back() {
        let spec = EndpointSpec::literal("127.0.0.1:1".parse().unwrap());
        let set = EndpointSet::build(1, &[spec], None, &Origin::default());
        let endpoint = &set.endpoints()[0];
        let (first, second) = (endpoint.admit(2), endpoint.admit(2));
        assert!(first.is_some() && second.is_some() && endpoint.admit(2).is_none());
        drop(first);
        assert_eq!(endpoint.state.open_connections(), 1);
        assert!(endpoint.admit(2).is_some());
    }
}
