//! From what is planned to what the mechanisms of an upstream are set to.

use portcullis_control_config::settings::{self, BalanceKind, Care, HashBy, HealthKind, RetryOn, UpstreamProtocolKind};
use portcullis_gateway_upstream::{
    Balance, BreakerSettings, Errand, HashKey, HealthSettings, OutlierSettings, RetrySettings, UpstreamProtocol,
};
use portcullis_model_settings::Percent;

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

pub(crate) fn balance(care: &Care) -> Balance {
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

pub(crate) fn outlier(care: &Care) -> OutlierSettings {
    OutlierSettings {
        consecutive_failures: care.outlier.consecutive_failures,
        eject_for: care.outlier.eject_for,
        eject_at_most_percent: whole(care.outlier.eject_at_most),
    }
}

pub(crate) fn breaker(settings: &settings::BreakerSettings) -> BreakerSettings {
    BreakerSettings {
        failures_percent: whole(settings.failures),
        window: settings.window,
        requests_min: settings.requests_min,
        open_for: settings.open_for,
        probes: settings.probes,
    }
}

pub(crate) fn retry(care: &Care) -> RetrySettings {
    RetrySettings {
        attempts: care.retry.attempts,
        budget_share: u32::from(care.retry.budget.hundredths()),
        on_connect: care.retry.on.contains(&RetryOn::Connect),
        on_reset_before_bytes: care.retry.on.contains(&RetryOn::ResetBeforeBytes),
    }
}

pub(crate) fn health(settings: &settings::HealthSettings, kind: UpstreamProtocolKind) -> HealthSettings {
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
