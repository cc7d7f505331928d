//! `listeners`: where connections are accepted.

use super::{Host, Numbered};
use portcullis_model_settings::{ByteRate, ByteSize, Date, FilePath, IpNetwork, RequestRate, Spanned, choice, section};
use std::net::SocketAddr;
use std::time::Duration;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The least and the greatest deadline that can be set.
pub(super) const DEADLINES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_hours(1));

section! {
    /// An address that connections are accepted on. It has exactly one of `tls`, `redirect_to_https` and `danger_plaintext`.
    pub struct ListenerSettings {
        /// The IP address and port to accept connections on.
        pub address: Spanned<SocketAddr>,
        /// The protocols to speak. `h2` is spoken over TLS only, with clients that ask for it (ALPN). When absent: `[h1, h2]` with
        /// `tls`, `[h1]` without.
        pub protocols: Option<Vec<ListenerProtocol>>,
        /// Serves over TLS.
        pub tls: Option<Spanned<TlsSettings>>,
        /// Answers every request with a redirect to https, and nothing else.
        pub redirect_to_https: Option<Spanned<bool>>,
        /// Serves without encryption, which everybody on the way can read and change.
        pub danger_plaintext: Option<Spanned<DangerSettings>>,
        /// What one listener and one client may use.
        pub limits: ListenerLimits,
        /// Balancers before this listener that say by the PROXY protocol (version 1 or 2) who is behind them.
        pub proxy_protocol: Option<Spanned<ProxyProtocolSettings>>,
    }
}

section! {
    /// The PROXY protocol. From the addresses listed every connection must begin with its header; from all others a header is no request.
    pub struct ProxyProtocolSettings {
        /// The addresses of the balancers. Whoever can connect from here can claim any address.
        pub from: Vec<Spanned<IpNetwork>>,
    }
}

choice! {
    /// A protocol of a listener.
    pub enum ListenerProtocol {
        /// HTTP/1.1 (and 1.0).
        Http1 = "h1",
        /// HTTP/2.
        Http2 = "h2",
    }
    later "h3"
}

section! {
    /// TLS of a listener. TLS 1.2 and 1.3 are spoken; ciphers are not configurable.
    pub struct TlsSettings {
        /// The certificates. The first one also serves clients that send no server name.
        pub certificates: Numbered<CertificateSettings>,
        /// The versions spoken.
        pub versions: TlsVersions,
        /// Certificates of clients; the same for every server name of this listener.
        pub client_certificates: Option<Spanned<ClientCertificateSettings>>,
    }
}

section! {
    /// Which certificates are taken from clients.
    pub struct ClientCertificateSettings {
        /// Whether clients are asked for a certificate.
        pub mode: ClientCertificateMode,
        /// The authorities whose certificates are taken, a bundle in PEM. It is read again when it changes.
        pub trust: Option<FilePath>,
        /// Whether it is looked at who has been revoked; not at all when absent.
        pub revocation: Option<Spanned<RevocationSettings>>,
    }
}

choice! {
    /// Whether clients are asked for a certificate.
    pub enum ClientCertificateMode {
        /// Clients are not asked.
        Off = "off",
        /// Clients are asked. One that shows none is served; one that shows a bad one is refused.
        Optional = "optional",
        /// A client without a good certificate is refused.
        Required = "required",
    }
}

section! {
    /// Who has been revoked. Every certificate below the trusted authority must be told of by a list of who issued it, or it is refused.
    pub struct RevocationSettings {
        /// Certificate revocation lists, PEM or DER. They are read again when they change.
        pub crl: Numbered<FilePath>,
        /// What happens when a list's successor is overdue.
        pub stale: StaleList = StaleList::Refuse,
    }
}

choice! {
    /// What happens to certificates that only a stale revocation list tells of.
    pub enum StaleList {
        /// They are refused until there is a new list.
        Refuse = "refuse",
        /// The old list counts on; who was revoked since is not known.
        Accept = "accept",
    }
}

section! {
    /// Versions of TLS.
    pub struct TlsVersions {
        /// The oldest version spoken.
        pub min: TlsVersion = TlsVersion::V12,
    }
}

choice! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2, only with forward secrecy and authenticated encryption.
        V12 = "1.2",
        /// TLS 1.3.
        V13 = "1.3",
    }
}

section! {
    /// A certificate and the hosts it is used for; it must cover each of them by its subject alternative names.
    pub struct CertificateSettings {
        /// The server names it is used for: exact, or `*.example.com` for names below it.
        pub hosts: Numbered<Spanned<Host>>,
        /// The certificate chain and its private key, PEM.
        pub files: CertificateFiles,
    }
}

section! {
    /// Files of a certificate. They are read again when they change.
    pub struct CertificateFiles {
        /// The certificate chain, the server's own certificate first.
        pub certificate: FilePath,
        /// The private key.
        pub key: FilePath,
    }
}

section! {
    /// A weakening of security that somebody answers for, and that ends by itself.
    pub struct DangerSettings {
        /// Why it is needed.
        pub reason: String,
        /// Who answers for it.
        pub owner: String,
        /// The day on which it ends in the running gateway, as it begins in UTC.
        pub expires: Spanned<Date>,
    }
}

section! {
    /// Limits of a listener and of each connection.
    pub struct ListenerLimits {
        /// Connections at the same time.
        pub connections: u32 where (1, 10_000_000) = 20_000,
        /// Connections at the same time from one client address (IPv6: from one /64 network).
        pub connections_per_client: u32 where (1, 10_000_000) = 200,
        /// New connections from one client address (IPv6: from one /64 network). As many may come at once as in two seconds, or as it may have.
        pub connection_rate_per_client: RequestRate = RequestRate::per_second(500),
        /// TLS handshakes of one client address that are under way (IPv6: of one /64 network).
        pub handshakes_per_client: u32 where (1, 10_000_000) = 100,
        /// The time a TLS handshake may take.
        pub handshake_deadline: Duration where (DEADLINES.0, DEADLINES.1) = seconds(10),
        /// The time from the first byte of a request until its head is complete.
        pub header_deadline: Duration where (DEADLINES.0, DEADLINES.1) = seconds(10),
        /// The time a connection may wait between two requests.
        pub idle_timeout: Duration where (DEADLINES.0, DEADLINES.1) = seconds(75),
        /// The size of a request's head.
        pub headers_bytes_max: ByteSize where (ByteSize(1024), ByteSize::mib(1)) = ByteSize::kib(32),
        /// The header fields of a request.
        pub headers_max: u32 where (8, 256) = 100,
        /// The length of a request's target.
        pub uri_bytes_max: ByteSize where (ByteSize(64), ByteSize::kib(64)) = ByteSize::kib(8),
        /// The rate below which a body, in either direction, counts as stalled.
        pub body_rate_min: ByteRate where (ByteRate(1), ByteRate(1 << 30)) = ByteRate(500),
        /// The time a body may be stalled before the connection is closed.
        pub body_stall: Duration where (DEADLINES.0, DEADLINES.1) = seconds(10),
        /// The requests served on one connection before it is closed; unlimited when absent.
        pub requests_per_connection: Option<u32> where (Some(1), Some(1_000_000_000)),
    }
}
