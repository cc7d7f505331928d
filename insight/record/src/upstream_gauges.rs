//! Metrics of upstreams that are counted where requests are balanced, not from records.

use crate::exposition::{Text, escaped};

/// How many endpoints have series of their own, over all upstreams: a bound for who scrapes.
const ENDPOINTS_MAX: usize = 1000;

/// One upstream, told at each scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamGauges {
    /// Its name.
    pub name: String,
    /// Requests repeated.
    pub retries: u64,
    /// Requests not repeated because the budget was used up.
    pub retries_refused: u64,
    /// Endpoints left out because they failed.
    pub ejections: u64,
    /// Requests sent to endpoints that are left out.
    pub last_resort: u64,
    /// Times the circuit was broken.
    pub circuit_breaks: u64,
    /// Requests refused because the circuit was open.
    pub circuit_refused: u64,
    /// Requests that had to wait for a connection.
    pub waits: u64,
    /// Requests that had to wait for their turn.
    pub turns_waited: u64,
    /// Of them those that were refused.
    pub turns_refused: u64,
    /// Requests that it has now, and may have, where that has a bound.
    pub concurrency: Option<(u64, u64)>,
    /// Changes of health.
    pub health_changes: u64,
    /// Requests that wait now.
    pub pending: u64,
    /// Whether the circuit is open.
    pub circuit_open: bool,
    /// Its endpoints.
    pub endpoints: Vec<EndpointGauges>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointGauges {
    /// Its address.
    pub address: String,
    /// `available`, `unhealthy` or `ejected`.
    pub state: &'static str,
    /// Exchanges under way.
    pub in_flight: u64,
    /// Open connections.
    pub connections: u64,
}

/// The states of endpoints.
const STATES: [&str; 3] = ["available", "unhealthy", "ejected"];

pub(crate) fn upstream_gauges(text: &mut Text, upstreams: &[UpstreamGauges]) {
    type Count = fn(&UpstreamGauges) -> u64;
    let families: [(&str, &str, &str, Count); 12] = [
        ("portcullis_upstream_retries_total", "counter", "Requests repeated.", |u| u.retries),
        ("portcullis_upstream_retries_refused_total", "counter", "Requests not repeated for want of budget.", |u| {
            u.retries_refused
        }),
        ("portcullis_upstream_ejections_total", "counter", "Endpoints left out because they failed.", |u| u.ejections),
        ("portcullis_upstream_last_resort_total", "counter", "Requests sent to endpoints that are left out.", |u| u.last_resort),
        ("portcullis_upstream_circuit_breaks_total", "counter", "Times the circuit was broken.", |u| u.circuit_breaks),
        ("portcullis_upstream_circuit_refused_total", "counter", "Requests refused by the open circuit.", |u| u.circuit_refused),
        ("portcullis_upstream_waits_total", "counter", "Requests that had to wait for a connection.", |u| u.waits),
        ("portcullis_upstream_turns_waited_total", "counter", "Requests that had to wait for their turn.", |u| u.turns_waited),
        ("portcullis_upstream_turns_refused_total", "counter", "Requests whose turn did not come in time.", |u| u.turns_refused),
        ("portcullis_upstream_health_changes_total", "counter", "Changes found by health checks.", |u| u.health_changes),
        ("portcullis_upstream_pending", "gauge", "Requests that wait for a connection.", |u| u.pending),
        ("portcullis_upstream_circuit_open", "gauge", "1 while the circuit is open or probed.", |u| u64::from(u.circuit_open)),
    ];
    for (name, kind, help, count) in families {
        text.family(name, kind, help);
        for upstream in upstreams {
            text.push(format_args!("{name}{{upstream=\"{}\"}} {}\n", escaped(&upstream.name), count(upstream)));
        }
    }
    type Figure = fn(&(u64, u64)) -> u64;
    let concurrency: [(&str, &str, Figure); 2] = [
        ("portcullis_upstream_concurrency", "Requests that an upstream with a bound has at once.", |(under_way, _)| *under_way),
        ("portcullis_upstream_concurrency_limit", "How many it may have at once.", |(_, limit)| *limit),
    ];
    for (name, help, figure) in concurrency {
        text.family(name, "gauge", help);
        for (upstream, figures) in upstreams.iter().filter_map(|upstream| Some((upstream, upstream.concurrency.as_ref()?))) {
            text.push(format_args!("{name}{{upstream=\"{}\"}} {}\n", escaped(&upstream.name), figure(figures)));
        }
    }
    const STATE: &str = "portcullis_upstream_endpoints";
    text.family(STATE, "gauge", "Endpoints by state.");
    for upstream in upstreams {
        for state in STATES {
            let count = upstream.endpoints.iter().filter(|endpoint| endpoint.state == state).count();
            text.push(format_args!("{STATE}{{upstream=\"{}\",state=\"{state}\"}} {count}\n", escaped(&upstream.name)));
        }
    }
    endpoint_gauges(text, upstreams);
}

fn endpoint_gauges(text: &mut Text, upstreams: &[UpstreamGauges]) {
    type Count = fn(&EndpointGauges) -> u64;
    let families: [(&str, &str, Count); 3] = [
        ("portcullis_endpoint_available", "1 while requests may go to it.", |e| u64::from(e.state == "available")),
        ("portcullis_endpoint_in_flight", "Exchanges under way.", |e| e.in_flight),
        ("portcullis_endpoint_connections", "Open connections, used and unused.", |e| e.connections),
    ];
    for (name, help, count) in families {
        text.family(name, "gauge", help);
        let all = upstreams.iter().flat_map(|upstream| upstream.endpoints.iter().map(move |endpoint| (upstream, endpoint)));
        for (upstream, endpoint) in all.take(ENDPOINTS_MAX) {
            let (upstream, address) = (escaped(&upstream.name), &endpoint.address);
            text.push(format_args!("{name}{{upstream=\"{upstream}\",endpoint=\"{address}\"}} {}\n", count(endpoint)));
        }
    }
}
