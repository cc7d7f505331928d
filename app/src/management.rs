//! What the management API and the probes know of the gateway.

use crate::bans;
use crate::events::{Event, tell};
use crate::gateway::{Command, beside_socket};
use crate::handover::Upgrader;
use crate::lockouts;
use crate::overload::Seen;
use crate::process::{open_descriptors, resident_bytes};
use crate::reminders;
use crate::revocations;
use crate::upstreams;
use portcullis_control_admin::{
    Actor, BanInfo, BanRequest, Failure, KeyUsesInfo, ListenerInfo, LockoutInfo, Management, Reloaded, RevocationInfo,
    RevokeRequest, RouteInfo, Status, UnlockRequest, UpgradeRequest, Upgraded, UpstreamInfo,
};
use portcullis_control_config::{Access, DrainPlan, Finding, ListenerMode, Plan, Weakening};
use portcullis_control_reload::{BanLog, Expiry, KeyUseLog, LockoutLog, Names, Providers, RevocationLog, Running, SharedStore};
use portcullis_gateway_policy::LockoutPer;
use portcullis_gateway_proxy::Snapshot;
use portcullis_insight_record::{ExpiryGauge, Gauges, LockoutGauge, Recorder};
use portcullis_model::Clock;
use portcullis_model_settings::sorted;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// What is known of the running gateway.
pub struct State {
    /// What it records.
    pub recorder: Arc<Recorder>,
    commands: SyncSender<Command>,
    workers: usize,
    clock: Clock,
    names: Names,
    providers: Providers,
    revocations: Arc<RevocationLog>,
    key_uses: Arc<KeyUseLog>,
    bans: Arc<BanLog>,
    lockouts: Arc<LockoutLog>,
    shared: SharedStore,
    started: u64,
    now: Mutex<Now>,
    leaving: AtomicBool,
    stopping: AtomicBool,
    upgrader: OnceLock<Upgrader>,
    overload: Mutex<Seen>,
}

#[derive(Default)]
struct Now {
    running: Option<(Plan, Arc<Snapshot>)>,
    expiries: Arc<[Expiry]>,
    since: u64,
    last_error: Option<String>,
    last_good_trouble: Option<String>,
    done: u64,
    refused: u64,
}

/// Who is banned, and who is locked out.
pub type KeptOut = (Arc<BanLog>, Arc<LockoutLog>);

impl State {
    /// Knows nothing yet.
    pub fn new(
        recorder: Arc<Recorder>,
        commands: SyncSender<Command>,
        workers: usize,
        clock: Clock,
        (names, providers): (Names, Providers),
        (revocations, key_uses, (bans, lockouts), shared): (Arc<RevocationLog>, Arc<KeyUseLog>, KeptOut, SharedStore),
    ) -> Arc<Self> {
        let started = clock.unix_seconds();
        let (leaving, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self {
            recorder,
            commands,
            workers,
            clock,
            names,
            providers,
            revocations,
            key_uses,
            bans,
            lockouts,
            shared,
            started,
            now: Mutex::default(),
            leaving,
            stopping,
            upgrader: OnceLock::new(),
            overload: Mutex::default(),
        })
    }

    /// The memory that there may be, if that is configured, and how late workers may be.
    pub fn overload_settings(&self) -> (Option<u64>, Duration) {
        let unknown = (None, Duration::MAX);
        let of = |plan: &Plan| (plan.overload.memory_bytes_max.map(|bytes| bytes.0), plan.overload.target_latency);
        self.now().running.as_ref().map_or(unknown, |(plan, _)| of(plan))
    }

    /// What was seen of the load.
    pub fn saw(&self, seen: Seen) {
        *self.overload.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    fn overload(&self) -> Seen {
        self.overload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The time, in seconds since the Unix epoch.
    pub fn now_unix_seconds(&self) -> u64 {
        self.clock.unix_seconds()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another configuration is in force.
    pub fn now_running(&self, running: &Running) {
        self.shared.follow(running.plan.store.as_deref());
        let mut now = self.now();
        now.done += u64::from(now.running.is_some());
        now.running = Some((running.plan.clone(), Arc::clone(&running.snapshot)));
        now.expiries = Arc::clone(&running.expiries);
        now.since = self.clock.unix_seconds();
        now.last_error = None;
    }

    /// A reload found what runs already.
    pub fn reload_unneeded(&self) {
        self.now().last_error = None;
    }

    /// A reload was refused.
    pub fn reload_refused(&self, problem: &str) {
        let mut now = self.now();
        now.refused += 1;
        now.last_error = Some(problem.to_owned());
    }

    /// The last known good configuration was kept on disk, or why it could not be.
    pub fn last_good_kept(&self, trouble: Option<String>) {
        self.now().last_good_trouble = trouble;
    }

    /// How the gateway goes away by the configuration in force.
    pub fn drain_plan(&self) -> DrainPlan {
        let nothing = DrainPlan { delay: Duration::ZERO, deadline: Duration::ZERO };
        self.now().running.as_ref().map_or(nothing, |(plan, _)| plan.management.drain)
    }

    /// From now on this process can be upgraded.
    pub fn set_upgrader(&self, upgrader: Upgrader) {
        // Set once, when the gateway begins.
        let _once = self.upgrader.set(upgrader);
    }

    fn sockets(&self) -> Result<Vec<TcpListener>, String> {
        let (reply, answer) = sync_channel(1);
        let sockets = self.commands.send(Command::Sockets(reply)).ok().and_then(|()| answer.recv().ok());
        sockets.ok_or("the gateway is stopping")?.map_err(|error| format!("the sockets cannot be handed over: {error}"))
    }

    /// The end has begun: probes say that it is not ready, and nobody takes that back.
    pub fn begin_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire) || self.stopping.load(Ordering::Acquire)
    }

    /// Asks clients to go elsewhere, or no longer, which only lasts until the end begins. Probes say so first.
    pub async fn leave(&self, leaving: bool) {
        if !leaving && self.stopping.load(Ordering::Acquire) {
            return;
        }
        self.leaving.store(leaving, Ordering::Release);
        let commands = self.commands.clone();
        // Control that is gone has nobody left to ask.
        let _gone = tokio::task::spawn_blocking(move || {
            let (done, is_done) = sync_channel(1);
            commands.send(Command::Leave(leaving, done)).ok()?;
            is_done.recv().ok()
        })
        .await;
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.now().running.as_ref().map(|(_, snapshot)| Arc::clone(snapshot))
    }

    /// What is left to each thing that runs out; of several of a kind under one name, to the first.
    fn lockout_gauges(&self) -> Vec<LockoutGauge> {
        let (all, made) = (self.lockouts.list(), self.lockouts.made());
        let gauge = |(per, made): (LockoutPer, u64)| LockoutGauge {
            per: per.as_str(),
            in_force: all.iter().filter(|row| row.per == per).count() as u64,
            made,
        };
        LockoutPer::ALL.into_iter().zip(made).map(gauge).collect()
    }

    fn expiry_gauges(&self) -> Vec<ExpiryGauge> {
        let (expiries, now) = (Arc::clone(&self.now().expiries), self.clock.unix_seconds());
        let mut first: BTreeMap<(&'static str, &str), i64> = BTreeMap::new();
        for one in expiries.iter() {
            let left = first.entry((one.kind.as_str(), &one.name)).or_insert(i64::MAX);
            *left = one.left(now).min(*left);
        }
        let gauge = |((kind, name), seconds): ((&'static str, &str), i64)| ExpiryGauge { kind, name: name.to_owned(), seconds };
        first.into_iter().map(gauge).collect()
    }

    fn weakenings(&self, plan: &Plan) -> Vec<String> {
        let now = self.clock.unix_seconds();
        let shown = |one: &Weakening| {
            let state = if one.expires_unix_seconds <= now { "expired: what it allowed is closed" } else { "in force" };
            format!("{}: {} ({}); {state}", one.path, one.reason, one.owner)
        };
        plan.weakenings.iter().map(shown).collect()
    }
}

fn mode(mode: &ListenerMode) -> &'static str {
    match mode {
        ListenerMode::Tls(_) => "tls",
        ListenerMode::RedirectToHttps => "redirect_to_https",
        ListenerMode::DangerPlaintext(_) => "danger_plaintext",
    }
}

impl Management for State {
    fn status(&self) -> Status {
        let now = self.now();
        let plan = now.running.as_ref().map(|(plan, _)| plan);
        let snapshot = now.running.as_ref().map(|(_, snapshot)| snapshot);
        let listeners = plan.iter().flat_map(|plan| &plan.listeners).map(|listener| ListenerInfo {
            name: listener.name.to_string(),
            address: listener.address.to_string(),
            mode: mode(&listener.mode).to_owned(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.clock.unix_seconds().saturating_sub(self.started),
            ready: plan.is_some() && !self.is_leaving(),
            generation: snapshot.map_or(0, |snapshot| snapshot.generation.0),
            configuration_hash: snapshot.map_or_else(String::new, |snapshot| snapshot.hash.clone()),
            configured_unix_seconds: now.since,
            last_reload_error: now.last_error.clone(),
            last_known_good_error: now.last_good_trouble.clone(),
            overload: self.overload().words(),
            store: crate::shared::words(&self.shared.facts()),
            workers: self.workers,
            listeners: listeners.collect(),
            routes: snapshot.map_or(0, |snapshot| snapshot.routes.len()),
            weakenings: plan.map_or_else(Vec::new, |plan| self.weakenings(plan)),
            expiring: reminders::expiring(&now.expiries, self.clock.unix_seconds()),
            reminders: plan.map_or_else(Vec::new, |plan| reminders::shown(plan, self.clock.unix_seconds())),
        }
    }

    fn routes(&self) -> Vec<RouteInfo> {
        let Some((plan, snapshot)) = self.now().running.clone() else { return Vec::new() };
        let mut infos = Vec::with_capacity(snapshot.routes.len());
        let pipelines: std::collections::HashMap<(&str, &str), Vec<String>> = snapshot
            .routes
            .routes()
            .map(|route| ((&*route.target.api, &*route.target.name), route.target.pipeline.names().map(str::to_owned).collect()))
            .collect();
        for api in &plan.apis {
            for route in &api.routes {
                infos.push(RouteInfo {
                    name: route.name.to_string(),
                    api: api.name.to_string(),
                    hosts: api.hosts.iter().map(ToString::to_string).collect(),
                    methods: route.methods.iter().map(|method| method.as_str().to_owned()).collect(),
                    path: route.path.to_string(),
                    headers: route.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
                    access: match &route.access {
                        Access::Public => "public".to_owned(),
                        Access::Allow { written, .. } => written.to_string(),
                    },
                    upstream: api.upstreams.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(", "),
                    policies: pipelines.get(&(&*api.name, &*route.name)).cloned().unwrap_or_default(),
                });
            }
        }
        infos
    }

    fn upstreams(&self) -> Vec<UpstreamInfo> {
        self.snapshot().map_or_else(Vec::new, |snapshot| upstreams::infos(&snapshot))
    }

    fn configuration(&self) -> serde_json::Value {
        self.now().running.as_ref().map_or(serde_json::Value::Null, |(plan, _)| plan.to_canonical_json())
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Reloaded, Failure>> + Send + '_>> {
        let commands = self.commands.clone();
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || {
                let (reply, answer) = sync_channel(1);
                commands.send(Command::Reload(reply)).ok()?;
                answer.recv().ok()
            });
            match asked.await {
                Ok(Some(Ok(outcome))) => {
                    let warnings = outcome.warnings.iter().map(Finding::in_one_line).collect();
                    let generation = outcome.generation.0;
                    Ok(Reloaded { generation, configuration_hash: outcome.hash, changed: outcome.changed, warnings })
                }
                Ok(Some(Err(message))) => Err(Failure { message }),
                Ok(None) | Err(_) => Err(Failure { message: "the gateway is stopping".to_owned() }),
            }
        })
    }

    fn drain(&self, draining: bool) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.leave(draining).await;
            tell(&Event::Draining { draining });
        })
    }

    fn upgrade(&self, actor: Actor, asked: UpgradeRequest) -> Pin<Box<dyn Future<Output = Result<Upgraded, Failure>> + Send + '_>> {
        Box::pin(async move {
            // The new version must build and listen in the meantime: this thread waits for it.
            let outcome = tokio::task::block_in_place(|| {
                if self.stopping.load(Ordering::Acquire) {
                    return Err("the gateway is stopping".to_owned());
                }
                let upgrader = self.upgrader.get().ok_or("this gateway cannot be upgraded")?;
                upgrader.upgrade(actor, &asked, &self.sockets()?)
            });
            outcome.map_err(|message| Failure { message })
        })
    }

    fn revoke(&self, actor: Actor, asked: &RevokeRequest) -> Result<RevocationInfo, Failure> {
        let plan = self.now().running.as_ref().map(|(plan, _)| plan.clone());
        let plan = plan.ok_or_else(|| Failure { message: "nothing runs yet".to_owned() })?;
        // The disk and the store are waited for.
        let revoke = || revocations::revoke((&self.revocations, &self.shared), &plan, actor, asked, self.clock.unix_seconds());
        tokio::task::block_in_place(revoke).map_err(|message| Failure { message })
    }

    fn revocations(&self) -> Vec<RevocationInfo> {
        let is_shared = self.now().running.as_ref().is_some_and(|(plan, _)| plan.store.is_some());
        self.revocations.list().iter().map(|one| revocations::info(one, is_shared)).collect()
    }

    fn key_uses(&self) -> Vec<KeyUsesInfo> {
        self.key_uses.all().into_iter().map(crate::keys::info).collect()
    }

    fn ban(&self, actor: Actor, asked: &BanRequest) -> Result<BanInfo, Failure> {
        let running = self.snapshot().ok_or_else(|| Failure { message: "nothing runs yet".to_owned() })?;
        bans::perform(&self.bans, &running, actor, asked, self.clock.unix_seconds()).map_err(|message| Failure { message })
    }

    fn bans(&self) -> Vec<BanInfo> {
        self.bans.list().iter().map(|(network, ban)| bans::info(*network, ban)).collect()
    }

    fn unlock(&self, actor: Actor, asked: &UnlockRequest) -> Result<LockoutInfo, Failure> {
        lockouts::perform(&self.lockouts, actor, asked).map_err(|message| Failure { message })
    }

    fn lockouts(&self) -> Vec<LockoutInfo> {
        self.lockouts.list().iter().map(lockouts::info).collect()
    }

    fn metrics(&self) -> String {
        let status = self.status();
        let (reloads_done, reloads_refused) = {
            let now = self.now();
            (now.done, now.refused)
        };
        self.recorder.metrics(&Gauges {
            version: status.version,
            generation: status.generation,
            reloads_done,
            reloads_refused,
            workers: self.workers as u64,
            started_unix_seconds: self.started,
            resident_bytes: resident_bytes(),
            open_descriptors: open_descriptors(),
            weakenings: status.weakenings.len() as u64,
            upstreams: self.snapshot().map_or_else(Vec::new, |snapshot| upstreams::gauges(&snapshot)),
            overload: self.overload().gauges(),
            bans: self.bans.counts(),
            lockouts: self.lockout_gauges(),
            expiries: self.expiry_gauges(),
            names: upstreams::name_gauges(self.names.facts()),
            store: crate::shared::gauges(&self.shared.facts()),
            providers: upstreams::provider_gauges(self.providers.facts(self.clock.unix_seconds())),
        })
    }

    fn ready(&self) -> bool {
        self.now().running.is_some() && !self.is_leaving()
    }

    fn audit(&self, actor: Actor, action: &str) -> Result<(), Failure> {
        let Some(path) = self.now().running.as_ref().map(|(plan, _)| beside_socket(plan, "audit.log")) else {
            return Err(Failure { message: "nothing runs yet".to_owned() });
        };
        let entry = serde_json::json!({
            "unix_seconds": self.clock.unix_seconds(), "action": action,
            "uid": actor.uid, "gid": actor.gid, "pid": actor.pid,
        });
        keep_note(&path, &entry)
            .map_err(|error| Failure { message: format!("the action could not be recorded in `{}`: {error}", path.display()) })
    }
}

/// Keeps a note in the log of what was done.
pub fn keep_note(path: &Path, entry: &serde_json::Value) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
    file.and_then(|mut file| writeln!(file, "{}", sorted(entry.clone())).and_then(|()| file.sync_data()))
}
