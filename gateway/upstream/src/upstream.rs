//! A named upstream.

use crate::endpoint::EndpointSpec;
use crate::set::EndpointSet;
use arc_swap::{ArcSwap, Guard};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

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

/// What is configured for an upstream, but for its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Times.
    pub timeouts: Timeouts,
    /// Connections to each endpoint, by all workers.
    pub connections_max: u32,
    /// Unused connections that a worker keeps for an endpoint.
    pub idle_per_worker: usize,
    /// How long an unused connection is kept.
    pub pooled_idle: Duration,
    /// When a `danger_plaintext` of this upstream ends, in Unix seconds.
    pub plaintext_expires: Option<u64>,
}

/// What all upstreams of a process have in common: the numbers of endpoints, and when their time began.
#[derive(Debug)]
pub struct Origin {
    next_id: AtomicU64,
    epoch: Instant,
}

impl Default for Origin {
    fn default() -> Self {
        Self { next_id: AtomicU64::new(1), epoch: Instant::now() }
    }
}

impl Origin {
    /// A number that no endpoint of this process has had.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Microseconds since time began here: what mechanisms that are shared by workers count in.
    #[must_use]
    pub fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }
}

/// A named upstream. Lives as long as its settings do not change, also across reloads; its endpoints may change meanwhile.
#[derive(Debug)]
pub struct Upstream {
    /// What is configured.
    pub settings: UpstreamSettings,
    endpoints: ArcSwap<EndpointSet>,
    origin: Arc<Origin>,
    /// Held while the set is replaced. Workers never take it.
    replacing: Mutex<()>,
}

impl Upstream {
    /// An upstream with these endpoints. Those that `before` has too, with the same address and host, keep their state and their
    /// connections.
    #[must_use]
    pub fn new(settings: UpstreamSettings, endpoints: &[EndpointSpec], before: Option<&Self>, origin: &Arc<Origin>) -> Self {
        let before = before.map(|upstream| upstream.endpoints.load_full());
        let set = EndpointSet::build(1, endpoints, before.as_deref(), origin);
        Self { settings, endpoints: ArcSwap::from_pointee(set), origin: Arc::clone(origin), replacing: Mutex::new(()) }
    }

    /// The endpoints at the moment. Takes no lock; not to be held across an `await`.
    pub fn endpoints(&self) -> Guard<Arc<EndpointSet>> {
        self.endpoints.load()
    }

    /// Gives the upstream other endpoints, for requests that begin from now on. Those that stay keep their state and their
    /// connections; workers close unused connections to the others when they sweep. For control: DNS answers that changed.
    pub fn replace_endpoints(&self, specs: &[EndpointSpec]) {
        let _one_after_the_other = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.endpoints.load_full();
        let next = EndpointSet::build(before.generation + 1, specs, Some(&before), &self.origin);
        self.endpoints.store(Arc::new(next));
    }

    /// What it has in common with all others.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}
