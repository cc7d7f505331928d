//! Upstreams and their endpoints: what the management API, the metrics and `portcullis upstreams` show of them.

use crate::ask::{ask, understood};
use crate::output::{Colour, Output};
use portcullis_control_admin::{ConcurrencyInfo, EndpointInfo, UpstreamInfo};
use portcullis_control_reload::NameFacts;
use portcullis_control_reload::{KeySetFacts, ProviderFacts};
use portcullis_gateway_proxy::Snapshot;
use portcullis_gateway_upstream::{Endpoint, Upstream};
use portcullis_insight_record::{EndpointGauges, KeySetGauges, NameGauges, ProviderGauges, UpstreamGauges};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// The state of an endpoint in one word.
fn state(endpoint: &Endpoint, now: u64) -> &'static str {
    match (endpoint.state.is_unhealthy(), endpoint.state.is_ejected(now)) {
        (true, _) => "unhealthy",
        (false, true) => "ejected",
        (false, false) => "available",
    }
}

fn sorted(snapshot: &Snapshot) -> Vec<&Upstream> {
    let mut upstreams: Vec<&Upstream> = snapshot.upstreams.iter().map(|upstream| &**upstream).collect();
    upstreams.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
    upstreams
}

/// What the management API tells of every upstream.
pub fn infos(snapshot: &Snapshot) -> Vec<UpstreamInfo> {
    sorted(snapshot).into_iter().map(info).collect()
}

fn info(upstream: &Upstream) -> UpstreamInfo {
    let now = upstream.origin().micros(Instant::now());
    let endpoint = |endpoint: &Endpoint| EndpointInfo {
        address: endpoint.address.to_string(),
        host: endpoint.host.as_deref().map(str::to_owned),
        weight: endpoint.weight,
        state: state(endpoint, now).to_owned(),
        in_flight: endpoint.state.in_flight(),
        connections: endpoint.state.open_connections(),
        latency_micros: endpoint.state.latency_micros(now),
    };
    UpstreamInfo {
        name: upstream.settings.name.to_string(),
        circuit: if upstream.state.breaker.is_open() { "open" } else { "closed" }.to_owned(),
        pending: upstream.state.room.pending(),
        concurrency: concurrency(upstream).map(|(under_way, limit, waiting)| ConcurrencyInfo { under_way, limit, waiting }),
        endpoints: upstream.endpoints().endpoints().iter().map(|one| endpoint(one)).collect(),
    }
}

/// How many requests it has, may have, and how many wait for their turn, where that has a bound.
fn concurrency(upstream: &Upstream) -> Option<(u32, u32, u32)> {
    let (settings, gate) = (upstream.settings.gate.as_ref()?, &upstream.state.gate);
    Some((gate.under_way(), gate.limit(settings), gate.waiting()))
}

/// What the metrics tell of every upstream.
pub fn gauges(snapshot: &Snapshot) -> Vec<UpstreamGauges> {
    sorted(snapshot).into_iter().map(gauge).collect()
}

/// What is told of names as metrics.
pub fn name_gauges(facts: Vec<NameFacts>) -> Vec<NameGauges> {
    let gauge = |NameFacts { name, counts, addresses, age }: NameFacts| NameGauges {
        name: name.to_string(),
        answers: counts.answers,
        failures: counts.failures,
        refused: counts.refused,
        addresses: addresses as u64,
        age_millis: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    };
    facts.into_iter().map(gauge).collect()
}

/// What is told of providers as metrics.
pub fn provider_gauges(facts: Vec<ProviderFacts>) -> Vec<ProviderGauges> {
    let keys = |facts: KeySetFacts| KeySetGauges {
        fetched: facts.fetches.good,
        failed: facts.fetches.failed,
        age_seconds: facts.age_seconds,
    };
    let gauge = |ProviderFacts { provider, keys: of_keys, introspection }: ProviderFacts| ProviderGauges {
        provider: provider.to_string(),
        keys: of_keys.map(keys),
        introspection: introspection.map(|outcomes| (outcomes.good, outcomes.failed)),
    };
    facts.into_iter().map(gauge).collect()
}

fn gauge(upstream: &Upstream) -> UpstreamGauges {
    let now = upstream.origin().micros(Instant::now());
    let counts = &upstream.state.counts;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let endpoint = |endpoint: &Endpoint| EndpointGauges {
        address: endpoint.address.to_string(),
        state: state(endpoint, now),
        in_flight: endpoint.state.in_flight().into(),
        connections: endpoint.state.open_connections().into(),
    };
    UpstreamGauges {
        name: upstream.settings.name.to_string(),
        retries: count(&counts.retries),
        retries_refused: count(&counts.retries_refused),
        ejections: count(&counts.ejections),
        last_resort: count(&counts.last_resort),
        circuit_breaks: count(&counts.breaks),
        circuit_refused: count(&counts.broken),
        waits: count(&counts.waited),
        turns_waited: count(&counts.turns_waited),
        turns_refused: count(&counts.turns_refused),
        concurrency: concurrency(upstream).map(|(under_way, limit, _)| (under_way.into(), limit.into())),
        health_changes: count(&counts.health_changes),
        pending: upstream.state.room.pending().into(),
        circuit_open: upstream.state.breaker.is_open(),
        endpoints: upstream.endpoints().endpoints().iter().map(|one| endpoint(one)).collect(),
    }
}

/// Asks the gateway behind `socket` for its upstreams and shows them.
///
/// # Errors
/// A text for the operator, when nobody answers or the answer is not understood.
pub fn show(socket: &Path, output: Output) -> Result<(), String> {
    let answer = ask(socket, hyper::Method::GET, "/v1/upstreams")?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let upstreams: Vec<UpstreamInfo> = understood(answer)?;
    let mut rows = Vec::new();
    for upstream in &upstreams {
        for endpoint in &upstream.endpoints {
            let latency =
                endpoint.latency_micros.map_or_else(|| "-".to_owned(), |micros| format!("{:.1} ms", micros as f64 / 1000.0));
            let place =
                endpoint.host.as_ref().map_or_else(|| endpoint.address.clone(), |host| format!("{} ({host})", endpoint.address));
            rows.push(vec![
                upstream.name.clone(),
                place,
                endpoint.state.clone(),
                endpoint.weight.to_string(),
                endpoint.in_flight.to_string(),
                endpoint.connections.to_string(),
                latency,
            ]);
        }
    }
    output.table(&["upstream", "endpoint", "state", "weight", "in flight", "connections", "latency"], &rows);
    for upstream in &upstreams {
        if let Some(ConcurrencyInfo { under_way, limit, waiting }) = upstream.concurrency {
            output.line(&format!("{}: {under_way} of {limit} requests at once, {waiting} waiting for their turn", upstream.name));
        }
    }
    for upstream in upstreams.iter().filter(|upstream| upstream.circuit != "closed" || upstream.pending > 0) {
        let told = format!("{}: the circuit is {}, {} waiting for a connection", upstream.name, upstream.circuit, upstream.pending);
        output.line(&output.paint(Colour::Yellow, &told));
    }
    Ok(())
}
