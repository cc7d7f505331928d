//! The gate in front of an upstream that says how many requests it may have at once: whoever comes when it has enough waits for their turn.

use crate::Upstream;
use crate::upstream::UpstreamCounts;
use portcullis_engines_fairness::{Baseline, Concurrency, Flow, Queue, Settings, Ticket};
use portcullis_model::{Reason, Rejection};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How many requests an upstream may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateSettings {
    /// What the limit may be; with a fixed one `min` and `max` are the same.
    pub limit: Settings,
    /// Who has waited for so long, in a flow that has had somebody waiting for so long, is let go in favour of those behind.
    pub patience: Duration,
}

/// The gate of an upstream, shared by all workers. Lives as long as the upstream keeps its name.
#[derive(Default)]
pub struct Gate {
    under_way: AtomicU32,
    waiting: AtomicU32,
    /// How many may be under way, once that has been asked; within these bounds, the least above and the most below.
    found: OnceLock<Concurrency>,
    bounds: AtomicU64,
    queue: Mutex<Option<Queue<oneshot::Sender<Turn>>>>,
    hasher: RandomState,
}

/// A place among the requests that an upstream has at once; it is the next one's when dropped.
#[derive(Debug)]
pub struct Turn {
    gate: Arc<Gate>,
    begun: u64,
}

/// One who waits; leaves when dropped.
struct Waits<'g> {
    gate: &'g Gate,
    ticket: Ticket,
}

impl Gate {
    /// A flow's key: of something that only those who share a turn have in common. Nobody outside can choose to have another's.
    pub fn key(&self, of: &impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// How many requests are under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How many wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many may be under way at the moment.
    #[must_use]
    pub fn limit(&self, settings: &GateSettings) -> u32 {
        self.found(settings).limit().clamp(settings.limit.min, settings.limit.max)
    }

    /// What has been found; the bounds of these settings, which may have changed, hold for whoever waits.
    fn found(&self, settings: &GateSettings) -> &Concurrency {
        let bounds = u64::from(settings.limit.min) << 32 | u64::from(settings.limit.max);
        if self.bounds.load(Ordering::Relaxed) != bounds {
            self.bounds.store(bounds, Ordering::Relaxed);
        }
        self.found.get_or_init(|| Concurrency::new(&settings.limit))
    }

    /// The limit for those who wait: as it is now, whatever it was when they or those before them came.
    fn current(&self) -> u32 {
        let bounds = self.bounds.load(Ordering::Relaxed);
        let (min, max) = ((bounds >> 32) as u32, bounds as u32);
        self.found.get().map_or(max, |found| found.limit().clamp(min, max))
    }

    fn queue(&self) -> MutexGuard<'_, Option<Queue<oneshot::Sender<Turn>>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place if there is one.
    fn take(&self, limit: u32) -> bool {
        let more = |under_way| (under_way < limit).then_some(under_way + 1);
        self.under_way.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// Gives places to those whose turn it is, as long as there are both.
    fn give(self: &Arc<Self>) {
        while self.waiting.load(Ordering::Acquire) > 0 && self.take(self.current()) {
            let mut turn = Turn { gate: Arc::clone(self), begun: 0 };
            loop {
                let mut queue = self.queue();
                let Some(waiting) = queue.as_mut() else { return };
                let taken = waiting.pop(now_micros());
                self.waiting.store(length(waiting), Ordering::Release);
                drop(queue);
                drop(taken.dropped);
                // Who has left meanwhile leaves the place to the next.
                match taken.next.map(|next| next.send(turn)) {
                    Some(Err(back)) => turn = back,
                    Some(Ok(())) => break,
                    None => return,
                }
            }
        }
    }
}

/// Microseconds of the clock that the queue counts in: the same for all workers.
fn now_micros() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let epoch = *EPOCH.get_or_init(Instant::now);
    u64::try_from(Instant::now().saturating_duration_since(epoch).as_micros()).unwrap_or(u64::MAX)
}

fn length<T>(queue: &Queue<T>) -> u32 {
    u32::try_from(queue.len()).unwrap_or(u32::MAX)
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("under_way", &self.under_way).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gate.under_way.fetch_sub(1, Ordering::AcqRel);
        self.gate.give();
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut queue = self.gate.queue();
        if let Some(waiting) = queue.as_mut() {
            let gone = waiting.remove(self.ticket);
            self.gate.waiting.store(length(waiting), Ordering::Release);
            drop(queue);
            drop(gone);
        }
    }
}

impl Upstream {
    /// Waits for this request's turn, if the upstream has as many as it may have at once; nothing where that has no bound. `flow` says with whom it
    /// shares its turns.
    ///
    /// # Errors
    /// [`Reason::UpstreamBusy`] when others' turns came first for as long as connecting may take, or there are too many who wait.
    pub async fn turn(&self, flow: impl FnOnce(&Gate) -> Flow, total: Option<Instant>) -> Result<Option<Turn>, Rejection> {
        let Some(settings) = &self.settings.gate else { return Ok(None) };
        let gate = &self.state.gate;
        let limit = gate.limit(settings);
        let begun = now_micros();
        if gate.waiting() == 0 && gate.take(limit) {
            return Ok(Some(Turn { gate: Arc::clone(gate), begun }));
        }
        gate.found(settings).note_wait();
        UpstreamCounts::one_more(&self.state.counts.turns_waited);
        let waited = self.wait_for_turn(gate, settings, flow(gate), total).await;
        if waited.is_err() {
            UpstreamCounts::one_more(&self.state.counts.turns_refused);
        }
        waited.map(|mut turn| {
            turn.begun = now_micros();
            Some(turn)
        })
    }

    async fn wait_for_turn(
        &self,
        gate: &Arc<Gate>,
        settings: &GateSettings,
        flow: Flow,
        total: Option<Instant>,
    ) -> Result<Turn, Rejection> {
        let (sender, receiver) = oneshot::channel();
        let pushed = {
            let mut queue = gate.queue();
            let waiting = queue.get_or_insert_with(|| Queue::new(0, 0));
            let patience = u64::try_from(settings.patience.as_micros()).unwrap_or(u64::MAX);
            waiting.bound(self.settings.pending_max as usize, patience);
            let pushed = waiting.push(flow, now_micros(), sender);
            gate.waiting.store(length(waiting), Ordering::Release);
            pushed
        };
        let busy = |detail: &'static str| Rejection::new(Reason::UpstreamBusy, detail);
        let Ok((ticket, displaced)) = pushed else {
            return Err(busy("the upstream has as many requests as it may have at once, and as many wait for their turn as may"));
        };
        drop(displaced);
        let _waits = Waits { gate, ticket };
        // A place may have become free in the moment before it was seen that somebody waits.
        gate.give();
        let deadline = Instant::now() + self.settings.timeouts.connect;
        let deadline = total.map_or(deadline, |total| total.min(deadline));
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(busy("others had their turn for so long that this request was let go")),
            Err(_) => Err(busy("the upstream has as many requests as it may have at once, and its turn did not come in time")),
        }
    }

    /// Notes that the request that had this turn was answered; `baseline` knows how long requests like it take.
    pub fn note_turn(&self, turn: &Turn, baseline: &Baseline) {
        let Some(settings) = &self.settings.gate else { return };
        if settings.limit.min < settings.limit.max {
            let micros = now_micros().saturating_sub(turn.begun);
            let gate = &turn.gate;
            if gate.found(settings).note(&settings.limit, baseline, turn.begun, micros, gate.under_way()) {
                gate.give();
            }
        }
    }
}
