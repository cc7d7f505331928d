//! Checks of how endpoints are chosen and treated.

use super::Checker;
use crate::settings::{BalanceKind, Care, UpstreamSettings};
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
    Care {
        balance: settings.balance,
        hash_by: settings.hash_by.as_ref().map(|hash_by| hash_by.value.clone()),
        slow_start: settings.slow_start,
        outlier: settings.outlier.clone(),
        breaker: settings.breaker.clone(),
        retry: settings.retry.clone(),
    }
}
