//! `management`, `defend` and `record`.

use portcullis_model_settings::{
    ByteSize, Decode, Diagnostics, FilePath, IpNetwork, Node, Schema, Spanned, Value, choice, section,
};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

section! {
    /// How the gateway itself is operated.
    pub struct ManagementSettings {
        /// The Unix socket that local commands speak to.
        pub socket: FilePath = FilePath::new(super::MANAGEMENT_SOCKET),
        /// A loopback address that serves `/livez`, `/readyz` and `/metrics`, and nothing else.
        pub probes: Option<Spanned<SocketAddr>>,
        /// How the gateway goes away.
        pub drain: DrainSettings,
    }
}

section! {
    /// How the gateway goes away: at SIGTERM, and as the old one of an upgrade.
    pub struct DrainSettings {
        /// How long it goes on accepting connections after `/readyz` says that it is not ready, so that load balancers send clients
        /// elsewhere first. Not waited for in an upgrade.
        pub delay: Duration where (Duration::ZERO, Duration::from_hours(1)) = Duration::ZERO,
        /// How long exchanges may take to finish from then on. What is left then, WebSockets and streams among it, is cut off.
        pub deadline: Duration where (Duration::ZERO, Duration::from_hours(24)) = Duration::from_secs(30),
    }
}

section! {
    /// Protection of the whole gateway.
    pub struct DefendSettings {
        /// Whose word on a client's address is taken.
        pub client_ip: ClientIpSettings,
        /// When new work is refused, so that what is under way does not fail.
        pub overload: OverloadSettings,
        /// When clients are banned for what they do; never when absent. `portcullis ban` does so by hand in any case.
        pub bans: Option<Spanned<BanSettings>>,
        /// When addresses, accounts and keys are locked out for what has failed; never when absent.
        pub lockout: Option<Spanned<LockoutSettings>>,
    }
}

section! {
    /// When somebody is locked out: their requests are refused (429 with the code `locked_out`, and `Retry-After`). A failure is an answer with one
    /// of `statuses`, the gateway's or the upstream's; a request that shows no credential has tried nothing, and is none. The name of an account
    /// comes from a credential that was verified, or from the login field of a route (`login_account`): a forged token counts by address alone.
    pub struct LockoutSettings {
        /// So many failures are a lockout.
        pub failures: u32 where (1, 100_000) = 10,
        /// The time within which they count together.
        pub within: Duration where (Duration::from_secs(1), Duration::from_hours(24)) = Duration::from_mins(5),
        /// How long the first lockout lasts. Each one after it lasts twice as long as the one before.
        pub r#for: Duration where (Duration::from_secs(1), Duration::from_hours(24 * 366)) = Duration::from_mins(15),
        /// The longest lockout. Who was free for so long begins with `for` again.
        pub for_max: Duration where (Duration::from_secs(1), Duration::from_hours(24 * 366)) = Duration::from_hours(1),
        /// What failures are counted by.
        pub per: Vec<Spanned<LockoutBy>> = vec![Spanned::unwritten(LockoutBy::ClientIp), Spanned::unwritten(LockoutBy::Account)],
        /// Statuses that are failures, from 400 to 499.
        pub statuses: Vec<Spanned<u16>> = vec![Spanned::unwritten(401), Spanned::unwritten(403)],
        /// From an address where an account has succeeded within so long it is not locked out, whatever others try from elsewhere.
        pub spared_after_success: Duration where (Duration::from_mins(1), Duration::from_hours(24 * 45)) = Duration::from_hours(24 * 7),
        /// Addresses from where nothing counts, and that are never locked out.
        pub allow: Vec<Spanned<IpNetwork>> = Vec::new(),
    }
}

choice! {
    /// What failures are counted by.
    pub enum LockoutBy {
        /// Each client address, as found behind trusted proxies; of IPv6 each network of 64 bits.
        ClientIp = "client_ip",
        /// Each caller by a verified credential other than an API key, and each account that a login field names. Only beside `client_ip`.
        Account = "account",
        /// Each caller by an API key.
        Key = "key",
    }
}

section! {
    /// When clients are banned: their connections are closed before anything is read, and their requests are refused (403 with the code
    /// `client_banned`). Offences are floods of HTTP/2 frames, connections that come faster than `connection_rate_per_client`, handshakes beyond
    /// `handshakes_per_client`, and handshakes and heads that are not complete in time. Trusted proxies and balancers are never banned for
    /// those behind them; a balancer that is not listed as one would be.
    pub struct BanSettings {
        /// So many offences of one client address (IPv6: of one /64 network) are a ban.
        pub offences: u32 where (1, 1_000_000) = 5,
        /// The time within which they count together.
        pub within: Duration where (Duration::from_secs(1), Duration::from_hours(24)) = Duration::from_mins(1),
        /// How long the first ban lasts. Each one after it lasts twice as long as the one before.
        pub r#for: Duration where (Duration::from_secs(1), Duration::from_hours(24 * 366)) = Duration::from_mins(1),
        /// The longest ban. A client that was free for so long begins with `for` again.
        pub for_max: Duration where (Duration::from_secs(1), Duration::from_hours(24 * 366)) = Duration::from_hours(24),
        /// Addresses that are never banned, neither by themselves nor by `portcullis ban`.
        pub allow: Vec<Spanned<IpNetwork>> = Vec::new(),
    }
}

section! {
    /// When new work is refused. At 80 % of memory or descriptors, or when workers are later than the target, idle connections end; at
    /// 90 %, or twice the target, new connections wait; at 95 %, or four times the target, new requests get 503.
    pub struct OverloadSettings {
        /// How late a worker may get round to what is ready, before it counts as overloaded.
        pub target_latency: Duration where (Duration::from_millis(10), Duration::from_mins(1)) = Duration::from_millis(250),
        /// The memory that this process may use; when absent, what its control group or else the machine has.
        pub memory_bytes_max: Option<ByteSize> where (Some(ByteSize::mib(16)), Some(ByteSize::gib(1024 * 1024))),
    }
}

section! {
    /// How the address of a client is found: who connects, unless that is a trusted proxy; then the last address in `header` that is not
    /// one.
    pub struct ClientIpSettings {
        /// Proxies whose `header` is believed. Whoever can connect from here can claim any address.
        pub trusted_proxies: Vec<Spanned<IpNetwork>> = Vec::new(),
        /// The header field that they append to.
        pub header: ClientIpHeader = ClientIpHeader::XForwardedFor,
    }
}

choice! {
    /// A header field with addresses of clients.
    pub enum ClientIpHeader {
        /// `X-Forwarded-For`.
        XForwardedFor = "x-forwarded-for",
    }
    later "forwarded"
}

section! {
    /// What leaves a record.
    pub struct RecordSettings {
        /// One line for each exchange, or `off`; to standard output when absent.
        pub access_log: AccessLogSettings = AccessLogSettings::On(AccessLogOn::standard()),
    }
}

/// The access log: `off`, or where it goes.
#[derive(Clone, Debug)]
pub enum AccessLogSettings {
    /// No access log; metrics are still kept.
    Off,
    /// Written.
    On(AccessLogOn),
}

impl Decode for AccessLogSettings {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        if node.as_str() == Some("off") {
            return Some(Self::Off);
        }
        if node.entries().is_none() {
            diagnostics.wrong(node, "`off`, or a section such as `{ to: stdout }`");
            return None;
        }
        let log = AccessLogOn::decode(node, diagnostics)?;
        match (log.to, &log.path, &log.rotate) {
            (AccessLogTarget::File, None, _) => {
                diagnostics.error_with_help(node, "`path` is missing", "add `path`: the file to write to");
            }
            (AccessLogTarget::Stdout, Some(_), _) | (AccessLogTarget::Stdout, _, Some(_)) => {
                let help = "write `to: file`, or remove `path` and `rotate`";
                diagnostics.error_with_help(node, "`path` and `rotate` are only for files", help);
            }
            _ => {}
        }
        Some(Self::On(log))
    }

    fn encode(&self) -> Value {
        match self {
            Self::Off => Value::from("off"),
            Self::On(log) => log.encode(),
        }
    }

    fn schema() -> Schema {
        json!({ "oneOf": [{ "const": "off" }, AccessLogOn::schema()] })
    }
}

section! {
    /// An access log that is written.
    pub struct AccessLogOn {
        /// Where it goes.
        pub to: AccessLogTarget = AccessLogTarget::Stdout,
        /// The file, with `to: file`.
        pub path: Option<FilePath>,
        /// How a line is written.
        pub format: AccessLogFormat = AccessLogFormat::Json,
        /// Rotation by the gateway itself; a file that is moved away is begun anew in any case.
        pub rotate: Option<LogRotation>,
    }
}

impl AccessLogOn {
    fn standard() -> Self {
        Self { to: AccessLogTarget::Stdout, path: None, format: AccessLogFormat::Json, rotate: None }
    }
}

choice! {
    /// Where the access log goes.
    pub enum AccessLogTarget {
        /// To standard output.
        Stdout = "stdout",
        /// To a file.
        File = "file",
    }
}

choice! {
    /// How a line of the access log is written.
    pub enum AccessLogFormat {
        /// One JSON object on each line.
        Json = "json",
    }
    later "ecs", "ocsf", "cef"
}

section! {
    /// Rotation of a log.
    pub struct LogRotation {
        /// The size at which a new file begins.
        pub size: ByteSize where (ByteSize::kib(64), ByteSize::gib(1024)) = ByteSize::mib(100),
        /// How many old files are kept.
        pub keep: u32 where (1, 1000) = 5,
    }
}
