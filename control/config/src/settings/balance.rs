//! How an endpoint of an upstream is chosen, and what becomes of those that fail.

use super::Host;
use super::listeners::DEADLINES;
use portcullis_model_settings::{
    Decode, Diagnostics, Node, Percent, Schema, Spanned, Value, choice, quoted, scalar_schema, section,
};
use std::sync::Arc;
use std::time::Duration;

choice! {
    /// How an endpoint is chosen for a request.
    pub enum BalanceKind {
        /// Each in its turn, as often as its weight says.
        RoundRobin = "round_robin",
        /// Of two at random the one with fewer requests under way, in proportion to its weight.
        LeastRequests = "least_requests",
        /// Of two at random the one that promises the quicker answer, by its latency so far and the requests under way.
        LeastLatency = "least_latency",
        /// The same endpoint for the same key (`hash_by`), as long as it is available and not busier than the others by more than a
        /// quarter; then the next one on the ring. When an endpoint comes or goes, only its own keys move.
        ConsistentHash = "consistent_hash",
    }
}

section! {
    /// Endpoints that fail again and again are left out for a while. What counts is what an endpoint alone can cause: no connection, no
    /// or a broken answer, 502, 503 and 504. A 500 does not count, since a client may know how to provoke it.
    ///
    /// When all endpoints that are healthy are left out, they are used all the same (`portcullis_upstream_last_resort_total` counts that),
    /// and one that answers is back at once.
    pub struct OutlierSettings {
        /// After so many failures in a row.
        pub consecutive_failures: u32 where (1, 10_000) = 5,
        /// For so long the first time, twice as long the second time and so on, at most ten times as long; as much time without trouble
        /// forgives one time.
        pub eject_for: Duration where (DEADLINES.0, Duration::from_hours(1)) = Duration::from_secs(30),
        /// The share of the endpoints that may be left out at the same time, though one of several always may; `0%` leaves out none.
        pub eject_at_most: Percent = Percent::whole(50),
    }
}

section! {
    /// A circuit breaker: when too large a share of requests fails, the upstream is left alone and requests are refused at once. Then a
    /// few requests probe it; when all of them go well everything is let through again, else it is left alone for twice as long, at most
    /// ten times as long.
    pub struct BreakerSettings {
        /// The share of requests that must fail, by the same rule as for `outlier`.
        pub failures: Percent where (Percent::whole(1), Percent::whole(100)) = Percent::whole(50),
        /// The time over which they are counted.
        pub window: Duration where (Duration::from_secs(1), Duration::from_mins(10)) = Duration::from_secs(10),
        /// The requests there must be in this time at the least.
        pub requests_min: u32 where (1, 1_000_000) = 20,
        /// How long it is left alone the first time.
        pub open_for: Duration where (DEADLINES.0, Duration::from_hours(1)) = Duration::from_secs(5),
        /// How many requests probe it.
        pub probes: u32 where (1, 1000) = 3,
    }
}

choice! {
    /// When a request is repeated.
    pub enum RetryOn {
        /// When no connection could be made: nothing has been sent then.
        Connect = "connect",
        /// When a connection ended before a byte of an answer came, and the request changes nothing by being sent twice (by its method),
        /// and all of it is still here: without a body, or with one of at most 64 KiB that had come with its head.
        ResetBeforeBytes = "reset_before_bytes",
    }
}

section! {
    /// When a request that brought no answer is sent again. A request whose unused connection turned out to be closed is sent once more
    /// on a new one in any case, if it may be sent twice.
    pub struct RetrySettings {
        /// Tries in all, the first one included; each at another endpoint if there is one.
        pub attempts: u32 where (1, 8) = 3,
        /// Repetitions as a share of all requests to the upstream; ten are always allowed after the start.
        pub budget: Percent = Percent::whole(20),
        /// What leads to another try.
        pub on: Vec<RetryOn> = vec![RetryOn::Connect, RetryOn::ResetBeforeBytes],
    }
}

choice! {
    /// What a health check asks.
    pub enum HealthKind {
        /// A GET for `path`.
        Http = "http",
        /// Only whether a connection is accepted, TLS handshake included.
        Tcp = "tcp",
        /// The health protocol of gRPC (`grpc.health.v1.Health/Check`); only `SERVING` is healthy. For upstreams with `protocol: h2`.
        Grpc = "grpc",
    }
}

section! {
    /// Active checks of every endpoint's health, by the gateway itself, on connections that no request uses and beside the workers. At most 64 run at
    /// the same time; when that is not enough for the number of endpoints, they come less often. The first check of an endpoint decides
    /// alone; until then it is taken for healthy. When all endpoints of an upstream are unhealthy, requests are refused
    /// (`upstream_unhealthy`).
    pub struct HealthSettings {
        /// What is asked.
        pub check: HealthKind = HealthKind::Http,
        /// The path that is asked for; needed for `http`.
        pub path: Option<Spanned<HealthPath>>,
        /// The service that `grpc` asks about; the server as a whole when absent.
        pub service: Option<Spanned<HealthService>>,
        /// The host that is asked for; the endpoint's own host or address when absent.
        pub host: Option<Host>,
        /// The status of a good answer; any 2xx when absent.
        pub status: Option<u16> where (Some(200), Some(599)),
        /// How often, give or take a tenth.
        pub interval: Duration where (Duration::from_millis(100), Duration::from_hours(1)) = Duration::from_secs(10),
        /// How long an answer may take, connecting included.
        pub timeout: Duration where (DEADLINES.0, Duration::from_mins(1)) = Duration::from_secs(2),
        /// So many failures in a row make an endpoint unhealthy.
        pub unhealthy_after: u32 where (1, 100) = 3,
        /// So many successes in a row make it healthy again.
        pub healthy_after: u32 where (1, 100) = 2,
    }
}

/// The path of a health check, with its query if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPath(Arc<str>);

impl HealthPath {
    /// The path as shared text.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl Decode for HealthPath {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.as_str().unwrap_or_default();
        if !text.starts_with('/') || text.len() > 1024 || !text.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'#') {
            diagnostics.wrong(node, "a path that begins with `/`, without spaces, such as `/healthz`");
            return None;
        }
        Some(Self(text.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("path", Some("^/"), "/healthz")
    }
}

/// The name of a service of gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthService(Arc<str>);

impl HealthService {
    /// The name as shared text.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl Decode for HealthService {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.as_str().unwrap_or_default();
        if !(1..=256).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            diagnostics.wrong(node, "the name of a service, such as `shop.v1.Orders`");
            return None;
        }
        Some(Self(text.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("name of a service", None, "shop.v1.Orders")
    }
}

/// What all of an upstream's settings say about choosing endpoints and treating those that fail.
#[derive(Clone, Debug)]
pub struct Care {
    /// How an endpoint is chosen.
    pub balance: BalanceKind,
    /// The key of `consistent_hash`.
    pub hash_by: Option<HashBy>,
    /// How long an endpoint that comes (back) takes to get its whole share.
    pub slow_start: Duration,
    /// How their health is checked.
    pub health: Option<HealthSettings>,
    /// When endpoints are left out.
    pub outlier: OutlierSettings,
    /// When the upstream is left alone.
    pub breaker: Option<BreakerSettings>,
    /// When requests are repeated.
    pub retry: RetrySettings,
}

/// The key of consistent hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address.
    ClientIp,
    /// A header field, by its lower-case name.
    Header(Arc<str>),
    /// A cookie, by its name.
    Cookie(Arc<str>),
}

impl HashBy {
    fn parse(text: &str) -> Result<Self, (String, String)> {
        let example = "write `client_ip`, `header:NAME` or `cookie:NAME`, such as `header:x-tenant`";
        let is_token = |name: &str| {
            (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        match text.split_once(':') {
            None if text == "client_ip" => Ok(Self::ClientIp),
            Some(("header", name)) if is_token(name) => Ok(Self::Header(name.to_ascii_lowercase().into())),
            Some(("cookie", name)) if is_token(name) => Ok(Self::Cookie(name.into())),
            Some((kind @ ("header" | "cookie"), name)) => {
                Err((format!("{} is not the name of a {kind}", quoted(name)), example.to_owned()))
            }
            _ => Err((format!("{} is not a key to hash by", quoted(text)), example.to_owned())),
        }
    }
}

impl Decode for HashBy {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.as_str() else {
            diagnostics.wrong(node, "`client_ip`, `header:NAME` or `cookie:NAME`");
            return None;
        };
        Self::parse(text).map_err(|(what, help)| diagnostics.error_with_help(node, what, help)).ok()
    }

    fn encode(&self) -> Value {
        match self {
            Self::ClientIp => Value::from("client_ip"),
            Self::Header(name) => Value::String(format!("header:{name}")),
            Self::Cookie(name) => Value::String(format!("cookie:{name}")),
        }
    }

    fn schema() -> Schema {
        scalar_schema("key", Some("^(client_ip|header:.+|cookie:.+)$"), "header:x-tenant")
    }
}
