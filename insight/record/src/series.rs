//! The time series of one worker, and the cap on how many there may be.

use crate::counters::{Count, Durations};
use portcullis_model::{AttemptOutcome, ConnectionEvent, DecisionRecord, Reason};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many values of a label (route, upstream, listener) are told apart; what comes later is `other`. Together with the fixed
/// values of the other labels this bounds the number of series whatever clients send (threats D 98).
pub(crate) const VALUES_MAX: usize = 1000;
/// What stands for values beyond that.
pub(crate) const OTHER: &str = "other";
/// What stands for requests that found no route.
pub(crate) const NONE: &str = "none";

/// Methods that are told apart.
pub(crate) const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER];
/// Statuses that are told apart; the first is "no answer".
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteSeries {
    pub(crate) requests: [[Count; CLASSES.len()]; METHODS.len()],
    pub(crate) durations: Durations,
    pub(crate) request_bytes: Count,
    pub(crate) response_bytes: Count,
}

/// Of one upstream.
#[derive(Debug, Default)]
pub(crate) struct UpstreamSeries {
    pub(crate) answered: Count,
    pub(crate) failed: Count,
    pub(crate) reused: Count,
}

/// Of one listener.
#[derive(Debug)]
pub(crate) struct ListenerSeries {
    pub(crate) opened: Count,
    pub(crate) closed: Count,
    pub(crate) secured: Count,
    /// By the number of the reason.
    pub(crate) refused: Box<[Count]>,
    pub(crate) handshakes_failed: Box<[Count]>,
}

impl Default for ListenerSeries {
    fn default() -> Self {
        let by_reason = || Reason::ALL.iter().map(|_| Count::default()).collect();
        Self {
            opened: Count::default(),
            closed: Count::default(),
            secured: Count::default(),
            refused: by_reason(),
            handshakes_failed: by_reason(),
        }
    }
}

/// The values of a label with what is counted for each. Read by the scraper, grown by one worker only, up to the cap.
#[derive(Debug, Default)]
pub(crate) struct Labelled<T> {
    listed: Mutex<Vec<(Arc<str>, Arc<T>)>>,
}

impl<T> Labelled<T> {
    /// What has been counted so far, by value of the label.
    pub(crate) fn list(&self) -> Vec<(Arc<str>, Arc<T>)> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The worker's own way to a [`Labelled`], without its lock.
struct Own<T> {
    known: RefCell<HashMap<Arc<str>, Arc<T>>>,
}

impl<T: Default> Own<T> {
    fn new() -> Self {
        Self { known: RefCell::default() }
    }

    fn with(&self, shared: &Labelled<T>, value: &str, count: impl FnOnce(&T)) {
        let mut known = self.known.borrow_mut();
        if let Some(series) = known.get(value) {
            return count(series);
        }
        let name: Arc<str> = if known.len() < VALUES_MAX { value.into() } else { OTHER.into() };
        let series = known.entry(Arc::clone(&name)).or_insert_with(|| {
            let fresh = Arc::new(T::default());
            shared.listed.lock().unwrap_or_else(PoisonError::into_inner).push((name, Arc::clone(&fresh)));
            fresh
        });
        count(series);
    }
}

/// Everything one worker counts.
#[derive(Debug, Default)]
pub(crate) struct WorkerSeries {
    pub(crate) routes: Labelled<RouteSeries>,
    pub(crate) upstreams: Labelled<UpstreamSeries>,
    pub(crate) listeners: Labelled<ListenerSeries>,
    pub(crate) rejections: RejectionSeries,
    pub(crate) records_dropped: Count,
}

/// Refusals and failures by reason.
#[derive(Debug)]
pub(crate) struct RejectionSeries(pub(crate) Box<[Count]>);

impl Default for RejectionSeries {
    fn default() -> Self {
        Self(Reason::ALL.iter().map(|_| Count::default()).collect())
    }
}

/// The writing end of a worker's series.
pub(crate) struct Counter {
    pub(crate) series: Arc<WorkerSeries>,
    routes: Own<RouteSeries>,
    upstreams: Own<UpstreamSeries>,
    listeners: Own<ListenerSeries>,
}

impl Counter {
    pub(crate) fn new(series: Arc<WorkerSeries>) -> Self {
        Self { series, routes: Own::new(), upstreams: Own::new(), listeners: Own::new() }
    }

    /// Counts an exchange.
    pub(crate) fn exchange(&self, record: &DecisionRecord) {
        let route = record.route.as_deref().unwrap_or(NONE);
        self.routes.with(&self.series.routes, route, |series| {
            let method = METHODS.iter().position(|method| method.as_bytes() == record.method()).unwrap_or(METHODS.len() - 1);
            let class = usize::from(record.status / 100).min(CLASSES.len() - 1);
            if let Some(count) = series.requests.get(method).and_then(|classes| classes.get(class)) {
                count.add(1);
            }
            series.durations.add(record.total_micros);
            series.request_bytes.add(record.traffic.request_head + record.traffic.request_body);
            series.response_bytes.add(record.traffic.response_head + record.traffic.response_body);
        });
        if let Some(count) = record.reason.and_then(|reason| self.series.rejections.0.get(reason as usize)) {
            count.add(1);
        }
        if let (Some(upstream), false) = (&record.upstream, record.attempts.is_empty()) {
            self.upstreams.with(&self.series.upstreams, upstream, |series| {
                for attempt in &record.attempts {
                    let count = if attempt.outcome == AttemptOutcome::Answered { &series.answered } else { &series.failed };
                    count.add(1);
                    series.reused.add(u64::from(attempt.reused));
                }
            });
        }
    }

    /// Counts what becomes of a connection.
    pub(crate) fn connection(&self, listener: &str, event: ConnectionEvent) {
        self.listeners.with(&self.series.listeners, listener, |series| {
            let count = match event {
                ConnectionEvent::Opened => Some(&series.opened),
                ConnectionEvent::Closed => Some(&series.closed),
                ConnectionEvent::Secured => Some(&series.secured),
                ConnectionEvent::Refused(reason) => series.refused.get(reason as usize),
                ConnectionEvent::HandshakeFailed(reason) => series.handshakes_failed.get(reason as usize),
            };
            if let Some(count) = count {
                count.add(1);
            }
        });
    }
}
