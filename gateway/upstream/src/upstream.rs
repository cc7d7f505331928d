//! A named upstream.

use crate::balance::Balance;
use crate::breaker::{Breaker, BreakerSettings, Passage};
use crate::budget::RetryBudget;
use crate::endpoint::{Endpoint, EndpointSpec};
use crate::gate::{Gate, GateSettings};
use crate::health::HealthSettings;
use crate::latency::FAILURE_MICROS;
use crate::outlier::OutlierSettings;
use crate::room::Room;
use crate::set::{EndpointSet, SetParts};
use arc_swap::{ArcSwap, Guard};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long each part of an exchange with the upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection is there.
    pub connect: Duration,
    /// From the end of the request until the first byte of the response.
    pub first_byte: Duration,
    /// Between two pieces of the response.
    pub idle: Duration,
    /// For the whole exchange, if bounded; upgraded connections are not counted.
    pub total: Option<Duration>,
    /// Without a byte in either direction on an upgraded connection.
    pub upgraded_idle: Duration,
}

/// When and how often a request is repeated that brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Tries in all, the first one included.
    pub attempts: u32,
    /// Repetitions, as a share of all requests of the upstream: hundredths of a per cent.
    pub budget_share: u32,
    /// When no connection could be made.
    pub on_connect: bool,
    /// When the connection ended before a byte of an answer came; only requests that may be sent twice.
    pub on_reset_before_bytes: bool,
}

/// What is spoken with an upstream. Never another than this: what does not speak it is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1, an exchange at a time on each connection.
    #[default]
    Http1,
    /// HTTP/2, agreed on in the TLS handshake, or known beforehand where there is none (RFC 9113 section 3.3).
    Http2,
}

/// What is configured for an upstream, but for its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name.
    pub name: Arc<str>,
    /// What is spoken with it.
    pub protocol: UpstreamProtocol,
    /// Times.
    pub timeouts: Timeouts,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// How long an endpoint that comes (back) takes to get its whole share.
    pub slow_start: Duration,
    /// How their health is checked, if it is.
    pub health: Option<HealthSettings>,
    /// When endpoints that fail are left out, if ever.
    pub outlier: Option<OutlierSettings>,
    /// When the upstream is left alone, if ever.
    pub breaker: Option<BreakerSettings>,
    /// When requests are repeated.
    pub retry: RetrySettings,
    /// Connections to each endpoint, by all workers.
    pub connections_max: u32,
    /// Requests that wait for a connection, in all workers; and that wait for their turn.
    pub pending_max: u32,
    /// How many requests it may have at once, if that has a bound.
    pub gate: Option<GateSettings>,
    /// Unused connections that a worker keeps for an endpoint.
    pub idle_per_worker: usize,
    /// How long an unused connection is kept.
    pub pooled_idle: Duration,
    /// When a `danger_plaintext` of this upstream ends, in Unix seconds.
    pub plaintext_expires: Option<u64>,
}

/// What all upstreams of a process have in common: the numbers of endpoints, and when their time began.
#[derive(Debug)]
pub struct Origin {
    next_id: AtomicU64,
    epoch: Instant,
    presses: AtomicU64,
    pressed: Notify,
}

impl Default for Origin {
    fn default() -> Self {
        Self { next_id: AtomicU64::new(1), epoch: Instant::now(), presses: AtomicU64::new(0), pressed: Notify::new() }
    }
}

impl Origin {
    /// A number that no endpoint of this process has had.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells all workers that somebody waits for a connection: unused ones are to be closed ([`crate::Pools::relieve`]).
    pub(crate) fn press(&self) {
        self.presses.fetch_add(1, Ordering::AcqRel);
        self.pressed.notify_waiters();
    }

    /// Waits until somebody waits for a connection, if that has not happened since `seen`, which is brought up to date.
    pub async fn is_pressed(&self, seen: &Cell<u64>) {
        let told = self.pressed.notified();
        tokio::pin!(told);
        told.as_mut().enable();
        if self.presses.load(Ordering::Acquire) == seen.get() {
            told.await;
        }
        seen.set(self.presses.load(Ordering::Acquire));
    }

    /// Microseconds since time began here: what mechanisms that are shared by workers count in.
    #[must_use]
    pub fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }
}

/// What has happened to an upstream since the process began; for metrics.
#[derive(Debug, Default)]
pub struct UpstreamCounts {
    /// Endpoints left out because they failed.
    pub ejections: AtomicU64,
    /// Requests sent to endpoints that are left out, because no other was left.
    pub last_resort: AtomicU64,
    /// Requests repeated.
    pub retries: AtomicU64,
    /// Requests not repeated because the budget was used up.
    pub retries_refused: AtomicU64,
    /// Times the circuit was broken.
    pub breaks: AtomicU64,
    /// Requests refused because the circuit was open.
    pub broken: AtomicU64,
    /// Requests that had to wait for a connection.
    pub waited: AtomicU64,
    /// Requests that had to wait for their turn.
    pub turns_waited: AtomicU64,
    /// Of them those that were refused.
    pub turns_refused: AtomicU64,
    /// Changes of health that active checks found.
    pub health_changes: AtomicU64,
}

impl UpstreamCounts {
    pub(crate) fn one_more(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all workers know of an upstream. Lives as long as the upstream keeps its name, also when its settings change.
#[derive(Debug, Default)]
pub struct UpstreamState {
    /// How many repetitions are left.
    pub budget: RetryBudget,
    /// Its circuit.
    pub breaker: Breaker,
    /// Where requests wait for a connection.
    pub room: Arc<Room>,
    /// Where requests wait for their turn.
    pub gate: Arc<Gate>,
    /// What has happened.
    pub counts: UpstreamCounts,
    /// Counts requests that are sent to endpoints in turn.
    pub(crate) turn: AtomicU64,
}

/// A named upstream. Lives as long as its settings do not change, also across reloads; its endpoints may change meanwhile.
#[derive(Debug)]
pub struct Upstream {
    /// What is configured.
    pub settings: UpstreamSettings,
    /// What all workers know of it.
    pub state: Arc<UpstreamState>,
    endpoints: ArcSwap<EndpointSet>,
    origin: Arc<Origin>,
    slow_start_micros: u64,
    /// Why it has no endpoint, or fewer than it should have, in words. Looked at only when it has none.
    trouble: Mutex<Option<String>>,
    /// Held while the set is replaced, and while it is decided who is left out. Never taken for a request that goes well.
    deciding: Mutex<()>,
}

/// How an exchange with an endpoint went, as far as the endpoint is to be blamed or praised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, so many microseconds after it had the request; 0 if that is not known.
    Answered {
        /// From the end of the request to the head of the answer.
        micros: u64,
    },
    /// It could not be reached, did not answer, or answered that it cannot.
    Failed,
}

impl Upstream {
    /// An upstream with these endpoints. Those that `before` has too, with the same address and host, keep their state and their
    /// connections.
    #[must_use]
    pub fn new(settings: UpstreamSettings, endpoints: &[EndpointSpec], before: Option<&Self>, origin: &Arc<Origin>) -> Self {
        let state = before.map_or_else(Arc::default, |before| Arc::clone(&before.state));
        let set_before = before.map(|upstream| upstream.endpoints.load_full());
        let since = if before.is_some() { origin.micros(Instant::now()).max(1) } else { 0 };
        let next_id = || origin.next_id();
        let parts =
            SetParts { balance: &settings.balance, before: set_before.as_deref(), room: &state.room, since, next_id: &next_id };
        let set = EndpointSet::build(1, endpoints, &parts);
        let slow_start_micros = u64::try_from(settings.slow_start.as_micros()).unwrap_or(u64::MAX);
        let endpoints = ArcSwap::from_pointee(set);
        Self {
            settings,
            state,
            endpoints,
            origin: Arc::clone(origin),
            slow_start_micros,
            trouble: Mutex::default(),
            deciding: Mutex::new(()),
        }
    }

    /// The endpoints at the moment. Takes no lock; not to be held across an `await`.
    pub fn endpoints(&self) -> Guard<Arc<EndpointSet>> {
        self.endpoints.load()
    }

    /// Gives the upstream other endpoints, for requests that begin from now on. Those that stay keep their state and their
    /// connections; workers close unused connections to the others when they sweep. For control: DNS answers that changed.
    pub fn replace_endpoints(&self, specs: &[EndpointSpec]) {
        let _one_after_the_other = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.endpoints.load_full();
        let since = self.origin.micros(Instant::now()).max(1);
        let (room, next_id) = (&self.state.room, || self.origin.next_id());
        let parts = SetParts { balance: &self.settings.balance, before: Some(&before), room, since, next_id: &next_id };
        self.endpoints.store(Arc::new(EndpointSet::build(before.generation + 1, specs, &parts)));
    }

    /// Notes why it has no endpoint, or fewer than it should have, for those who want to know. For control.
    pub fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why it has no endpoint, or fewer than it should have.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has in common with all others.
    #[must_use]
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// How long a slow start takes, in microseconds.
    pub(crate) fn slow_start_micros(&self) -> u64 {
        self.slow_start_micros
    }

    /// Asks at `now` (microseconds) whether a request may go to this upstream at all.
    pub(crate) fn ask_breaker(&self, now: u64) -> Passage {
        match &self.settings.breaker {
            None => Passage::Closed,
            Some(settings) => self.state.breaker.ask(settings, now),
        }
    }

    /// Notes at `now` (microseconds) how an exchange with an endpoint went, which had been let through as `passage`.
    pub fn note(&self, endpoint: &Endpoint, passage: Passage, outcome: Outcome, now: u64) {
        match outcome {
            Outcome::Answered { micros } => {
                if micros > 0 {
                    endpoint.state.latency.note(now, micros);
                }
                endpoint.state.outlier.note_success(now);
            }
            Outcome::Failed => {
                endpoint.state.latency.note(now, FAILURE_MICROS);
                if let Some(settings) = &self.settings.outlier
                    && endpoint.state.outlier.note_failure(settings)
                {
                    self.eject(endpoint, settings, now);
                }
            }
        }
        if let Some(settings) = &self.settings.breaker
            && self.state.breaker.note(settings, passage, outcome == Outcome::Failed, now)
        {
            UpstreamCounts::one_more(&self.state.counts.breaks);
        }
    }

    /// Leaves an endpoint out, unless too many are left out already.
    fn eject(&self, endpoint: &Endpoint, settings: &OutlierSettings, now: u64) {
        let _one_after_the_other = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.endpoints.load();
        let out = set.endpoints().iter().filter(|one| one.state.is_ejected(now)).count();
        if out < settings.ejected_max(set.endpoints().len()) && !endpoint.state.is_ejected(now) {
            endpoint.state.outlier.eject(now, settings);
            UpstreamCounts::one_more(&self.state.counts.ejections);
        }
    }
}
