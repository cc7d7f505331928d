//! `portcullis run`: the gateway until it is told to stop.

use crate::events::{Event, tell};
use crate::gateway::{Gateway, Start, last_good_path};
use crate::guard::{Guarding, admit_first};
use crate::handover::{Inheritance, Notify, Own, Predecessor, Program, Upgrader};
use crate::management::State;
use crate::output::Output;
use crate::process::raise_descriptor_limit;
use portcullis_control_admin::{Bound, Management, adopt, bind, serve_probes, serve_unix};
use portcullis_control_config::{DrainPlan, Loader, Plan};
use portcullis_control_reload::Guard;
use portcullis_model::Clock;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How long answers of the management API may take when everything else is done.
const ANSWERS_TIME_MAX: Duration = Duration::from_secs(2);

/// How the gateway is to run.
pub struct How<'a> {
    /// The configuration.
    pub config: &'a Path,
    /// Worker threads, if the command line says.
    pub workers: Option<usize>,
    /// Whether the last known good configuration may be used instead of one that is refused.
    pub or_last_known_good: bool,
    /// What configurations are compared with before they come into force.
    pub guarding: &'a Guarding,
    /// Where problems are shown.
    pub output: Output,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(how: &How<'_>) -> Result<(), String> {
    serve(begin(how, Inheritance::default())?, None)
}

/// As [`run`], in place of the process that started this one, once it is ready.
pub fn take_over(how: &How<'_>) -> Result<(), String> {
    let (predecessor, inheritance) = Predecessor::meet()?;
    match begin(how, inheritance) {
        Ok(begun) => serve(begun, Some(predecessor)),
        Err(problem) => {
            predecessor.fail(&problem);
            Err(problem)
        }
    }
}

/// Everything that is there before anybody is answered.
struct Begun {
    runtime: Runtime,
    signals: Signals,
    gateway: Gateway,
    management: Bound,
    /// The socket of the version before, where the configuration has moved it since.
    former: Option<Bound>,
    probes: Option<TcpListener>,
    upgraded: watch::Receiver<bool>,
    notify: Notify,
}

fn begin(how: &How<'_>, mut inheritance: Inheritance) -> Result<Begun, String> {
    raise_descriptor_limit();
    let clock = Clock::System;
    let mut loader = Loader::new(how.config, &portcullis_policies::settings(), clock.clone());
    let guard = how.guarding.guard(how.config, &clock)?;
    let plan = first_plan(how, &mut loader, &guard, &clock)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("management").enable_all().build();
    let runtime = runtime.map_err(|error| format!("the management runtime cannot be started: {error}"))?;
    // Management first: a second gateway by mistake ends here, before it takes a single connection.
    let entered = runtime.enter();
    let signals = Signals::listen()?;
    let (management, former) = management_socket(&plan, inheritance.management.take())?;
    let probes = plan.management.probes.map(|address| probes_socket(address, inheritance.probes_at(address))).transpose()?;
    drop(entered);
    let socket = plan.management.socket.clone();
    let Inheritance { listeners, tickets, .. } = inheritance;
    let gateway = Gateway::start(Start { loader, plan, guard, workers: how.workers, clock, listeners, tickets })?;
    let (step_back, upgraded) = watch::channel(false);
    let notify = Notify::from_environment();
    let described = |error: std::io::Error| format!("this process cannot be prepared for upgrades: {error}");
    let program = Program::of_this_process().map_err(described)?;
    let of_probes = probes.as_ref().map(|probes| probes.as_fd().try_clone_to_owned()).transpose().map_err(described)?;
    let own = Own { management: (management.descriptor().map_err(described)?, socket), probes: of_probes };
    let upgrader = Upgrader::new(program, own, Arc::clone(gateway.tickets()), notify.clone(), step_back);
    gateway.state.set_upgrader(upgrader);
    Ok(Begun { runtime, signals, gateway, management, former, probes, upgraded, notify })
}

fn first_plan(how: &How<'_>, loader: &mut Loader, guard: &Guard, clock: &Clock) -> Result<Plan, String> {
    let loaded = loader.load().map_err(|report| report.render(how.output.has_colour()));
    let loaded = loaded.map(|plan| admit_first(guard, &plan, clock).map(|()| plan));
    let (problem, is_guarded) = match loaded {
        Ok(Ok(plan)) => return Ok(plan),
        Ok(Err(problem)) => (problem, true),
        Err(problem) => (problem, guard.file().is_some()),
    };
    if !how.or_last_known_good {
        return Err(problem);
    }
    // SECURITY: where widenings are approved, what was accepted counts, and not what lies where the configuration says.
    let last = if is_guarded { guard.accepted(&portcullis_policies::settings())? } else { last_known_good(how.config, clock) };
    let plan = last.ok_or_else(|| format!("{problem}\nand there is no last known good configuration"))?;
    tell(&Event::ReloadRefused { problem: &problem });
    Ok(plan)
}

/// The socket of the management API: the one of the version before, if the configuration still has it there; else that one beside it.
fn management_socket(plan: &Plan, handed: Option<(OwnedFd, PathBuf)>) -> Result<(Bound, Option<Bound>), String> {
    let path = &plan.management.socket;
    let adopted = handed.map(|(descriptor, at)| {
        let adopted = adopt(descriptor, &at).map_err(|error| format!("management.socket `{}`: {error}", at.display()));
        adopted.map(|adopted| (adopted, at))
    });
    match adopted.transpose()? {
        Some((adopted, at)) if at == *path => Ok((adopted, None)),
        other => Ok((bind(path).map_err(|error| error.to_string())?, other.map(|(adopted, _)| adopted))),
    }
}

fn probes_socket(address: SocketAddr, handed: Option<std::net::TcpListener>) -> Result<TcpListener, String> {
    let bound = match handed {
        Some(socket) => Ok(socket),
        None => std::net::TcpListener::bind(address),
    };
    let ready = bound.and_then(|socket| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    });
    ready.map_err(|error| format!("management.probes {address}: {error}"))
}

/// Answers, until a signal comes or the next version serves.
fn serve(begun: Begun, predecessor: Option<Predecessor>) -> Result<(), String> {
    let Begun { runtime, mut signals, gateway, mut management, mut former, probes, upgraded, notify } = begun;
    if let Some(predecessor) = predecessor {
        predecessor.take_over();
    }
    management.own_file();
    if let Some(former) = &mut former {
        former.own_file();
    }
    drop(former);
    notify.ready();
    let state = Arc::clone(&gateway.state);
    let answering = Arc::clone(&state) as Arc<dyn Management>;
    let management = runtime.spawn(serve_unix(management, Arc::clone(&answering), is_true(upgraded.clone())));
    if let Some(probes) = probes {
        runtime.spawn(serve_probes(probes, answering, is_true(upgraded.clone())));
    }
    runtime.block_on(async {
        tokio::select! {
            () = signals.wait_for_end(&state, &notify) => {
                notify.stopping();
                end(gateway, signals).await;
            }
            () = is_true(upgraded) => {
                make_way(gateway, signals).await;
                // Who asked for the upgrade gets an answer.
                let _answered = tokio::time::timeout(ANSWERS_TIME_MAX, management).await;
            }
        }
    });
    Ok(())
}

async fn is_true(mut told: watch::Receiver<bool>) {
    if told.wait_for(|told| *told).await.is_err() {
        // Nobody is left who could tell.
        std::future::pending::<()>().await;
    }
}

/// Finishes what goes on, while the next version accepts. The first signal is for the whole service, and changes nothing here.
async fn make_way(gateway: Gateway, mut signals: Signals) {
    let DrainPlan { deadline, .. } = gateway.state.drain_plan();
    tell(&Event::Stopping { delay: Duration::ZERO });
    gateway.state.begin_stopping();
    let hurry = gateway.hurry();
    let mut stopped = tokio::task::spawn_blocking(move || gateway.stop(deadline));
    let mut told = false;
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = signals.told_to_end() => {
                if std::mem::replace(&mut told, true) {
                    hurry.now();
                }
            }
        }
    }
}

/// Ends the gateway in order: not ready, then no new connections, then whatever goes on is finished. Another signal ends it at once.
async fn end(gateway: Gateway, mut signals: Signals) {
    let DrainPlan { delay, deadline } = gateway.state.drain_plan();
    tell(&Event::Stopping { delay });
    gateway.state.begin_stopping();
    let mut within = deadline;
    if !delay.is_zero() {
        gateway.state.leave(true).await;
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = signals.told_to_end() => within = Duration::ZERO,
        }
    }
    let hurry = gateway.hurry();
    let mut stopped = tokio::task::spawn_blocking(move || gateway.stop(within));
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = signals.told_to_end() => hurry.now(),
        }
    }
}

/// The last known good configuration of the gateway that this configuration belongs to.
fn last_known_good(config: &Path, clock: &Clock) -> Option<Plan> {
    let folder = if config.is_dir() { config } else { config.parent()? };
    let kept = portcullis_control_reload::read_last_good(&folder.join("run/last-known-good.yaml"))?;
    let plan = portcullis_control_config::load(&kept, &portcullis_policies::settings(), clock).ok()?;
    debug_assert_eq!(last_good_path(&plan).file_name(), kept.file_name(), "one name for it");
    Some(plan)
}

/// The signals that are listened to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen: before anybody can know that the gateway is there, so that no signal finds the default, which is to die.
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be received: {error}"));
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// SIGHUP reads the configuration again and opens logs anew; SIGTERM and SIGINT end.
    async fn wait_for_end(&mut self, state: &State, notify: &Notify) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    notify.reloading();
                    state.recorder.reopen();
                    // What came of it has been told, and is in the status.
                    let _told = state.reload().await;
                    notify.ready();
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }

    /// Waits for SIGTERM or SIGINT.
    async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
