//! From what is planned to what the mechanisms of an upstream are set to.

use portcullis_control_config::UpstreamPlan;
use portcullis_control_config::settings::{
    self, BalanceKind, Care, ConcurrencyMode, ConcurrencySettings, HashBy, HealthKind, RetryOn, UpstreamProtocolKind,
};
use portcullis_gateway_upstream::fairness;
use portcullis_gateway_upstream::{
    Balance, BreakerSettings, Errand, GateSettings, HashKey, HealthSettings, OutlierSettings, RetrySettings, Timeouts,
    UpstreamProtocol, UpstreamSettings,
};
use portcullis_model_settings::Percent;
use std::sync::Arc;
use std::time::Duration;

/// How long an unused upstream connection is kept.
const POOLED_IDLE: Duration = Duration::from_secs(60);
/// How long an upgraded connection may be silent at the least.
const UPGRADED_IDLE_MIN: Duration = Duration::from_secs(300);
/// The fewest requests that an upstream gets at once where the limit is found, where that begins, and how many times as long as the shortest an answer may
/// take, in sixteenths.
const CONCURRENCY_MIN: u32 = 4;
const CONCURRENCY_FIRST: u32 = 100;
const LATENCY_TOLERANCE: u32 = 18;

/// What is spoken with an upstream.
pub(crate) fn protocol(kind: UpstreamProtocolKind) -> UpstreamProtocol {
    match kind {
        UpstreamProtocolKind::H1 => UpstreamProtocol::Http1,
        UpstreamProtocolKind::H2 => UpstreamProtocol::Http2,
    }
}

fn whole(percent: Percent) -> u32 {
    u32::from(percent.hundredths()).div_ceil(100)
}

fn balance(care: &Care) -> Balance {
    match (care.balance, &care.hash_by) {
        (BalanceKind::RoundRobin, _) => Balance::RoundRobin,
        (BalanceKind::LeastRequests, _) => Balance::LeastRequests,
        (BalanceKind::LeastLatency, _) => Balance::LeastLatency,
        (BalanceKind::ConsistentHash, Some(HashBy::Header(name))) => Balance::ConsistentHash(HashKey::Header(name.clone())),
        (BalanceKind::ConsistentHash, Some(HashBy::Cookie(name))) => Balance::ConsistentHash(HashKey::Cookie(name.clone())),
        // A missing key was refused when it was checked.
        (BalanceKind::ConsistentHash, Some(HashBy::ClientIp) | None) => Balance::ConsistentHash(HashKey::ClientIp),
    }
}

fn outlier(care: &Care) -> OutlierSettings {
    OutlierSettings {
        consecutive_failures: care.outlier.consecutive_failures,
        eject_for: care.outlier.eject_for,
        eject_at_most_percent: whole(care.outlier.eject_at_most),
    }
}

fn breaker(settings: &settings::BreakerSettings) -> BreakerSettings {
    BreakerSettings {
        failures_percent: whole(settings.failures),
        window: settings.window,
        requests_min: settings.requests_min,
        open_for: settings.open_for,
        probes: settings.probes,
    }
}

fn retry(care: &Care) -> RetrySettings {
    RetrySettings {
        attempts: care.retry.attempts,
        budget_share: u32::from(care.retry.budget.hundredths()),
        on_connect: care.retry.on.contains(&RetryOn::Connect),
        on_reset_before_bytes: care.retry.on.contains(&RetryOn::ResetBeforeBytes),
    }
}

fn health(settings: &settings::HealthSettings, kind: UpstreamProtocolKind) -> HealthSettings {
    let host = settings.host.as_ref().map(settings::Host::shared);
    let errand = match (settings.check, &settings.path) {
        (HealthKind::Http, Some(path)) => {
            let by_http2 = protocol(kind) == UpstreamProtocol::Http2;
            Errand::Http { path: path.shared(), host, status: settings.status, by_http2 }
        }
        (HealthKind::Grpc, _) => {
            let service = settings.service.as_ref().map_or_else(|| "".into(), |service| service.shared());
            Errand::Grpc { service, host }
        }
        // A missing path was refused when it was checked.
        (HealthKind::Tcp, _) | (HealthKind::Http, None) => Errand::Tcp,
    };
    HealthSettings {
        errand,
        interval: settings.interval,
        timeout: settings.timeout,
        unhealthy_after: settings.unhealthy_after,
        healthy_after: settings.healthy_after,
    }
}

/// Who has waited for a quarter of the time that waiting may take is old.
fn gate(settings: &ConcurrencySettings, wait_max: Duration) -> GateSettings {
    let max = settings.max;
    let (min, first) = match settings.mode {
        ConcurrencyMode::Adaptive => (CONCURRENCY_MIN.min(max), CONCURRENCY_FIRST.min(max)),
        ConcurrencyMode::Fixed => (max, max),
    };
    GateSettings { limit: fairness::Settings { min, max, first, tolerance: LATENCY_TOLERANCE }, patience: wait_max / 4 }
}

/// What an upstream is set to.
pub(crate) fn upstream_settings(planned: &UpstreamPlan) -> UpstreamSettings {
    let timeouts = &planned.timeouts;
    UpstreamSettings {
        name: Arc::clone(&planned.name),
        protocol: protocol(planned.protocol),
        timeouts: Timeouts {
            connect: timeouts.connect,
            first_byte: timeouts.first_byte,
            idle: timeouts.idle,
            total: timeouts.total,
            upgraded_idle: timeouts.idle.max(UPGRADED_IDLE_MIN),
        },
        balance: balance(&planned.care),
        slow_start: planned.care.slow_start,
        health: planned.care.health.as_ref().map(|settings| health(settings, planned.protocol)),
        outlier: Some(outlier(&planned.care)),
        breaker: planned.care.breaker.as_ref().map(breaker),
        retry: retry(&planned.care),
        connections_max: planned.limits.connections,
        pending_max: planned.limits.pending,
        gate: planned.concurrency.as_ref().map(|settings| gate(settings, timeouts.connect)),
        idle_per_worker: planned.limits.idle_per_worker as usize,
        pooled_idle: POOLED_IDLE,
        plaintext_expires: planned.danger_plaintext.as_ref().map(|weakening| weakening.expires_unix_seconds),
    }
}
