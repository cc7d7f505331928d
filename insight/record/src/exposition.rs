//! Metrics in the text format of Prometheus 0.0.4.

use crate::counters::{BUCKETS, Count};
use crate::name_gauges::{NameGauges, name_gauges};
use crate::provider_gauges::{ProviderGauges, provider_gauges};
use crate::recorder::LogStatus;
use crate::series::{ByReason, CLASSES, ListenerSeries, METHODS, PROTOCOLS, RouteSeries, UpstreamSeries, WorkerSeries};
use crate::store_gauges::{StoreGauges, store_gauges};
use crate::upstream_gauges::{UpstreamGauges, upstream_gauges};
use portcullis_model::Reason;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// What only control knows, told at each scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// The version of the program.
    pub version: String,
    /// The number of the configuration in force.
    pub generation: u64,
    /// Reloads that came into force.
    pub reloads_done: u64,
    /// Reloads that were refused.
    pub reloads_refused: u64,
    /// Workers.
    pub workers: u64,
    /// When the process started, Unix seconds.
    pub started_unix_seconds: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_descriptors: u64,
    /// Weakenings in force.
    pub weakenings: u64,
    /// Upstreams.
    pub upstreams: Vec<UpstreamGauges>,
    /// Bans in force, and those that offences have made since the start.
    pub bans: (u64, u64),
    /// Lockouts, by what was counted.
    pub lockouts: Vec<LockoutGauge>,
    /// What is refused, and why.
    pub overload: OverloadGauges,
    /// What runs out.
    pub expiries: Vec<ExpiryGauge>,
    /// Names of upstreams that are resolved.
    pub names: Vec<NameGauges>,
    /// The store that several nodes share, if there is one.
    pub store: Option<StoreGauges>,
    /// Providers of identities that are asked.
    pub providers: Vec<ProviderGauges>,
}

/// When something runs out: the first of its kind under a name that the configuration has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpiryGauge {
    /// What it is: `listener_certificate`, `upstream_certificate` or `revocation_list`.
    pub kind: &'static str,
    /// The listener or upstream.
    pub name: String,
    /// Seconds that are left; negative when it has run out.
    pub seconds: i64,
}

/// Lockouts by one thing that failures are counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockoutGauge {
    /// `client_ip`, `account`, `login` or `key`.
    pub per: &'static str,
    /// How many are in force.
    pub in_force: u64,
    /// How many were made since the start.
    pub made: u64,
}

/// So many series of what runs out are told.
const EXPIRIES_MAX: usize = 1000;

/// How close the gateway is to its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverloadGauges {
    /// What is refused: 0 nothing, 1 idle connections, 2 new connections too, 3 new requests too.
    pub pressure: u64,
    /// How often that has changed.
    pub changes: u64,
    /// How late the latest worker was just now, microseconds.
    pub lag_micros: u64,
    /// Memory that there may be, bytes; 0: not known.
    pub memory_bytes_max: u64,
    /// Descriptors that there may be.
    pub descriptors_max: u64,
    /// Connections that a worker has handed to another.
    pub handed: u64,
    /// Connections by worker.
    pub connections: Vec<u64>,
}

/// The series of every worker under the same value of a label.
type Merged<T> = BTreeMap<Arc<str>, Vec<Arc<T>>>;

fn merge<T>(lists: impl Iterator<Item = Vec<(Arc<str>, Arc<T>)>>) -> Merged<T> {
    let mut merged: Merged<T> = BTreeMap::new();
    for (value, series) in lists.flatten() {
        merged.entry(value).or_default().push(series);
    }
    merged
}

/// Text being written; every name with its help and type once.
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(crate) fn push(&mut self, text: std::fmt::Arguments<'_>) {
        let written = self.0.write_fmt(text);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
    }

    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.push(format_args!("{name} {value}\n"));
    }
}

/// A label's value, escaped.
pub(crate) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn lockouts(text: &mut Text, all: &[LockoutGauge]) {
    text.family("portcullis_lockouts", "gauge", "Who is locked out because too much has failed.");
    for one in all {
        text.push(format_args!("portcullis_lockouts{{per=\"{}\"}} {}\n", one.per, one.in_force));
    }
    text.family("portcullis_lockouts_made_total", "counter", "Lockouts that were made.");
    for one in all {
        text.push(format_args!("portcullis_lockouts_made_total{{per=\"{}\"}} {}\n", one.per, one.made));
    }
}

fn sum<T>(series: &[Arc<T>], count: impl Fn(&T) -> &Count) -> u64 {
    series.iter().map(|one| count(one).value()).sum()
}

pub(crate) fn expose(workers: &[Arc<WorkerSeries>], gauges: &Gauges, log: &LogStatus) -> String {
    let mut text = Text(String::with_capacity(16 * 1024));
    routes(&mut text, &merge(workers.iter().map(|worker| worker.routes.list())));
    upstreams(&mut text, &merge(workers.iter().map(|worker| worker.upstreams.list())));
    upstream_gauges(&mut text, &gauges.upstreams);
    name_gauges(&mut text, &gauges.names);
    provider_gauges(&mut text, &gauges.providers);
    store_gauges(&mut text, gauges.store.as_ref());
    listeners(&mut text, &merge(workers.iter().map(|worker| worker.listeners.list())));
    let limits = merge(workers.iter().map(|worker| worker.limits.list()));
    text.family("portcullis_limits_over_total", "counter", "Requests beyond a limit that only reports.");
    for (limit, counts) in &limits {
        let count = sum(counts, |count| count);
        text.push(format_args!("portcullis_limits_over_total{{limit=\"{}\"}} {count}\n", escaped(limit)));
    }
    lockouts(&mut text, &gauges.lockouts);
    rejections(&mut text, workers);
    let dropped = workers.iter().map(|worker| worker.records_dropped.value()).sum();
    text.single("portcullis_records_dropped_total", "counter", "Records dropped because the log did not keep up.", dropped);
    text.single("portcullis_access_log_lost_total", "counter", "Lines lost because the log could not be written.", log.lost_lines);
    text.single("portcullis_access_log_writable", "gauge", "1 when the last write succeeded.", u64::from(log.trouble.is_none()));
    process(&mut text, gauges);
    overload(&mut text, &gauges.overload);
    expiries(&mut text, &gauges.expiries);
    text.0
}

fn routes(text: &mut Text, routes: &Merged<RouteSeries>) {
    text.family("portcullis_requests_total", "counter", "Exchanges by route, method and class of status.");
    for (route, series) in routes {
        let route = escaped(route);
        for (method_number, method) in METHODS.iter().enumerate() {
            for (class_number, class) in CLASSES.iter().enumerate() {
                let counts = series.iter().filter_map(|one| one.requests.get(method_number)?.get(class_number));
                let total: u64 = counts.map(Count::value).sum();
                if total > 0 {
                    let labels = format_args!("route=\"{route}\",method=\"{method}\",status=\"{class}\"");
                    text.push(format_args!("portcullis_requests_total{{{labels}}} {total}\n"));
                }
            }
        }
    }
    durations(text, routes);
    text.family("portcullis_traffic_bytes_total", "counter", "Bytes of requests and responses, heads and bodies, by route.");
    for (route, series) in routes {
        let route = escaped(route);
        for (direction, total) in
            [("request", sum(series, |one| &one.request_bytes)), ("response", sum(series, |one| &one.response_bytes))]
        {
            text.push(format_args!("portcullis_traffic_bytes_total{{route=\"{route}\",direction=\"{direction}\"}} {total}\n"));
        }
    }
}

fn durations(text: &mut Text, routes: &Merged<RouteSeries>) {
    const NAME: &str = "portcullis_request_duration_seconds";
    text.family(NAME, "histogram", "Time from the first byte of a request to the last of its answer, by route.");
    for (route, series) in routes {
        let route = escaped(route);
        let mut below = 0;
        for (number, bound) in BUCKETS.iter().map(Some).chain([None]).enumerate() {
            below += series.iter().filter_map(|one| one.durations.buckets.get(number)).map(Count::value).sum::<u64>();
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
            text.push(format_args!("{NAME}_bucket{{route=\"{route}\",le=\"{bound}\"}} {below}\n"));
        }
        let seconds = sum(series, |one| &one.durations.sum_micros) as f64 / 1e6;
        text.push(format_args!("{NAME}_sum{{route=\"{route}\"}} {seconds}\n{NAME}_count{{route=\"{route}\"}} {below}\n"));
    }
}

fn upstreams(text: &mut Text, upstreams: &Merged<UpstreamSeries>) {
    const NAME: &str = "portcullis_upstream_attempts_total";
    text.family(NAME, "counter", "Tries at endpoints by upstream and outcome: answered, or the code of the reason why not.");
    for (upstream, series) in upstreams {
        let upstream = escaped(upstream);
        let answered = sum(series, |one| &one.answered);
        text.push(format_args!("{NAME}{{upstream=\"{upstream}\",outcome=\"answered\"}} {answered}\n"));
        for (reason, total) in totals(series.iter().map(|one| &one.failed)) {
            text.push(format_args!("{NAME}{{upstream=\"{upstream}\",outcome=\"{}\"}} {total}\n", reason.code()));
        }
    }
    text.family("portcullis_upstream_reused_total", "counter", "Tries on a pooled connection by upstream.");
    for (upstream, series) in upstreams {
        let total = sum(series, |one| &one.reused);
        text.push(format_args!("portcullis_upstream_reused_total{{upstream=\"{}\"}} {total}\n", escaped(upstream)));
    }
}

/// The sum over workers for each reason that has occurred.
fn totals<'s>(counts: impl Iterator<Item = &'s ByReason> + Clone) -> impl Iterator<Item = (Reason, u64)> {
    let total = move |reason: Reason| counts.clone().map(|one| one.value(reason)).sum::<u64>();
    Reason::ALL.iter().map(move |reason| (*reason, total(*reason))).filter(|(_, total)| *total > 0)
}

fn listeners(text: &mut Text, listeners: &Merged<ListenerSeries>) {
    text.family("portcullis_connections_total", "counter", "Connections accepted by listener.");
    for (listener, series) in listeners {
        let opened = sum(series, |one| &one.opened);
        text.push(format_args!("portcullis_connections_total{{listener=\"{}\"}} {opened}\n", escaped(listener)));
    }
    text.family("portcullis_connections_open", "gauge", "Connections open by listener.");
    for (listener, series) in listeners {
        let open = sum(series, |one| &one.opened).saturating_sub(sum(series, |one| &one.closed));
        text.push(format_args!("portcullis_connections_open{{listener=\"{}\"}} {open}\n", escaped(listener)));
    }
    text.family("portcullis_handshakes_total", "counter", "TLS handshakes completed by listener.");
    for (listener, series) in listeners {
        let secured = sum(series, |one| &one.secured);
        text.push(format_args!("portcullis_handshakes_total{{listener=\"{}\"}} {secured}\n", escaped(listener)));
    }
    let protocols = "portcullis_listener_requests_total";
    text.family(protocols, "counter", "Exchanges by listener and protocol.");
    for (listener, series) in listeners {
        let listener = escaped(listener);
        for (number, protocol) in PROTOCOLS.into_iter().enumerate() {
            let total: u64 = series.iter().filter_map(|one| one.requests.get(number)).map(Count::value).sum();
            let protocol = protocol.as_str();
            if total > 0 {
                text.push(format_args!("{protocols}{{listener=\"{listener}\",protocol=\"{protocol}\"}} {total}\n"));
            }
        }
    }
    by_reason(text, listeners, "portcullis_connections_refused_total", "Connections refused by listener and reason.", |one| {
        &one.refused
    });
    let help = "TLS handshakes that failed by listener and reason.";
    by_reason(text, listeners, "portcullis_handshakes_failed_total", help, |one| &one.handshakes_failed);
}

fn by_reason(
    text: &mut Text,
    listeners: &Merged<ListenerSeries>,
    name: &str,
    help: &str,
    counts: fn(&ListenerSeries) -> &ByReason,
) {
    text.family(name, "counter", help);
    for (listener, series) in listeners {
        let listener = escaped(listener);
        for (reason, total) in totals(series.iter().map(|one| counts(one))) {
            text.push(format_args!("{name}{{listener=\"{listener}\",reason=\"{}\"}} {total}\n", reason.code()));
        }
    }
}

fn rejections(text: &mut Text, workers: &[Arc<WorkerSeries>]) {
    const NAME: &str = "portcullis_rejections_total";
    text.family(NAME, "counter", "Exchanges refused or failed by reason.");
    for (reason, total) in totals(workers.iter().map(|worker| &worker.rejections)) {
        let blame = reason.blame().as_str();
        text.push(format_args!("{NAME}{{reason=\"{}\",blame=\"{blame}\"}} {total}\n", reason.code()));
    }
}

fn process(text: &mut Text, gauges: &Gauges) {
    text.family("portcullis_build_info", "gauge", "The version of the program.");
    text.push(format_args!("portcullis_build_info{{version=\"{}\"}} 1\n", escaped(&gauges.version)));
    for (name, kind, help, value) in [
        ("portcullis_configuration_generation", "gauge", "The number of the configuration in force.", gauges.generation),
        ("portcullis_reloads_total", "counter", "Reloads that came into force.", gauges.reloads_done),
        (
            "portcullis_reloads_refused_total",
            "counter",
            "Reloads that were refused; the old configuration serves on.",
            gauges.reloads_refused,
        ),
        ("portcullis_weakenings", "gauge", "Weakenings in force.", gauges.weakenings),
        ("portcullis_workers", "gauge", "Worker threads.", gauges.workers),
        ("portcullis_bans", "gauge", "Clients and networks that are banned.", gauges.bans.0),
        ("portcullis_bans_made_total", "counter", "Bans that clients got for what they did.", gauges.bans.1),
        ("process_start_time_seconds", "gauge", "When the process started, Unix seconds.", gauges.started_unix_seconds),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", gauges.resident_bytes),
        ("process_open_fds", "gauge", "Open file descriptors.", gauges.open_descriptors),
    ] {
        text.single(name, kind, help, value);
    }
}

fn expiries(text: &mut Text, expiries: &[ExpiryGauge]) {
    text.family("portcullis_expires_in_seconds", "gauge", "Until certificates and revocation lists run out.");
    for ExpiryGauge { kind, name, seconds } in expiries.iter().take(EXPIRIES_MAX) {
        let name = escaped(name);
        text.push(format_args!("portcullis_expires_in_seconds{{kind=\"{kind}\",name=\"{name}\"}} {seconds}\n"));
    }
}

fn overload(text: &mut Text, gauges: &OverloadGauges) {
    let pressure = "What is refused: 0 nothing, 1 idle connections, 2 new connections too, 3 new requests too.";
    text.single("portcullis_overload_pressure", "gauge", pressure, gauges.pressure);
    text.single("portcullis_overload_changes_total", "counter", "Changes of what is refused.", gauges.changes);
    text.family("portcullis_worker_lag_seconds", "gauge", "How late the latest worker was just now.");
    text.push(format_args!("portcullis_worker_lag_seconds {}\n", gauges.lag_micros as f64 / 1e6));
    text.family("portcullis_worker_connections", "gauge", "Connections by worker.");
    for (worker, connections) in gauges.connections.iter().enumerate() {
        text.push(format_args!("portcullis_worker_connections{{worker=\"{worker}\"}} {connections}\n"));
    }
    let handed = "Connections that a busy worker has handed to another.";
    text.single("portcullis_connections_handed_total", "counter", handed, gauges.handed);
    text.single("portcullis_memory_limit_bytes", "gauge", "Memory that the process may have.", gauges.memory_bytes_max);
    text.single("process_max_fds", "gauge", "Descriptors that may be open.", gauges.descriptors_max);
}
