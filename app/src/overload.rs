//! Watches memory, descriptors and workers, and says what is refused.

use crate::events::{Event, tell};
use crate::management::State;
use crate::process::{descriptor_limit, memory_limit, open_descriptors, resident_bytes};
use portcullis_gateway_proxy::{Cause, Figures, Judge, Pressure, Published, SAMPLE_EVERY, WorkerFigures};
use portcullis_insight_record::OverloadGauges;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Every how many samples it is looked how much memory there may be.
const LIMIT_EVERY: u32 = 100;
/// Every how many samples free memory goes back to the system: about once a second, as long as the allocator keeps it.
const GIVE_BACK_EVERY: u32 = 10;
/// What the allocator has a mapping of its own for.
const OWN_MAPPING_BYTES: usize = 1024 * 1024;

/// What was seen last.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What is refused.
    pub pressure: Pressure,
    /// Because of what.
    pub cause: Option<Cause>,
    figures: Figures,
    workers: Vec<WorkerFigures>,
    changes: u64,
}

impl Seen {
    /// For metrics.
    pub fn gauges(&self) -> OverloadGauges {
        OverloadGauges {
            pressure: self.pressure as u64,
            changes: self.changes,
            lag_micros: u64::try_from(self.figures.lag.as_micros()).unwrap_or(u64::MAX),
            memory_bytes_max: self.figures.memory_bytes_max,
            descriptors_max: self.figures.descriptors_max,
            handed: self.workers.iter().map(|worker| worker.handed).sum(),
            connections: self.workers.iter().map(|worker| worker.connections).collect(),
        }
    }

    /// In words, if anything is refused.
    pub fn words(&self) -> Option<String> {
        let what = match self.pressure {
            Pressure::None => return None,
            Pressure::Saving => "idle connections are closed",
            Pressure::Holding => "idle connections are closed, new ones wait",
            Pressure::Refusing => "idle connections are closed, new ones wait, new requests are refused",
        };
        let Figures { memory_bytes, memory_bytes_max, descriptors, descriptors_max, lag, .. } = self.figures;
        let why = match self.cause {
            Some(Cause::Memory) => format!("memory: {memory_bytes} of {memory_bytes_max} bytes"),
            Some(Cause::Descriptors) => format!("descriptors: {descriptors} of {descriptors_max}"),
            Some(Cause::Lag) => format!("workers are {} ms late", lag.as_millis()),
            None => "until it is calm for a second".to_owned(),
        };
        Some(format!("{}: {what} ({why})", self.pressure.as_str()))
    }
}

/// Begins to watch; ends when what it gives is dropped.
///
/// # Errors
/// When the thread cannot be made.
pub fn watch(published: Arc<Published>, state: Arc<State>) -> Result<SyncSender<()>, String> {
    let (watching, ended) = sync_channel::<()>(0);
    let thread = std::thread::Builder::new().name("overload".to_owned());
    let spawned = thread.spawn(move || {
        let (mut judge, mut seen, mut turn, mut limit) = (Judge::default(), Seen::default(), 0_u32, 0);
        while ended.recv_timeout(SAMPLE_EVERY) == Err(RecvTimeoutError::Timeout) {
            if turn.is_multiple_of(LIMIT_EVERY) {
                limit = memory_limit();
            }
            if turn.is_multiple_of(GIVE_BACK_EVERY) {
                give_back();
            }
            turn = turn.wrapping_add(1);
            let (configured, lag_target) = state.overload_settings();
            let memory_bytes_max = configured.unwrap_or(limit);
            look(&published, &mut judge, &mut seen, memory_bytes_max, lag_target);
            state.saw(seen.clone());
        }
    });
    spawned.map_err(|error| format!("the watch over memory and descriptors cannot be started: {error}"))?;
    Ok(watching)
}

/// Lets the allocator give back what has been free for a second. It looks for that only when a block like this one is freed, which an idle
/// gateway would never do: what reading a configuration took, or a flood, would stay. Nothing of the block is touched.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(OWN_MAPPING_BYTES)));
}

fn look(published: &Published, judge: &mut Judge, seen: &mut Seen, memory_bytes_max: u64, lag_target: Duration) {
    seen.workers = published.load.look();
    seen.figures = Figures {
        memory_bytes: resident_bytes(),
        memory_bytes_max,
        descriptors: open_descriptors(),
        descriptors_max: descriptor_limit(),
        lag: seen.workers.iter().map(|worker| worker.lag).max().unwrap_or_default(),
        lag_target,
    };
    let (pressure, cause) = judge.judge(&seen.figures);
    published.load.press(pressure, seen.figures.descriptors_max);
    let before = std::mem::replace(&mut seen.pressure, pressure);
    seen.cause = cause;
    if before != pressure {
        seen.changes += 1;
        tell(&Event::Overload { state: pressure.as_str(), words: seen.words().as_deref() });
    }
}
