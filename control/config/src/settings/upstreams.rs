//! `upstreams`: where requests go.

use super::listeners::DEADLINES;
use super::{
    BalanceKind, BreakerSettings, CertificateFiles, DangerSettings, EndpointUrl, HashBy, HealthSettings, Numbered, OutlierSettings,
    RetrySettings, ServerName,
};
use portcullis_model_settings::{FilePath, Spanned, choice, section};
use std::time::Duration;

choice! {
    /// What is spoken with an upstream, never anything else.
    pub enum UpstreamProtocolKind {
        /// HTTP/1.1, an exchange at a time on each connection.
        H1 = "h1",
        /// HTTP/2, many exchanges at a time on each connection: agreed on by ALPN with `https://` endpoints, known beforehand with
        /// `http://` ones. An endpoint that does not speak it counts as failed (`upstream_not_http2`). A WebSocket is a stream there, which
        /// the endpoint must offer (RFC 8441), else it is refused (`upstream_no_websocket`).
        H2 = "h2",
    }
}

section! {
    /// A named destination of requests.
    pub struct UpstreamSettings {
        /// The addresses it has, at most 1024.
        pub endpoints: Numbered<EndpointSettings>,
        /// What is spoken with them.
        pub protocol: UpstreamProtocolKind = UpstreamProtocolKind::H1,
        /// TLS to `https://` endpoints. It is always verified; the system's authorities are believed when nothing is written here.
        pub tls: Option<Spanned<UpstreamTlsSettings>>,
        /// Sends requests to other machines without encryption, which everybody on the way can read and change.
        pub danger_plaintext: Option<Spanned<DangerSettings>>,
        /// How long it may take.
        pub timeouts: UpstreamTimeouts,
        /// How much of it is used.
        pub limits: UpstreamLimits,
        /// How many requests it may have at once, in all workers; without bound when absent. Whoever comes when it has enough waits for their turn,
        /// which is fair among consumers, callers and addresses.
        pub concurrency: Option<ConcurrencySettings>,
        /// How an endpoint is chosen for a request.
        pub balance: BalanceKind = BalanceKind::RoundRobin,
        /// The key of `consistent_hash`: `client_ip`, `header:NAME` or `cookie:NAME`. A request without it goes anywhere.
        pub hash_by: Option<Spanned<HashBy>>,
        /// How long an endpoint that comes, or comes back, takes to get its whole share, beginning with a tenth; not with
        /// `consistent_hash`, where it would move keys twice.
        pub slow_start: Duration where (Duration::ZERO, Duration::from_hours(1)) = Duration::from_secs(10),
        /// Active checks of its endpoints; none when absent.
        pub health: Option<Spanned<HealthSettings>>,
        /// When endpoints that fail are left out.
        pub outlier: OutlierSettings,
        /// When the whole upstream is left alone; never when absent.
        pub breaker: Option<BreakerSettings>,
        /// When requests are sent again.
        pub retry: RetrySettings,
    }
}

choice! {
    /// How it is known how many requests an upstream can do at once.
    pub enum ConcurrencyMode {
        /// Found from how much longer answers take than they have to, each route for itself. Not for upstreams whose answers take as long as something
        /// takes to happen (long polling).
        Adaptive = "adaptive",
        /// As `max` says.
        Fixed = "fixed",
    }
}

section! {
    /// How many requests an upstream may have at once: from when they go to it until the head of its answer is there.
    pub struct ConcurrencySettings {
        /// How it is known.
        pub mode: ConcurrencyMode = ConcurrencyMode::Adaptive,
        /// Never more than that.
        pub max: u32 where (1, 1_000_000) = 1024,
    }
}

section! {
    /// One address of an upstream.
    pub struct EndpointSettings {
        /// `https://` with a host name or IP address and a port, 443 when none is written; or `http://` with a loopback address. Other
        /// hosts in plain text need `danger_plaintext`. Every address of a host name is an endpoint; see `dns`.
        pub url: Spanned<EndpointUrl>,
        /// Its share beside the others.
        pub weight: u32 where (1, 1000) = 1,
    }
}

section! {
    /// TLS to an upstream, 1.2 or 1.3. Files are read again when they change; a file that cannot be read or has no certificate in it
    /// changes nothing.
    pub struct UpstreamTlsSettings {
        /// A file with the authorities to believe, PEM, instead of the system's (which `SSL_CERT_FILE` and `SSL_CERT_DIR` can name).
        pub trust: Option<FilePath>,
        /// The name that certificates must be for, and that servers are asked for; the host of the endpoint's URL when absent.
        pub server_name: Option<ServerName>,
        /// A certificate that the gateway shows to servers that ask for one.
        pub client_certificate: Option<CertificateFiles>,
    }
}

section! {
    /// Deadlines of an exchange with an upstream.
    pub struct UpstreamTimeouts {
        /// Until a connection is there, TLS handshake included.
        pub connect: Duration where (DEADLINES.0, DEADLINES.1) = Duration::from_secs(1),
        /// From then until the head of the answer is there.
        pub first_byte: Duration where (DEADLINES.0, DEADLINES.1) = Duration::from_secs(10),
        /// Between two pieces of a body. An upgraded connection may be silent as long, and at least for 5m.
        pub idle: Duration where (DEADLINES.0, DEADLINES.1) = Duration::from_secs(30),
        /// For the whole exchange, body included; without it long downloads and event streams may go on as long as they move. An
        /// upgraded connection is not bound by it.
        pub total: Option<Duration> where (Some(DEADLINES.0), Some(Duration::from_hours(365 * 24))),
    }
}

section! {
    /// Limits of an upstream.
    pub struct UpstreamLimits {
        /// Connections to each endpoint at the same time. One that speaks HTTP/2 carries as many exchanges at a time as the endpoint allows,
        /// at most 100; each worker that has some has a connection of its own.
        pub connections: u32 where (1, 1_000_000) = 512,
        /// Idle connections that each worker keeps for each endpoint; those that speak HTTP/2 are kept for a minute, and not counted here.
        pub idle_per_worker: u32 where (0, 10_000) = 128,
        /// Requests that wait at the same time for a connection, when all are in use; each at most as long as connecting may take.
        pub pending: u32 where (0, 1_000_000) = 1024,
    }
}
