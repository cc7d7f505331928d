//! A running gateway: the data plane, what controls it, and what it records.

use crate::bans::tell_made;
use crate::events::{Event, tell};
use crate::guard::tell_admitted;
use crate::management::{KeptOut, State, keep_note};
use crate::reminders::Daily;
use portcullis_control_config::{AccessLogPlan, Finding, Loader, Plan};
use portcullis_control_reload::{
    BanLog, Builder, Built, Guard, HealthChange, HealthChecks, Inherited, KeyUseEvent, KeyUseFollowing, KeyUseLog, LastGood,
    LockoutLog, Outcome, Reloader, RevocationLog, SharedStore, Watch, warnings, watch,
};
use portcullis_gateway_listener::TicketKeys;
use portcullis_gateway_proxy::{DataPlane, Hurry, Published, SinkMaker};
use portcullis_insight_record::{AccessLog, RecordSettings, Recorder, Rotation};
use portcullis_model::{Clock, Generation, Secret};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long files must be quiet before they are read: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(10);
/// How many steps it may take.
const STEPS_MAX: usize = 50;
/// How often it is looked whether something is overdue.
const REMIND: Duration = Duration::from_hours(1);
/// Commands that may wait.
const COMMANDS_MAX: usize = 64;

/// What control is asked to do.
pub enum Command {
    /// Read the configuration again; who asked hears what came of it.
    Reload(SyncSender<Result<Outcome, String>>),
    /// Files may have changed.
    Changed,
    /// Ask clients to go elsewhere, or no longer; who asked hears when it is so.
    Leave(bool, SyncSender<()>),
    /// Give descriptors of every socket that is listened on.
    Sockets(SyncSender<std::io::Result<Vec<TcpListener>>>),
    /// End; exchanges under way may take this long.
    Stop(Duration),
}

/// A running gateway.
pub struct Gateway {
    /// What is known of it, for those who ask.
    pub state: Arc<State>,
    commands: SyncSender<Command>,
    control: JoinHandle<()>,
    hurry: Arc<Hurry>,
    _checks: HealthChecks,
    tickets: Arc<TicketKeys>,
    /// The watch over memory and descriptors ends with this.
    _watching: SyncSender<()>,
    /// The watches over the files of what has been revoked, and of who is banned, end with these.
    _following: [SyncSender<()>; 3],
    /// When API keys are used is written until this is gone, and then for a last time.
    key_uses: KeyUseFollowing,
}

/// What a gateway is started from.
pub struct Start {
    /// Reads the configuration.
    pub loader: Loader,
    /// The first configuration.
    pub plan: Plan,
    /// Judges those that follow.
    pub guard: Guard,
    /// Worker threads, if the command line says.
    pub workers: Option<usize>,
    /// The clock.
    pub clock: Clock,
    /// Sockets that are there already.
    pub listeners: Inherited,
    /// Keys of session tickets from the version before.
    pub tickets: Option<Secret<Vec<u8>>>,
}

/// Where the last known good configuration is kept: beside the management socket.
pub fn last_good_path(plan: &Plan) -> PathBuf {
    beside_socket(plan, "last-known-good.yaml")
}

/// A file in the folder of the management socket.
pub fn beside_socket(plan: &Plan, name: &str) -> PathBuf {
    plan.management.socket.parent().unwrap_or(Path::new(".")).join(name)
}

impl Gateway {
    /// Starts serving.
    ///
    /// # Errors
    /// Why it cannot, for the operator.
    pub fn start(start: Start) -> Result<Self, String> {
        let Start { loader, plan, guard, workers, clock, listeners, tickets } = start;
        let workers = workers.or(plan.workers.map(usize::from)).unwrap_or_else(cores).max(1);
        let report = Arc::new(|text: &str| tell(&Event::Warning { text }));
        let builder = Builder::new(portcullis_policies::POLICIES, clock.clone()).reporting(report);
        let key_uses = KeyUseLog::new(beside_socket(&plan, "key-uses"), clock.clone());
        let mut builder = builder.in_environment(Arc::new(variable)).keeping_uses(Arc::clone(&key_uses));
        let handed = tickets;
        let tickets = Arc::clone(builder.tickets());
        if let Some(handed) = &handed {
            tickets.take_over(handed);
        }
        let Built { snapshot, fingerprint, overlaps, names } = builder.build(&plan, Generation(1))?;
        builder.follow(names);
        let warnings = warnings(&plan, &overlaps, &snapshot.routes, &loader);
        let recorder = Recorder::start(workers, &record_settings(&plan));
        let (recorder, seeds) = recorder.map_err(|error| format!("the recorder cannot be started: {error}"))?;
        let mut published = Published::new(snapshot, clock.clone());
        published.revocations = Arc::clone(builder.revocations());
        let published = Arc::new(published);
        // Before anybody is served: who was revoked stays out.
        let revocations = Arc::clone(&published.revocations);
        let revocations = RevocationLog::open(beside_socket(&plan, "revocations.jsonl"), clock.clone(), revocations)?;
        let following = revocations.follow(|text| tell(&Event::Warning { text }));
        let following = following.map_err(|error| format!("a thread cannot be started: {error}"))?;
        let shared = share(&revocations, &plan, clock.clone())?;
        let writing = follow_key_uses(&key_uses, beside_socket(&plan, "audit.log"), clock.clone())?;
        let (kept_out, [keeping, locking]) = keep_out(&plan, &clock, &published)?;
        let sinks = seeds.into_iter().map(|seed| Box::new(move || seed.into_sink()) as SinkMaker).collect();
        let mut seed = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| "the system gives no random bytes".to_owned())?;
        let watched = Arc::clone(&published);
        let plane = DataPlane::start(&published, sinks, seed).map_err(|error| format!("workers cannot be started: {error}"))?;
        let hurry = Arc::new(plane.hurry());
        let (commands, received) = sync_channel(COMMANDS_MAX);
        let known = (builder.names().clone(), builder.providers());
        let logs = (revocations, key_uses, kept_out, shared);
        let state = State::new(Arc::new(recorder), commands.clone(), workers, clock, known, logs);
        let last_good = keep_last_good(&plan, &state)?;
        let checks = HealthChecks::start(Arc::clone(&published), crate::process::descriptor_limit(), tell_health);
        let checks = checks.map_err(|error| format!("health checks cannot be started: {error}"))?;
        let reloader = Reloader::start(loader, builder, (guard, last_good), (plan, fingerprint), published, plane, listeners)?;
        state.now_running(reloader.running());
        let watching = crate::overload::watch(watched, Arc::clone(&state))?;
        let shown: Vec<String> = reloader.addresses().map(|(name, address)| format!("{address} ({name})")).collect();
        tell(&Event::Started { generation: 1, addresses: &shown });
        tell_warnings(&warnings);
        let own = Arc::clone(&state);
        let changed = commands.clone();
        let control = std::thread::Builder::new().name("control".to_owned());
        let control = control.spawn(move || control_loop(reloader, &own, &received, changed)).map_err(|error| error.to_string())?;
        Ok(Self {
            state,
            commands,
            control,
            hurry,
            tickets,
            _checks: checks,
            _watching: watching,
            _following: [following, keeping, locking],
            key_uses: writing,
        })
    }

    /// The keys of session tickets.
    pub fn tickets(&self) -> &Arc<TicketKeys> {
        &self.tickets
    }

    /// What ends it at once while it stops.
    pub fn hurry(&self) -> Arc<Hurry> {
        Arc::clone(&self.hurry)
    }

    /// Stops: no new connections, exchanges under way are finished within a bound, records are written.
    pub fn stop(self, within: Duration) {
        let _gone = self.commands.send(Command::Stop(within));
        let ended = self.control.join();
        drop(self.key_uses);
        self.state.recorder.stop();
        if ended.is_ok() {
            tell(&Event::Stopped);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this package alone reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How long the start waits for what other nodes have revoked. Then who is served is who is let in by what is known here.
const SHARED_WITHIN: Duration = Duration::from_secs(2);

/// Shares revocations with other nodes, if there is a store for it. What they have revoked is known before anybody is served, if it answers.
fn share(revocations: &Arc<RevocationLog>, plan: &Plan, clock: Clock) -> Result<SharedStore, String> {
    let report = Arc::new(|text: &str| tell(&Event::Warning { text }));
    let shared = SharedStore::start(revocations, clock, Arc::new(variable), report);
    let shared = shared.map_err(|error| format!("a thread cannot be started: {error}"))?;
    shared.follow(plan.store.as_deref());
    shared.wait(SHARED_WITHIN);
    Ok(shared)
}

/// Keeps on disk when API keys are used. Those that are refused for being idle are told, and noted beside what operators did.
fn follow_key_uses(key_uses: &Arc<KeyUseLog>, audit: PathBuf, clock: Clock) -> Result<KeyUseFollowing, String> {
    let told = move |event: &KeyUseEvent<'_>| match event {
        KeyUseEvent::Problem(text) => tell(&Event::Warning { text }),
        KeyUseEvent::Idle(store, key) => {
            tell(&Event::KeyIdle { store, id: &key.id, name: &key.name, used: key.used });
            let note = serde_json::json!({
                "unix_seconds": clock.unix_seconds(), "action": format!("key `{}` of `{store}` refused: idle", key.id),
                "name": key.name, "used": key.used,
            });
            if let Err(error) = keep_note(&audit, &note) {
                tell(&Event::Warning { text: &format!("an idle key could not be noted in `{}`: {error}", audit.display()) });
            }
        }
    };
    key_uses.follow(told).map_err(|error| format!("a thread cannot be started: {error}"))
}

fn report_warning(text: &str) {
    tell(&Event::Warning { text });
}

fn tell_health(change: &HealthChange) {
    let problem = change.failure.map(|failure| failure.to_string());
    tell(&Event::Health { upstream: &change.upstream, endpoint: change.endpoint.address, problem });
}

/// Keeps on disk what was in force last. That it cannot be kept is no reason to stop serving, but to be told.
fn keep_last_good(plan: &Plan, state: &Arc<State>) -> Result<LastGood, String> {
    let state = Arc::clone(state);
    let told = move |outcome: Result<(), String>| {
        let trouble = outcome.err().map(|problem| format!("the last known good configuration could not be kept: {problem}"));
        if let Some(text) = &trouble {
            tell(&Event::Warning { text });
        }
        state.last_good_kept(trouble);
    };
    LastGood::start(last_good_path(plan), told).map_err(|error| format!("a thread cannot be started: {error}"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Where records go by a plan.
pub fn record_settings(plan: &Plan) -> RecordSettings {
    let access_log = match &plan.access_log {
        AccessLogPlan::Off => AccessLog::Off,
        AccessLogPlan::Stdout => AccessLog::Stdout,
        AccessLogPlan::File { path, rotate } => AccessLog::File {
            path: path.clone(),
            rotate: rotate.map(|rotate| Rotation { bytes: rotate.size.0, keep: rotate.keep }),
        },
    };
    RecordSettings { access_log }
}

/// The thread that changes what runs. One change after the other.
fn control_loop(mut reloader: Reloader, state: &State, commands: &Receiver<Command>, changed: SyncSender<Command>) {
    let mut watching = watch(move || {
        // A full queue has a change in it already.
        let _queued = changed.try_send(Command::Changed);
    });
    follow(&mut watching, &reloader);
    // What changed between the first reading and the begin of the watch has been seen by nobody.
    let _told = reload(&mut reloader, state);
    let mut daily = Daily::begin(state.now_unix_seconds());
    let mut next = None;
    let within = loop {
        daily.tell(reloader.running(), state.now_unix_seconds());
        match next.take().map_or_else(|| commands.recv_timeout(REMIND), Ok) {
            Ok(Command::Stop(within)) => break within,
            Err(RecvTimeoutError::Disconnected) => break Duration::ZERO,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Command::Sockets(reply)) => {
                let _nobody_waits = reply.send(reloader.sockets());
            }
            Ok(Command::Leave(leaving, done)) => {
                reloader.leave(leaving);
                let _nobody_waits = done.send(());
            }
            Ok(Command::Reload(reply)) => {
                let outcome = reload(&mut reloader, state);
                follow(&mut watching, &reloader);
                let _nobody_waits = reply.send(outcome);
            }
            Ok(Command::Changed) => {
                next = wait_until_quiet(commands);
                let _told = reload(&mut reloader, state);
                follow(&mut watching, &reloader);
            }
        }
    };
    drop(watching);
    if !reloader.stop(within) {
        tell(&Event::Warning { text: "the disk did not take the last known good configuration in time" });
    }
}

/// Swallows further changes until there is none for a moment. Gives back another command that came meanwhile.
fn wait_until_quiet(commands: &Receiver<Command>) -> Option<Command> {
    for _ in 0..STEPS_MAX {
        match commands.recv_timeout(QUIET) {
            Ok(Command::Changed) => {}
            Ok(other) => return Some(other),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}

fn reload(reloader: &mut Reloader, state: &State) -> Result<Outcome, String> {
    let refreshed = reloader.refresh_files();
    let only_those = refreshed.as_ref().is_ok_and(|paths| !paths.is_empty()) && reloader.is_up_to_date();
    let outcome = if only_those {
        state.reload_unneeded();
        let running = &reloader.running().snapshot;
        Ok(Outcome::unchanged(running.generation, running.hash.clone()))
    } else {
        reload_configuration(reloader, state)
    };
    match refreshed {
        Ok(paths) => {
            for path in paths {
                tell(&Event::FileInForce { path: &path });
            }
        }
        Err(problem) => {
            state.reload_refused(&problem);
            tell(&Event::ReloadRefused { problem: &problem });
            if outcome.as_ref().is_ok_and(|outcome| !outcome.changed) {
                return Err(problem);
            }
        }
    }
    outcome
}

fn reload_configuration(reloader: &mut Reloader, state: &State) -> Result<Outcome, String> {
    let outcome = reloader.reload();
    match &outcome {
        Ok(outcome) if outcome.changed => {
            state.recorder.apply(record_settings(&reloader.running().plan));
            state.now_running(reloader.running());
            tell(&Event::Reloaded { generation: outcome.generation.0, hash: &outcome.hash });
            tell_admitted(&outcome.admitted, Some(&outcome.hash_before), &outcome.hash);
            tell_warnings(&outcome.warnings);
        }
        Ok(_) => state.reload_unneeded(),
        Err(problem) => {
            let problem = problem.trim_end();
            state.reload_refused(problem);
            tell(&Event::ReloadRefused { problem });
        }
    }
    outcome
}

fn tell_warnings(warnings: &[Finding]) {
    for warning in warnings {
        tell(&Event::Warning { text: &warning.in_one_line() });
    }
}

fn follow(watching: &mut Result<Watch, String>, reloader: &Reloader) {
    let outcome = match watching {
        Ok(watching) => watching.follow(reloader.files()),
        Err(problem) => Err(std::mem::take(problem)),
    };
    if let Err(problem) = outcome
        && !problem.is_empty()
    {
        tell(&Event::Warning { text: &format!("{problem}; reload with SIGHUP or the management API") });
    }
}

/// Who is banned and who is locked out, as files say it; what keeps the files ends with what this gives.
fn keep_out(plan: &Plan, clock: &Clock, published: &Published) -> Result<(KeptOut, [SyncSender<()>; 2]), String> {
    let defence = || Arc::clone(&published.defence);
    let bans = BanLog::open(beside_socket(plan, "bans.jsonl"), clock.clone(), defence(), &report_warning);
    let lockouts = LockoutLog::open(beside_socket(plan, "lockouts.jsonl"), clock.clone(), defence(), &report_warning);
    let no_thread = |error: std::io::Error| format!("a thread cannot be started: {error}");
    let keeping = bans.follow(tell_made, report_warning).map_err(no_thread)?;
    let locking = lockouts.follow(crate::lockouts::tell_made, report_warning).map_err(no_thread)?;
    Ok(((bans, lockouts), [keeping, locking]))
}
