//! Settings -> [`Plan`]: names resolved, contradictions and insecure combinations refused, everything at once.

mod api_keys;
mod apis;
mod care;
mod client_certificates;
mod cluster;
mod consumers;
mod credentials;
mod defend;
mod dues;
mod identity;
mod introspection;
mod listeners;
mod logins;
mod plans;
mod policies;
mod signatures;
mod upstreams;

pub use policies::cedar_schema;

pub(crate) use apis::ApiCache;

use crate::digest::{Digest, DigestHasher};
use crate::merge::Merged;
use crate::plan::{AccessLogPlan, DrainPlan, IdentityPlan, ManagementPlan, Plan, RotatePlan, Weakening};
use crate::settings::{
    AccessLogSettings, AccessLogTarget, ClientIpSettings, ConfigFile, DangerSettings, DnsSettings, ManagementSettings,
    OverloadSettings, Part, RecordSettings,
};
use portcullis_model_settings::{Decode, Diagnostic, Diagnostics, FileId, PolicySchema, Position, Severity, Spanned, quoted};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// What checks know and find.
pub(crate) struct Checker<'c> {
    diagnostics: &'c mut Diagnostics,
    files: &'c HashMap<FileId, Arc<str>>,
    top: FileId,
    folder: &'c Path,
    now_unix_seconds: u64,
    weakenings: Vec<Weakening>,
}

impl<'c> Checker<'c> {
    /// `files` are the names to show, `top` is where to report what is missing everywhere, relative paths start at `folder`.
    pub(crate) fn new(
        diagnostics: &'c mut Diagnostics,
        files: &'c HashMap<FileId, Arc<str>>,
        top: FileId,
        folder: &'c Path,
        now_unix_seconds: u64,
    ) -> Self {
        Self { diagnostics, files, top, folder, now_unix_seconds, weakenings: Vec::new() }
    }

    fn push<T>(&mut self, severity: Severity, place: &Spanned<T>, path: String, what: impl Into<String>, help: impl Into<String>) {
        let (what, help) = (what.into(), Some(help.into()));
        let (position, width) = (place.position, place.width);
        self.diagnostics.push(Diagnostic { severity, position, width, path, what, help, hide_source: false });
    }

    fn error<T>(&mut self, place: &Spanned<T>, path: impl Into<String>, what: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, place, path.into(), what, help);
    }

    fn warning<T>(&mut self, place: &Spanned<T>, path: impl Into<String>, what: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, place, path.into(), what, help);
    }

    /// Something that is missing in all files.
    pub(crate) fn error_at_top(&mut self, what: &str, help: &str) {
        let top = Spanned { value: (), position: Position { file: self.top, line: 1, column: 1 }, width: 1 };
        self.error(&top, "", what, help);
    }

    /// Something that is written twice; `first` is where it was before.
    pub(crate) fn twice(&mut self, position: Position, path: &str, first: Position) {
        let name = quoted(path.rsplit('/').next().unwrap_or(path));
        let help = format!("keep one of the two; it is also in {}", self.place(first));
        self.error(&Spanned { value: (), position, width: 1 }, path, format!("{name} is written twice"), help);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.has_errors()
    }

    /// A place in words.
    fn place(&self, position: Position) -> String {
        let file = self.files.get(&position.file).map_or("another file", |name| &**name);
        format!("{file}:{}:{}", position.line, position.column)
    }

    /// Takes a weakening into the plan, unless its time is over.
    fn danger(&mut self, danger: &Spanned<DangerSettings>, path: String) -> Weakening {
        let expires_unix_seconds = danger.expires.unix_seconds();
        if expires_unix_seconds <= self.now_unix_seconds {
            let what = format!("this weakening ended on {}", quoted(danger.expires.encode().as_str().unwrap_or_default()));
            let help = format!("remove it, or let {} decide on a new day", quoted(&danger.owner));
            self.error(&danger.expires, format!("{path}/expires"), what, help);
        }
        let weakening = Weakening { path, reason: danger.reason.clone(), owner: danger.owner.clone(), expires_unix_seconds };
        self.weakenings.push(weakening.clone());
        weakening
    }
}

/// Checks everything. What it gives back may only be used when there are no errors among the findings.
pub(crate) fn check(
    files: &[&ConfigFile],
    policies: &Arc<[PolicySchema]>,
    apis: &mut ApiCache,
    mut checker: Checker<'_>,
) -> Option<Plan> {
    let merged = crate::merge::merge(files, &mut checker);
    let digest = digest_of(files, &merged);
    let listeners = listeners::check(&merged.listeners, &mut checker);
    let management = check_management(merged.management, &listeners, &mut checker)?;
    let upstreams = upstreams::check(&merged.upstreams, &listeners, &management, &mut checker);
    let dns_servers = check_dns(merged.dns, &mut checker);
    let access_log = check_access_log(merged.record, checker.folder);
    let client_ip = check_client_ip(merged.defend.map(|defend| &defend.client_ip), &mut checker)?;
    let bans = defend::check_bans(merged.defend.and_then(|defend| defend.bans.as_ref()), &mut checker);
    let identity = identity::check(&merged, &mut checker);
    let found = apis.policies.read(&merged, &identity, &mut checker);
    let digest = found.digest_of_all().map_or(digest, |of_policies| joined(digest, of_policies));
    let (defaults, apis) = apis.check(&merged, policies, (&identity, &found), &mut checker);
    identity.check_routes(&apis, &merged, &mut checker);
    listeners::check_reach(&merged, &mut checker);
    upstreams::check_use(&merged, &mut checker);
    let store = cluster::check(&merged, &mut checker);
    let plans = plans::check(&merged, &mut checker);
    let consumers = consumers::check(&identity, &merged, &plans, &mut checker);
    let plans = plans.into_values().flatten().collect();
    let lockout = merged.defend.and_then(|defend| defend.lockout.as_ref());
    let lockout = defend::check_lockout(lockout, identity.store_names(), &mut checker);
    let reminders = dues::reminders(&merged, policies, &mut checker);
    let mut weakenings = checker.weakenings;
    weakenings.sort_by(|a, b| a.path.cmp(&b.path));
    Some(Plan {
        listeners,
        management,
        upstreams,
        identity: IdentityPlan { consumers, plans, ..identity.plan() },
        apis,
        client_ip,
        bans,
        lockout,
        overload: merged.defend.map(|defend| defend.overload.clone()).or_else(OverloadSettings::absent)?,
        dns_servers,
        access_log,
        store,
        workers: merged.workers,
        weakenings,
        reminders,
        warnings: Vec::new(),
        policies: Arc::clone(policies),
        defaults_digest: apis::digest_of_uses(merged.defaults.iter().copied()),
        defaults,
        digest,
    })
}

/// A hash of all that is written, whatever file it is in and in whatever order files and names come.
fn digest_of(files: &[&ConfigFile], merged: &Merged<'_>) -> Digest {
    fn parts<T>(hasher: &mut DigestHasher, section: &str, parts: &[&Part<T>]) {
        hasher.text(section);
        for part in parts {
            hasher.text(&part.name);
            hasher.text(&part.digest.to_string());
        }
    }
    let mut hasher = DigestHasher::new("plan");
    hasher.text(env!("CARGO_PKG_VERSION"));
    parts(&mut hasher, "listeners", &merged.listeners);
    parts(&mut hasher, "upstreams", &merged.upstreams);
    parts(&mut hasher, "apis", &merged.apis);
    parts(&mut hasher, "consumers", &merged.consumers);
    parts(&mut hasher, "plans", &merged.plans);
    hasher.text(&apis::digest_of_uses(merged.defaults.iter().copied()).to_string());
    let once = |file: &&ConfigFile| {
        [
            ("management", file.management.digest),
            ("identity", file.identity.digest),
            ("roles", file.roles.digest),
            ("defend", file.defend.digest),
            ("dns", file.dns.digest),
            ("record", file.record.digest),
            ("cluster", file.cluster.digest),
            ("workers", file.workers.digest),
        ]
    };
    let mut written: Vec<(&str, Digest)> =
        files.iter().flat_map(once).filter_map(|(section, digest)| Some((section, digest?))).collect();
    written.sort_unstable();
    for (section, digest) in written {
        hasher.text(section);
        hasher.text(&digest.to_string());
    }
    hasher.digest()
}

/// What is written in the configuration, and in the policies that it names.
fn joined(written: Digest, of_policies: Digest) -> Digest {
    let mut hasher = DigestHasher::new("plan and policies");
    hasher.text(&written.to_string());
    hasher.text(&of_policies.to_string());
    hasher.digest()
}

fn check_management(
    written: Option<&ManagementSettings>,
    listeners: &[Arc<crate::plan::ListenerPlan>],
    checker: &mut Checker<'_>,
) -> Option<ManagementPlan> {
    let written = written.cloned().or_else(ManagementSettings::absent)?;
    if let Some(probes) = &written.probes {
        let path = "/management/probes";
        if !probes.ip().to_canonical().is_loopback() {
            let help = "write a loopback address, such as `127.0.0.1:9464`; probes and metrics are not for the network";
            checker.error(probes, path, format!("`{}` is not a loopback address", probes.value), help);
        }
        for listener in listeners.iter().filter(|listener| listeners::collide(listener.address, probes.value)) {
            let help = "give one of them another port";
            checker.error(probes, path, format!("the listener `{}` has the same address", listener.name), help);
        }
    }
    let socket = written.socket.resolve(checker.folder);
    let drain = DrainPlan { delay: written.drain.delay, deadline: written.drain.deadline };
    Some(ManagementPlan { socket, probes: written.probes.as_ref().map(|probes| probes.value), drain })
}

fn check_access_log(written: Option<&RecordSettings>, folder: &Path) -> AccessLogPlan {
    let on = match written.map(|record| &record.access_log) {
        None => return AccessLogPlan::Stdout,
        Some(AccessLogSettings::Off) => return AccessLogPlan::Off,
        Some(AccessLogSettings::On(on)) => on,
    };
    match (on.to, &on.path) {
        (AccessLogTarget::File, Some(path)) => {
            let rotate = on.rotate.as_ref().map(|rotate| RotatePlan { size: rotate.size, keep: rotate.keep });
            AccessLogPlan::File { path: path.resolve(folder), rotate }
        }
        // A file without a path was refused when it was decoded.
        _ => AccessLogPlan::Stdout,
    }
}

/// How many servers of names can be listed.
const DNS_SERVERS_MAX: usize = 8;

fn check_dns(written: Option<&DnsSettings>, checker: &mut Checker<'_>) -> Vec<SocketAddr> {
    let servers = written.map_or(&[][..], |written| &written.servers);
    for (at, server) in servers.iter().enumerate() {
        let path = format!("/dns/servers/{at}");
        if servers.iter().take(at).any(|before| before.value == server.value) {
            checker.error(server, path, format!("the server `{}` is listed twice", server.value.0), "remove one of the two");
        } else if at == DNS_SERVERS_MAX {
            checker.error(server, path, format!("more than {DNS_SERVERS_MAX} servers"), "keep those that are nearest");
        }
    }
    servers.iter().map(|server| server.value.0).collect()
}

/// How many proxies can be trusted; each exchange compares with them.
const PROXIES_MAX: usize = 256;

fn check_client_ip(written: Option<&ClientIpSettings>, checker: &mut Checker<'_>) -> Option<ClientIpSettings> {
    let written = written.cloned().or_else(ClientIpSettings::absent)?;
    for (at, proxy) in written.trusted_proxies.iter().enumerate() {
        let path = format!("/defend/client_ip/trusted_proxies/{at}");
        if proxy.prefix_len() == 0 {
            let help = "list the addresses of your own proxies; whoever is trusted can claim any address";
            checker.error(proxy, path, format!("`{}` trusts everybody", proxy.value), help);
        } else if at == PROXIES_MAX {
            checker.error(proxy, path, format!("more than {PROXIES_MAX} trusted proxies"), "join neighbours into networks");
        }
    }
    Some(written)
}
