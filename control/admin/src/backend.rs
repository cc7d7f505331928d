//! What the management API asks of the running gateway.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// Who called: the peer credentials of the Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, where the system tells it.
    pub pid: Option<i32>,
}

/// The state of the gateway at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Whether it serves.
    pub ready: bool,
    /// The number of the configuration in force.
    pub generation: u64,
    /// Its hash.
    pub configuration_hash: String,
    /// When it came into force, Unix seconds.
    pub configured_unix_seconds: u64,
    /// Why the last reload was refused, if it was.
    pub last_reload_error: Option<String>,
    /// Why the configuration in force could not be kept on disk as the last known good one, if it could not.
    pub last_known_good_error: Option<String>,
    /// What is refused because too much is going on, and why; nothing when nothing is.
    pub overload: Option<String>,
    /// How it is with the store that several nodes share; nothing without one.
    #[serde(default)]
    pub store: Option<String>,
    /// Worker threads.
    pub workers: usize,
    /// Listeners.
    pub listeners: Vec<ListenerInfo>,
    /// How many routes there are.
    pub routes: usize,
    /// Weakenings in force, each with who answers for it and until when.
    pub weakenings: Vec<String>,
    /// Certificates and revocation lists that have run out or will soon.
    #[serde(default)]
    pub expiring: Vec<String>,
    /// What is to be looked at again on a day, each with who is to do it and whether that day has come.
    pub reminders: Vec<String>,
}

/// One listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListenerInfo {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// `tls`, `redirect_to_https` or `danger_plaintext`.
    pub mode: String,
}

/// One route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteInfo {
    /// Its name.
    pub name: String,
    /// Its API.
    pub api: String,
    /// Hosts.
    pub hosts: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Path template.
    pub path: String,
    /// Header fields that a request must have, as `name: value`.
    pub headers: Vec<String>,
    /// Who may call it.
    pub access: String,
    /// Where it goes.
    pub upstream: String,
    /// Its policies in order.
    pub policies: Vec<String>,
}

/// One upstream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamInfo {
    /// Its name.
    pub name: String,
    /// `closed` or, while it is left alone or probed, `open`.
    pub circuit: String,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// How many requests it has at once, where that has a bound.
    pub concurrency: Option<ConcurrencyInfo>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointInfo>,
}

/// How many requests an upstream has at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConcurrencyInfo {
    /// Those it has.
    pub under_way: u32,
    /// As many as it may have at the moment.
    pub limit: u32,
    /// Those that wait for their turn.
    pub waiting: u32,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// Its address.
    pub address: String,
    /// The host name it came from, if any.
    pub host: Option<String>,
    /// Its share beside the others.
    pub weight: u32,
    /// `available`, `unhealthy` (by active checks) or `ejected` (it failed again and again).
    pub state: String,
    /// Exchanges under way.
    pub in_flight: u32,
    /// Open connections, used and unused.
    pub connections: u32,
    /// The moving average of its latency, if it has answered.
    pub latency_micros: Option<u64>,
}

/// What a reload brought.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of the configuration now in force.
    pub generation: u64,
    /// Its hash.
    pub configuration_hash: String,
    /// Whether anything changed.
    pub changed: bool,
    /// What the operator should know of a configuration that has come into force.
    pub warnings: Vec<String>,
}

/// What an upgrade brought.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upgraded {
    /// The process that serves now.
    pub pid: u32,
    /// The process that finishes what it has begun, and then ends.
    pub draining_pid: u32,
}

/// What is asked of an upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeRequest {
    /// The program to run; the one at the path that the gateway was started by when absent.
    pub binary: Option<PathBuf>,
    /// How long it may take to get ready.
    pub within: Option<Duration>,
}

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeWhat {
    /// A token.
    Token {
        /// The provider that issued it, by its name in the configuration.
        provider: String,
        /// Its `jti`.
        id: String,
    },
    /// Every token of somebody.
    Subject {
        /// The provider that issued them.
        provider: String,
        /// Their `sub`.
        id: String,
    },
    /// An API key.
    Key {
        /// Its store, by its name in the configuration.
        provider: String,
        /// Its id.
        id: String,
    },
    /// A client's certificate.
    Certificate {
        /// Its SHA-256, in 64 lower-case hexadecimal digits.
        fingerprint: String,
    },
}

impl std::fmt::Display for RevokeWhat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token { provider, id } => write!(f, "token `{id}` of `{provider}`"),
            Self::Subject { provider, id } => write!(f, "subject `{id}` of `{provider}`"),
            Self::Key { provider, id } => write!(f, "key `{id}` of `{provider}`"),
            Self::Certificate { fingerprint } => write!(f, "certificate `{fingerprint}`"),
        }
    }
}

/// What is asked of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeRequest {
    /// What.
    pub what: RevokeWhat,
    /// Whether it is lifted, rather than made.
    pub lifts: bool,
    /// Of a subject: tokens that were issued by then, in Unix seconds; by now when absent.
    pub issued_until: Option<u64>,
    /// Until when it is in force, in Unix seconds; for ever when absent.
    pub until: Option<u64>,
    /// Why.
    pub reason: Option<String>,
}

/// A revocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevocationInfo {
    /// `token`, `subject` or `certificate`.
    pub kind: String,
    /// The issuer, of a token or a subject.
    pub issuer: Option<String>,
    /// The `jti`, the `sub` or the fingerprint.
    pub id: String,
    /// Credentials that were issued by then, in Unix seconds; all when absent.
    pub issued_until: Option<u64>,
    /// Until when it is in force, in Unix seconds; for ever when absent.
    pub until: Option<u64>,
    /// When it was made, in Unix seconds.
    pub unix_seconds: u64,
    /// The user who made it.
    pub uid: u32,
    /// Why.
    pub reason: Option<String>,
    /// Whether other nodes have heard of it; nothing where there is no shared store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
}

/// When the API keys of a store were used last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyUsesInfo {
    /// The store.
    pub store: String,
    /// Its file, from the root.
    pub file: PathBuf,
    /// Since when uses are noted, in Unix seconds.
    pub since: u64,
    /// How long a key may go unused before it is refused, in seconds; for ever when absent.
    pub idle_after_seconds: Option<u64>,
    /// By the id of a key when it was used last, in Unix seconds; those alone that were.
    pub used: BTreeMap<String, u64>,
}

/// What is asked of a ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRequest {
    /// The address or network.
    pub network: String,
    /// Whether it is lifted, rather than made.
    pub lifts: bool,
    /// Until when it is in force, in Unix seconds; until it is lifted when absent.
    pub until: Option<u64>,
    /// Why.
    pub reason: Option<String>,
}

/// A ban.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BanInfo {
    /// The address, or the network.
    pub network: String,
    /// Until when it is in force, in Unix seconds; until it is lifted when absent.
    pub until: Option<u64>,
    /// When it was made, in Unix seconds.
    pub unix_seconds: u64,
    /// `operator`, or the code of what the client did last.
    pub cause: String,
    /// How often the client had been banned before.
    pub times_before: u8,
    /// The user who made it, if it was one.
    pub uid: Option<u32>,
    /// Why, in the words of whoever made it.
    pub reason: Option<String>,
}

/// Who is let in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlockRequest {
    /// What was counted by: `client_ip`, `account`, `login` or `key`.
    pub per: String,
    /// Whom, as the list shows it.
    pub name: String,
}

/// A lockout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockoutInfo {
    /// What was counted by: `client_ip`, `account`, `login` or `key`.
    pub per: String,
    /// The address, or the name and where it is from: `provider/subject`, `api/account`, `store/caller`.
    pub name: String,
    /// Until when it is in force, in Unix seconds.
    pub until: u64,
    /// When it was made, in Unix seconds.
    pub unix_seconds: u64,
    /// The status of the last failure.
    pub status: u16,
    /// How often there had been one before.
    pub times_before: u8,
}

/// Why something was not done; shown to the operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What was wrong, where, and what to do.
    pub message: String,
}

/// The running gateway, as the management API sees it.
pub trait Management: Send + Sync + 'static {
    /// The state at a glance.
    fn status(&self) -> Status;
    /// Every route.
    fn routes(&self) -> Vec<RouteInfo>;
    /// Every upstream and its endpoints.
    fn upstreams(&self) -> Vec<UpstreamInfo>;
    /// The configuration in force, without secrets.
    fn configuration(&self) -> serde_json::Value;
    /// Reads the configuration again and puts it in force if it is sound.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Reloaded, Failure>> + Send + '_>>;
    /// Asks clients to go elsewhere (not ready, connections end with their exchanges, everything is still served), or no longer.
    fn drain(&self, draining: bool) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Starts the next version of the program on the sockets of this one, and drains this one when it is ready; else nothing changes.
    fn upgrade(&self, actor: Actor, asked: UpgradeRequest) -> Pin<Box<dyn Future<Output = Result<Upgraded, Failure>> + Send + '_>>;
    /// Revokes, or lifts what was revoked; comes back when it is on the disk and in force.
    ///
    /// # Errors
    /// Why not, for the operator; nothing has changed then.
    fn revoke(&self, actor: Actor, asked: &RevokeRequest) -> Result<RevocationInfo, Failure>;
    /// What is revoked.
    fn revocations(&self) -> Vec<RevocationInfo>;
    /// When the API keys of each store were used last.
    fn key_uses(&self) -> Vec<KeyUsesInfo>;
    /// Bans an address or network, or lifts that; comes back when it is on the disk and in force.
    ///
    /// # Errors
    /// Why not, for the operator; nothing has changed then.
    fn ban(&self, actor: Actor, asked: &BanRequest) -> Result<BanInfo, Failure>;
    /// Who is banned.
    fn bans(&self) -> Vec<BanInfo>;
    /// Lets somebody in again who was locked out; comes back when that is on the disk and in force.
    ///
    /// # Errors
    /// Why not, for the operator; nothing has changed then.
    fn unlock(&self, actor: Actor, asked: &UnlockRequest) -> Result<LockoutInfo, Failure>;
    /// Who is locked out.
    fn lockouts(&self) -> Vec<LockoutInfo>;
    /// Metrics in the text format of Prometheus.
    fn metrics(&self) -> String;
    /// Whether the gateway serves.
    fn ready(&self) -> bool;
    /// Keeps a durable note of what somebody did; before it is done.
    ///
    /// # Errors
    /// When it could not be kept; the action is then refused.
    fn audit(&self, actor: Actor, action: &str) -> Result<(), Failure>;
}
