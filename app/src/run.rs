//! `portcullis run`: the gateway until it is told to stop.

use crate::events::{Event, tell};
use crate::gateway::{Gateway, Start, last_good_path};
use crate::management::State;
use crate::output::Output;
use crate::process::raise_descriptor_limit;
use portcullis_control_admin::{Management, bind, serve_probes, serve_unix};
use portcullis_control_config::{DrainPlan, Loader, Plan};
use portcullis_model::Clock;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs until SIGTERM or SIGINT.
pub fn run(config: &Path, workers: Option<usize>, or_last_known_good: bool, output: Output) -> Result<(), String> {
    raise_descriptor_limit();
    let clock = Clock::System;
    let mut loader = Loader::new(config, &portcullis_policies::settings(), clock.clone());
    let plan = match loader.load() {
        Ok(plan) => plan,
        Err(report) if or_last_known_good => {
            let problem = report.render(output.has_colour());
            let plan = last_known_good(config, &clock)
                .ok_or_else(|| format!("{problem}\nand there is no last known good configuration"))?;
            tell(&Event::ReloadRefused { problem: &problem });
            plan
        }
        Err(report) => return Err(report.render(output.has_colour())),
    };
    let (socket, probes) = (plan.management.socket.clone(), plan.management.probes);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("management").enable_all().build();
    let runtime = runtime.map_err(|error| format!("the management runtime cannot be started: {error}"))?;
    // Management first: a second gateway by mistake ends here, before it takes a single connection.
    let (signals, unix, probes) = runtime.block_on(async {
        let signals = Signals::listen()?;
        let unix = bind(&socket).map_err(|error| error.to_string())?;
        let probes = match probes {
            None => None,
            Some(address) => {
                let bound = tokio::net::TcpListener::bind(address).await;
                Some(bound.map_err(|error| format!("management.probes {address}: {error}"))?)
            }
        };
        Ok::<_, String>((signals, unix, probes))
    })?;
    let gateway = Gateway::start(Start { loader, plan, workers, clock })?;
    let state = Arc::clone(&gateway.state);
    runtime.spawn(serve_unix(unix, Arc::clone(&state) as Arc<dyn Management>));
    if let Some(probes) = probes {
        runtime.spawn(serve_probes(probes, Arc::clone(&state) as Arc<dyn Management>));
    }
    runtime.block_on(async {
        let mut signals = signals;
        signals.wait_for_end(&state).await;
        end(gateway, signals).await;
    });
    Ok(())
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
    async fn wait_for_end(&mut self, state: &State) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    state.recorder.reopen();
                    // What came of it has been told, and is in the status.
                    let _told = state.reload().await;
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
