//! The plan: a configuration that has been checked. Plain data, names resolved, defaults visible, nothing read from elsewhere.

use crate::digest::Digest;
use crate::report::Finding;
use crate::settings::{
    BanSettings, Care, ClientIpSettings, ConcurrencySettings, EncodedSlash, EndpointUrl, ListenerLimits, ListenerProtocol,
    LockoutSettings, OverloadSettings, ProviderRole, StaleList, StoreUrl, TlsVersion, UpstreamLimits, UpstreamProtocolKind,
    UpstreamTimeouts,
};
use portcullis_gateway_policy::{
    AuthenticatePlan, BanRules, CertificatesPlan, ConsumerPlan, CredentialsPlan, KeyStorePlan, LockoutRules, LoginPlan,
    ProviderPlan, RouteAccess, SecretSource, SignaturesPlan, SignerPlan,
};
use portcullis_model::UsagePlan;
use portcullis_model_settings::{ByteSize, IpNetwork, Methods, PolicySchema, PolicySettings, Value};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where connections are accepted, by name.
    pub listeners: Vec<Arc<ListenerPlan>>,
    /// How the gateway itself is operated.
    pub management: ManagementPlan,
    /// Where requests go, by name.
    pub upstreams: Vec<Arc<UpstreamPlan>>,
    /// Whose word on who is calling can be taken.
    pub identity: IdentityPlan,
    /// What is served, by name.
    pub apis: Vec<Arc<ApiPlan>>,
    /// How a client's address is found.
    pub client_ip: ClientIpSettings,
    /// When clients are banned for what they do, if they are.
    pub bans: Option<BanPlan>,
    /// When somebody is locked out for what has failed, if anybody is.
    pub lockout: Option<LockoutPlan>,
    /// When new work is refused.
    pub overload: OverloadSettings,
    /// The servers that host names of upstreams are asked from; the system's when there is none.
    pub dns_servers: Vec<SocketAddr>,
    /// Where the access log goes.
    pub access_log: AccessLogPlan,
    /// The store that nodes share.
    pub store: Option<Arc<StorePlan>>,
    /// How many worker threads; one per core when not given.
    pub workers: Option<u16>,
    /// Everything that weakens security, until when, and who answers for it.
    pub weakenings: Vec<Weakening>,
    /// What an operator means to look at again on a day, and what stays in force until then and after.
    pub reminders: Vec<Reminder>,
    /// What the operator should know although it loads.
    pub warnings: Vec<Finding>,
    pub(crate) policies: Arc<[PolicySchema]>,
    pub(crate) defaults: PolicyLevels,
    pub(crate) defaults_digest: Digest,
    pub(crate) digest: Digest,
}

impl Plan {
    /// A hash of everything written: equal hashes, equal plans. For ETag, status and the last known good.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.digest
    }

    /// The table of policies it was checked with; indexes in [`PolicyLevels`] are rows of it.
    #[must_use]
    pub fn policies(&self) -> &[PolicySchema] {
        &self.policies
    }

    /// Every file that settings of policies name.
    #[must_use]
    pub fn policy_files(&self) -> BTreeSet<PolicyFile> {
        let routes = self.apis.iter().flat_map(|api| &api.routes).map(|route| &route.policies);
        let mut seen = HashSet::new();
        let mut files = BTreeSet::new();
        if let Some(policy) = self.policies.iter().position(|row| row.name == "authenticate") {
            let sets = self.identity.providers.iter().filter_map(|one| Some((KEY_SETS, one.keys.file()?.clone())));
            let stores = self.identity.api_keys.iter().map(|one| (KEY_STORES, one.file.clone()));
            let signing = self.identity.signatures.iter().flat_map(|one| &one.keys).map(|key| (SIGNATURE_KEYS, key.file.clone()));
            files.extend(sets.chain(stores).chain(signing).map(|(format, path)| PolicyFile { policy, format, path }));
        }
        if let Some(policy) = self.policies.iter().position(|row| row.name == "credentials") {
            files.extend(self.identity.signers.iter().map(|one| PolicyFile { policy, format: 0, path: one.keys.clone() }));
        }
        for levels in std::iter::once(&self.defaults).chain(routes).filter(|levels| seen.insert(levels.key())) {
            for (policy, settings) in levels.iter() {
                let Some(row) = self.policies.get(policy) else { continue };
                files.extend(settings.iter().flat_map(|one| (row.files)(&**one)).map(|path| PolicyFile {
                    policy,
                    format: 0,
                    path,
                }));
            }
        }
        files
    }

    /// The policies of `defaults` alone, for what no route matches.
    #[must_use]
    pub fn defaults(&self) -> &PolicyLevels {
        &self.defaults
    }
}

/// The formats of the files of `authenticate`, in the order of its row of the table of policies.
const KEY_SETS: usize = 0;
const KEY_STORES: usize = 1;
const SIGNATURE_KEYS: usize = 2;

/// A file that settings of a policy name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyFile {
    /// The row of the policy.
    pub policy: usize,
    /// Which of the formats it has that the policy reads.
    pub format: usize,
    /// Where it is.
    pub path: PathBuf,
}

/// An address that is listened on.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The address.
    pub address: SocketAddr,
    /// The protocols spoken.
    pub protocols: Vec<ListenerProtocol>,
    /// Whether it is encrypted.
    pub mode: ListenerMode,
    /// Its limits.
    pub limits: ListenerLimits,
    /// Networks of balancers that say by the PROXY protocol who is behind them.
    pub balancers: Vec<IpNetwork>,
    /// A hash of what was written for it.
    pub digest: Digest,
}

/// What a listener does with a connection.
#[derive(Clone, Debug)]
pub enum ListenerMode {
    /// Serves over TLS.
    Tls(TlsPlan),
    /// Answers every request with a redirect to https, and nothing else.
    RedirectToHttps,
    /// Serves without encryption until the weakening ends.
    DangerPlaintext(Weakening),
}

/// The TLS of a listener.
#[derive(Clone, Debug)]
pub struct TlsPlan {
    /// Its certificates; the first one also serves clients that send no server name.
    pub certificates: Vec<CertificatePlan>,
    /// The oldest version spoken.
    pub version_min: TlsVersion,
    /// Which certificates are taken from clients, if they are asked for any.
    pub client_certificates: Option<ClientCertificatePlan>,
}

impl TlsPlan {
    /// Every file that is read for it.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let clients = self.client_certificates.iter();
        let certificates = self.certificates.iter().flat_map(|one| [&one.certificate, &one.key]);
        certificates.chain(clients.flat_map(|clients| std::iter::once(&clients.trust).chain(&clients.crl)))
    }
}

/// Which certificates are taken from clients.
#[derive(Clone, Debug)]
pub struct ClientCertificatePlan {
    /// Whether a client without one is refused.
    pub is_required: bool,
    /// The authorities, PEM.
    pub trust: PathBuf,
    /// Certificate revocation lists; none: revocation is not looked at.
    pub crl: Vec<PathBuf>,
    /// What happens when a list is stale.
    pub stale: StaleList,
}

/// A certificate and the hosts it is used for.
#[derive(Clone, Debug)]
pub struct CertificatePlan {
    /// Host names, lower case; `*.example.com` stands for names below it.
    pub hosts: Vec<Arc<str>>,
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// How the gateway is operated.
#[derive(Clone, Debug)]
pub struct ManagementPlan {
    /// The Unix socket of the management API.
    pub socket: PathBuf,
    /// Where probes and metrics are served; a loopback address.
    pub probes: Option<SocketAddr>,
    /// How the gateway goes away.
    pub drain: DrainPlan,
}

/// When clients are banned for what they do.
#[derive(Clone, Debug)]
pub struct BanPlan {
    /// For how many offences, and for how long.
    pub rules: BanRules,
    /// Who never is.
    pub allow: Vec<IpNetwork>,
    pub(crate) written: BanSettings,
}

/// When somebody is locked out for what has failed.
#[derive(Clone, Debug)]
pub struct LockoutPlan {
    /// For how many failures, and for how long.
    pub rules: LockoutRules,
    /// From where nothing counts.
    pub allow: Vec<IpNetwork>,
    pub(crate) written: LockoutSettings,
}

/// How the gateway goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// From not being ready until connections are no longer accepted.
    pub delay: Duration,
    /// From then on until what is left is cut off.
    pub deadline: Duration,
}

/// A named destination.
#[derive(Clone, Debug)]
pub struct UpstreamPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The addresses, used in turn.
    pub endpoints: Vec<EndpointUrl>,
    /// What is spoken with it.
    pub protocol: UpstreamProtocolKind,
    /// What TLS to it is verified with.
    pub tls: UpstreamTlsPlan,
    /// Set when requests leave this machine without encryption.
    pub danger_plaintext: Option<Weakening>,
    /// Its deadlines.
    pub timeouts: UpstreamTimeouts,
    /// Its limits.
    pub limits: UpstreamLimits,
    /// How many requests it may have at once, if that has a bound.
    pub concurrency: Option<ConcurrencySettings>,
    /// The weights of the endpoints, in their order.
    pub weights: Vec<u32>,
    /// How an endpoint is chosen, and what becomes of those that fail.
    pub care: Care,
    /// A hash of what was written for it.
    pub digest: Digest,
}

/// The TLS of an upstream's `https://` endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTlsPlan {
    /// A file with the authorities to believe; the system's when there is none.
    pub trust: Option<PathBuf>,
    /// The name certificates must be for; the endpoint's own host when there is none.
    pub server_name: Option<Arc<str>>,
    /// The certificate that is shown to servers that ask for one, PEM, and its private key, PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

impl UpstreamTlsPlan {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.client_certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.trust.iter().chain(own)
    }
}

impl UpstreamPlan {
    /// Whether any of its endpoints is reached by TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.endpoints.iter().any(|url| url.is_secure)
    }
}

/// An API: hosts, a path below which it lies, and its routes.
#[derive(Clone, Debug)]
pub struct ApiPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The hosts, lower case: exact, `*.` wildcards or `*`.
    pub hosts: Arc<[Arc<str>]>,
    /// The path below which it lies; `/` or without a slash at the end.
    pub base_path: Arc<str>,
    /// The names of the upstreams it goes to, with their shares; one at the least.
    pub upstreams: Vec<(Arc<str>, u32)>,
    /// Who is told.
    pub owner: Option<Arc<str>>,
    /// How it is found out who is calling.
    pub authenticate: Option<Arc<AuthenticatePlan>>,
    /// What its upstream gets as a credential in place of the client's.
    pub credentials: Option<Arc<CredentialsPlan>>,
    /// Its routes, in the order they were written.
    pub routes: Vec<Arc<RoutePlan>>,
    /// A hash of everything that decides what this API does, the defaults included: equal hashes, equal API.
    pub digest: Digest,
    pub(crate) own_policies: OwnPolicies,
    /// Hashes of what its routes match, for finding duplicates across APIs.
    pub(crate) matches: Arc<[(u64, u32)]>,
}

/// One route.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its name, unique in its API.
    pub name: Arc<str>,
    /// The methods it serves; nothing is implied, not even HEAD by GET.
    pub methods: Methods,
    /// The whole path template, base path included, canonical: `/orders/items/{id}`, `/files/{*rest}`.
    pub path: Arc<str>,
    /// Header fields that must have exactly this value; names are lower case.
    pub headers: Arc<[(Arc<str>, Arc<str>)]>,
    /// Who may call it.
    pub access: Access,
    /// What happens to a path with an encoded slash.
    pub encoded_slash: EncodedSlash,
    /// Whether a WebSocket may be opened.
    pub websocket: bool,
    /// The policies that apply.
    pub policies: PolicyLevels,
    pub(crate) own_policies: OwnPolicies,
}

/// The policies written at one level alone, for showing the plan as it was written.
#[derive(Clone, Default)]
pub(crate) struct OwnPolicies(pub(crate) Arc<[(usize, PolicySettings)]>);

impl fmt::Debug for OwnPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: settings are opaque here and may hold what must not be shown.
        f.debug_list().entries(self.0.iter().map(|(policy, _)| policy)).finish()
    }
}

/// Who may call a route.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Everybody, as the operator said in so many words.
    Public,
    /// Those whom a line fits.
    Allow {
        /// What policies are made from.
        access: Arc<RouteAccess>,
        /// As it was written.
        written: Value,
    },
}

/// Whose word on who is calling can be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityPlan {
    /// The providers, by name.
    pub providers: Vec<Arc<ProviderPlan>>,
    /// Clients that are known by certificates, by name.
    pub client_certificates: Vec<Arc<CertificatesPlan>>,
    /// Logins with a browser, by name.
    pub logins: Vec<Arc<LoginPlan>>,
    /// Stores of API keys, by name.
    pub api_keys: Vec<Arc<KeyStorePlan>>,
    /// Who signs tokens for upstreams, by name.
    pub signers: Vec<Arc<SignerPlan>>,
    /// Lists of senders that sign, by name.
    pub signatures: Vec<Arc<SignaturesPlan>>,
    /// Roles of the gateway's own naming, and what they stand for.
    pub roles: Vec<(Arc<str>, Vec<ProviderRole>)>,
    /// Whom limits apply to, by name.
    pub consumers: Vec<Arc<ConsumerPlan>>,
    /// What consumers may use, by name.
    pub plans: Vec<Arc<UsagePlan>>,
}

/// For each policy that applies its row in the table and its settings, outermost level first: defaults, API, route.
///
/// Shared among routes with equal policies: [`PolicyLevels::same`] tells so without comparing.
#[derive(Clone, Default)]
pub struct PolicyLevels(pub(crate) Arc<[(usize, Vec<PolicySettings>)]>);

impl PolicyLevels {
    /// The rows and their settings, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[PolicySettings])> {
        self.0.iter().map(|(policy, levels)| (*policy, levels.as_slice()))
    }

    /// Whether both are one and the same value, so that what was compiled from one serves the other.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A key for a map from policies to what was compiled from them; valid while this value lives.
    #[must_use]
    pub fn key(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl fmt::Debug for PolicyLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: settings are opaque here and may hold what must not be shown.
        f.debug_map().entries(self.0.iter().map(|(policy, levels)| (policy, levels.len()))).finish()
    }
}

/// A store that several nodes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// Where it is.
    pub url: StoreUrl,
    /// The user there.
    pub user: Option<Arc<str>>,
    /// The password there.
    pub password: Option<SecretSource>,
    /// A file with the authorities to believe; the system's when there is none.
    pub trust: Option<PathBuf>,
    /// What the names of all keys begin with.
    pub prefix: Arc<str>,
    /// How old what is known of other nodes may be where it must be fresh.
    pub stale_max: Duration,
    /// Set when it is reached on another machine without encryption.
    pub danger_plaintext: Option<Weakening>,
    /// A hash of what was written for it.
    pub digest: Digest,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogPlan {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a file.
    File {
        /// The file.
        path: PathBuf,
        /// When it is rotated by the gateway itself.
        rotate: Option<RotatePlan>,
    },
}

/// Rotation of a log by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotatePlan {
    /// The size at which a new file begins.
    pub size: ByteSize,
    /// How many old files are kept.
    pub keep: u32,
}

/// Something that weakens security, which an operator answers for until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakening {
    /// Where it is written, as a JSON pointer.
    pub path: String,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// When it ends in the running gateway, in seconds since the Unix epoch.
    pub expires_unix_seconds: u64,
}

/// Something that an operator means to look at again on a day. It stays in force; from that day on the operator is reminded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// Where it is written, as a JSON pointer.
    pub path: String,
    /// What it is, and why it is there.
    pub what: String,
    /// Who is to look at it.
    pub owner: Option<Arc<str>>,
    /// When, in seconds since the Unix epoch.
    pub due_unix_seconds: u64,
}
