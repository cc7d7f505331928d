//! The time series of one worker.

use crate::counters::{Count, Durations};
use crate::labels::{Labelled, NONE, OTHER, Own, Values};
use portcullis_model::{AttemptOutcome, ConnectionEvent, DecisionRecord, Protocol, Reason};
use std::sync::Arc;

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

/// Counts by the number of a reason.
#[derive(Debug)]
pub(crate) struct ByReason(Box<[Count]>);

impl Default for ByReason {
    fn default() -> Self {
        Self(Reason::ALL.iter().map(|_| Count::default()).collect())
    }
}

impl ByReason {
    fn add(&self, reason: Reason) {
        if let Some(count) = self.0.get(reason as usize) {
            count.add(1);
        }
    }

    pub(crate) fn value(&self, reason: Reason) -> u64 {
        self.0.get(reason as usize).map_or(0, Count::value)
    }
}

/// Of one upstream.
#[derive(Debug, Default)]
pub(crate) struct UpstreamSeries {
    pub(crate) answered: Count,
    pub(crate) failed: ByReason,
    pub(crate) reused: Count,
}

/// Protocols, in the order of their counts.
pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::Http10, Protocol::Http11, Protocol::Http2];

/// Of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerSeries {
    /// By the number of the protocol.
    pub(crate) requests: [Count; PROTOCOLS.len()],
    pub(crate) opened: Count,
    pub(crate) closed: Count,
    pub(crate) secured: Count,
    pub(crate) refused: ByReason,
    pub(crate) handshakes_failed: ByReason,
}

/// The values of labels, for all workers.
#[derive(Debug, Default)]
pub(crate) struct AllValues {
    routes: Arc<Values>,
    upstreams: Arc<Values>,
    listeners: Arc<Values>,
    limits: Arc<Values>,
}

/// Everything one worker counts.
#[derive(Debug)]
pub(crate) struct WorkerSeries {
    pub(crate) routes: Labelled<RouteSeries>,
    pub(crate) upstreams: Labelled<UpstreamSeries>,
    pub(crate) listeners: Labelled<ListenerSeries>,
    pub(crate) limits: Labelled<Count>,
    pub(crate) rejections: ByReason,
    pub(crate) records_dropped: Count,
}

impl WorkerSeries {
    pub(crate) fn new(values: &AllValues) -> Self {
        Self {
            routes: Labelled::new(&values.routes),
            upstreams: Labelled::new(&values.upstreams),
            listeners: Labelled::new(&values.listeners),
            limits: Labelled::new(&values.limits),
            rejections: ByReason::default(),
            records_dropped: Count::default(),
        }
    }
}

/// The writing end of a worker's series.
pub(crate) struct Counter {
    pub(crate) series: Arc<WorkerSeries>,
    routes: Own<RouteSeries>,
    upstreams: Own<UpstreamSeries>,
    listeners: Own<ListenerSeries>,
    limits: Own<Count>,
}

impl Counter {
    pub(crate) fn new(series: Arc<WorkerSeries>) -> Self {
        Self { series, routes: Own::new(), upstreams: Own::new(), listeners: Own::new(), limits: Own::new() }
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
        if let Some(reason) = record.reason {
            self.series.rejections.add(reason);
        }
        for limit in &record.limits_over {
            self.limits.with(&self.series.limits, limit, |count| count.add(1));
        }
        if let Some(listener) = &record.listener {
            self.listeners.with(&self.series.listeners, listener, |series| {
                let number = PROTOCOLS.iter().position(|protocol| *protocol == record.protocol);
                if let Some(count) = number.and_then(|number| series.requests.get(number)) {
                    count.add(1);
                }
            });
        }
        if let (Some(upstream), false) = (&record.upstream, record.attempts.is_empty()) {
            self.upstreams.with(&self.series.upstreams, upstream, |series| {
                for attempt in &record.attempts {
                    match attempt.outcome {
                        AttemptOutcome::Answered => series.answered.add(1),
                        AttemptOutcome::Failed(reason) => series.failed.add(reason),
                    }
                    series.reused.add(u64::from(attempt.reused));
                }
            });
        }
    }

    /// Counts what becomes of a connection.
    pub(crate) fn connection(&self, listener: &str, event: ConnectionEvent) {
        self.listeners.with(&self.series.listeners, listener, |series| match event {
            ConnectionEvent::Opened => series.opened.add(1),
            ConnectionEvent::Closed => series.closed.add(1),
            ConnectionEvent::Secured => series.secured.add(1),
            ConnectionEvent::Refused(reason) => series.refused.add(reason),
            ConnectionEvent::HandshakeFailed(reason) => series.handshakes_failed.add(reason),
        });
    }
}
