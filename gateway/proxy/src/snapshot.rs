//! What control publishes and workers look at.

use crate::load::Load;
use arc_swap::ArcSwap;
use portcullis_gateway_listener::TlsContext;
use portcullis_gateway_policy::{BanRules, BodyBudget, ConnectionRate, Defence, LockoutRules, Pipeline, Revocations};
use portcullis_gateway_router::RouteTable;
use portcullis_gateway_upstream::fairness::Baseline;
use portcullis_gateway_upstream::{Upstream, Wheel};
use portcullis_model::{Clock, Generation};
use portcullis_wire::HeadLimits;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What a listener enforces on its connections.
#[derive(Clone, Debug)]
pub struct ListenerLimits {
    /// Of the head of a request.
    pub head: HeadLimits,
    /// How fast one client may open connections; without bound when there is none.
    pub connection_rate: Option<ConnectionRate>,
    /// For the TLS handshake.
    pub handshake_deadline: Duration,
    /// From the first byte of a request until its head is complete.
    pub header_deadline: Duration,
    /// Without a request on a connection.
    pub idle_timeout: Duration,
    /// Bytes a second below which a client that is being waited for is cut off, measured over [`ListenerLimits::rate_window`].
    pub body_rate_min: u64,
    /// The window over which the rate is measured.
    pub rate_window: Duration,
    /// Requests on one connection, if bounded.
    pub requests_max: Option<u32>,
}

/// What a listener does with requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerMode {
    /// Serves routes over TLS.
    Tls,
    /// Sends everybody to https on this port.
    RedirectToHttps {
        /// The port clients are sent to.
        port: u16,
    },
    /// Serves routes in plain text, until the weakening ends (Unix seconds).
    DangerPlaintext {
        /// When it ends.
        expires: u64,
    },
}

/// What a listener is known by while configurations change: its address, whatever its name becomes. Where the system chooses the
/// port (0), which several listeners may ask for, its name tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    address: SocketAddr,
    name: Option<Arc<str>>,
}

impl ListenerKey {
    /// The key of a listener with this name, at this address as it is configured.
    #[must_use]
    pub fn new(address: SocketAddr, name: &Arc<str>) -> Self {
        Self { address, name: (address.port() == 0).then(|| Arc::clone(name)) }
    }
}

/// A listener as the running configuration has it.
pub struct Listener {
    /// What it is known by.
    pub key: ListenerKey,
    /// Its name.
    pub name: Arc<str>,
    /// What it does with requests.
    pub mode: ListenerMode,
    /// Certificates, for [`ListenerMode::Tls`].
    pub tls: Option<Arc<TlsContext>>,
    /// What it enforces.
    pub limits: ListenerLimits,
    /// Balancers that must say by the PROXY protocol who is behind them.
    pub balancers: ClientAddressRule,
}

/// A route with everything that is needed to serve it.
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The API it belongs to.
    pub api: Arc<str>,
    /// Its policies.
    pub pipeline: Pipeline,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// How long its answers take at the least.
    pub baseline: Baseline,
    /// Set when it goes to several upstreams in turn: then this is the first of several routes that differ in the upstream alone.
    pub split: Option<Split>,
    /// Whether `%2F` inside a path segment is kept rather than refused.
    pub encoded_slash_kept: bool,
    /// Whether an upgrade to WebSocket is allowed.
    pub websocket: bool,
    /// How long a body may be that a policy of it reads; 0 where none does.
    pub body_read_max: u64,
    /// How long an exchange of a caller may go on; nothing where nobody is asked who they are.
    pub stream_age_max: Option<Duration>,
    /// How old what is known of other nodes' revocations may be; nothing where that does not matter.
    pub fresh_within: Option<Duration>,
}

/// The split of a route's requests between upstreams.
pub struct Split {
    /// The routes, one for each upstream.
    pub routes: Box<[Arc<Route>]>,
    /// Which one has its turn.
    pub wheel: Wheel,
    /// Counts the requests of all routes with the same split.
    pub turn: Arc<AtomicU64>,
}

impl Route {
    /// The route that this request takes: this one, or the one of the upstream whose turn it is.
    #[must_use]
    pub fn chosen(self: &Arc<Self>) -> &Arc<Self> {
        let Some(split) = &self.split else { return self };
        let turn = split.turn.fetch_add(1, Ordering::Relaxed);
        split.wheel.at(turn).and_then(|at| split.routes.get(at)).unwrap_or(self)
    }

    /// The names of the upstreams it goes to.
    #[must_use]
    pub fn upstream_names(&self) -> String {
        let name = |route: &Route| route.upstream.settings.name.to_string();
        self.split
            .as_ref()
            .map_or_else(|| name(self), |split| split.routes.iter().map(|one| name(one)).collect::<Vec<_>>().join(", "))
    }
}

/// Who may tell us who the client is.
#[derive(Clone, Debug, Default)]
pub struct ClientAddressRule {
    /// Networks of proxies whose word is taken: first address, prefix length.
    pub trusted: Vec<(IpAddr, u8)>,
}

impl ClientAddressRule {
    /// Whether `address` belongs to a trusted proxy.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|(network, length)| contains(*network, *length, address))
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32_u32.saturating_sub(u32::from(length));
            u32::from(network).checked_shr(shift).unwrap_or(0) == u32::from(address).checked_shr(shift).unwrap_or(0)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128_u32.saturating_sub(u32::from(length));
            u128::from(network).checked_shr(shift).unwrap_or(0) == u128::from(address).checked_shr(shift).unwrap_or(0)
        }
        _ => false,
    }
}

/// One complete configuration, immutable.
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// The hash of what it was made from.
    pub hash: String,
    /// Listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// Listeners of the configuration before that are in this one no more: their connections go on, and so do those that the kernel has accepted
    /// for them. See [`Snapshot::follow`].
    pub departed: Vec<Arc<Listener>>,
    /// Routes.
    pub routes: RouteTable<Arc<Route>>,
    /// Policies for answers to requests that found no route.
    pub unrouted: Pipeline,
    /// Who may tell us who the client is.
    pub client_address: ClientAddressRule,
    /// When clients are banned for what they do, if they are.
    pub bans: Option<BanRules>,
    /// Who is never banned: balancers, trusted proxies and whom the operator names.
    pub spared: ClientAddressRule,
    /// When clients, accounts and keys are locked out for what has failed, if they are.
    pub lockouts: Option<Arc<LockoutRules>>,
    /// From where nobody is locked out, and nothing counts: whom bans spare, and whom the operator names.
    pub lockout_spared: ClientAddressRule,
    /// Every upstream, for sweeping pools.
    pub upstreams: Vec<Arc<Upstream>>,
}

impl Snapshot {
    /// The listener that new connections on a socket belong to.
    #[must_use]
    pub fn listener(&self, key: &ListenerKey) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.key == *key)
    }

    /// Comes behind another configuration: listeners that are gone are kept for what is queued on their sockets, until the next.
    pub fn follow(&mut self, before: &Self) {
        let gone = before.listeners.iter().filter(|listener| self.listener(&listener.key).is_none());
        self.departed = gone.map(Arc::clone).collect();
    }

    /// The listener that a connection belongs to which is taken from a socket now. As for connections that are open already: where the listener is
    /// gone, it is what has become of it, or else the listener as it was last; requests are decided by this configuration's routes in any case.
    pub(crate) fn accepting(&self, key: &ListenerKey) -> Option<&Arc<Listener>> {
        let departed = || self.departed.iter().find(|listener| listener.key == *key);
        self.listener(key).or_else(|| departed().map(|gone| self.successor(gone).unwrap_or(gone)))
    }

    /// Whom each listener trusts of the clients that show certificates.
    pub(crate) fn client_trusts(&self) -> Vec<[u8; 32]> {
        self.listeners.iter().filter_map(|listener| listener.tls.as_ref()).map(|tls| tls.client_trust()).collect()
    }

    /// What has become of a listener of an earlier configuration: the one with its address, or else the one with its name.
    #[must_use]
    pub fn successor(&self, before: &Listener) -> Option<&Arc<Listener>> {
        self.listener(&before.key).or_else(|| self.listeners.iter().find(|listener| listener.name == before.name))
    }
}

/// Where control publishes and workers look. Workers compare one number for an exchange and fetch the rest only when it moved.
pub struct Published {
    generation: AtomicU64,
    snapshot: ArcSwap<Snapshot>,
    /// Wall-clock time, for records and expiries.
    pub clock: Clock,
    /// Who and what has been revoked.
    pub revocations: Arc<Revocations>,
    /// Who is kept out, and what for.
    pub defence: Arc<Defence>,
    /// From when the time of exchanges is counted; never goes back.
    pub(crate) epoch: Instant,
    /// What workers and control know of the load.
    pub load: Load,
    /// What may still be held of bodies.
    pub(crate) bodies: Arc<BodyBudget>,
}

impl Published {
    /// Begins with a first configuration.
    #[must_use]
    pub fn new(first: Snapshot, clock: Clock) -> Self {
        let defence = Defence::default();
        defence.failures.lockouts.set_counting(first.lockouts.is_some());
        Self {
            generation: AtomicU64::new(first.generation.0),
            snapshot: ArcSwap::from_pointee(first),
            clock,
            revocations: Arc::default(),
            defence: Arc::new(defence),
            epoch: Instant::now(),
            load: Load::default(),
            bodies: Arc::default(),
        }
    }

    /// Puts another configuration in force for every exchange that begins from now on.
    pub fn publish(&self, next: Arc<Snapshot>) {
        let generation = next.generation.0;
        self.defence.failures.lockouts.set_counting(next.lockouts.is_some());
        self.snapshot.store(next);
        self.generation.store(generation, Ordering::Release);
    }

    /// The number of the configuration in force.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Relaxed))
    }

    /// The configuration in force, to be looked at for a moment.
    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::ClientAddressRule;

    #[test]
    fn networks_contain_their_addresses_also_when_mapped() {
        let rule = ClientAddressRule { trusted: vec![("10.0.0.0".parse().unwrap(), 8), ("2001:db8::".parse().unwrap(), 32)] };
        for (address, trusted) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.0.0.1", false), ("2001:db8::7", true), ("2001:db9::7", false)]
        {
            assert_eq!(rule.trusts(address.parse().unwrap()), trusted, "{address}");
        }
        let everyone = ClientAddressRule { trusted: vec![("0.0.0.0".parse().unwrap(), 0)] };
        assert!(everyone.trusts("203.0.113.9".parse().unwrap()) && !everyone.trusts("::1".parse().unwrap()));
    }
}
