//! Checks of how endpoints are chosen and treated.

use super::Checker;
use crate::settings::{BalanceKind, Care, HealthKind, HealthSettings, UpstreamProtocolKind, UpstreamSettings};
use portcullis_model_settings::{Name, Spanned};

/// The most endpoints an upstream may have.
const ENDPOINTS_MAX: usize = 1024;

/// Checks what an upstream says about choosing endpoints.
pub(super) fn check(name: &Spanned<Name>, settings: &UpstreamSettings, path: &str, checker: &mut Checker<'_>) -> Care {
    let hashes = settings.balance == BalanceKind::ConsistentHash;
    match &settings.hash_by {
        None if hashes => {
            let help = "add `hash_by`: `client_ip`, `header:NAME` or `cookie:NAME`";
            checker.error(name, format!("{path}/hash_by"), "`consistent_hash` needs a key to hash by", help);
        }
        Some(hash_by) if !hashes => {
            let what = "`hash_by` has no effect without `balance: consistent_hash`";
            checker.error(hash_by, format!("{path}/hash_by"), what, "write `balance: consistent_hash`, or remove `hash_by`");
        }
        _ => {}
    }
    if settings.endpoints.0.len() > ENDPOINTS_MAX {
        let what = format!("more than {ENDPOINTS_MAX} endpoints");
        checker.error(name, format!("{path}/endpoints"), what, "spread them over several upstreams");
    }
    if let Some(health) = &settings.health {
        check_health(health, settings.protocol, path, checker);
    }
    Care {
        balance: settings.balance,
        hash_by: settings.hash_by.as_ref().map(|hash_by| hash_by.value.clone()),
        slow_start: settings.slow_start,
        health: settings.health.as_ref().map(|health| health.value.clone()),
        outlier: settings.outlier.clone(),
        breaker: settings.breaker.clone(),
        retry: settings.retry.clone(),
    }
}

fn check_health(health: &Spanned<HealthSettings>, protocol: UpstreamProtocolKind, path: &str, checker: &mut Checker<'_>) {
    let path = format!("{path}/health");
    let kind = health.check.as_str();
    if health.check == HealthKind::Grpc && protocol != UpstreamProtocolKind::H2 {
        let what = "a check by `grpc` needs HTTP/2, which is not spoken with this upstream";
        checker.error(health, format!("{path}/check"), what, "write `protocol: h2` in the upstream, or another `check`");
    }
    if let Some(service) = health.service.as_ref().filter(|_| health.check != HealthKind::Grpc) {
        let what = format!("a check by `{kind}` asks about no service");
        checker.error(service, format!("{path}/service"), what, "remove `service`, or write `check: grpc`");
    }
    match (health.check, &health.path) {
        (HealthKind::Http, None) => {
            let help = "add `path`, such as `/healthz`, or write `check: tcp`";
            checker.error(health, format!("{path}/path"), "a check by `http` needs a path to ask for", help);
        }
        (HealthKind::Tcp | HealthKind::Grpc, Some(written)) => {
            let what = format!("a check by `{kind}` asks for no path");
            checker.error(written, format!("{path}/path"), what, "remove `path`, or write `check: http`");
        }
        _ => {}
    }
    if health.check == HealthKind::Grpc && health.status.is_some() {
        let what = "a check by `grpc` is answered by its own status, not by one of HTTP";
        checker.error(health, format!("{path}/status"), what, "remove `status`, or write `check: http`");
    }
    if health.check == HealthKind::Tcp && (health.host.is_some() || health.status.is_some()) {
        let what = "a check by `tcp` has neither host nor status";
        checker.error(health, path.clone(), what, "remove them, or write `check: http`");
    }
    if health.host.as_ref().is_some_and(|host| host.shared().contains('*')) {
        let what = "a check asks for one host, not for a pattern";
        checker.error(health, format!("{path}/host"), what, "write one name, such as `orders.internal`");
    }
}
