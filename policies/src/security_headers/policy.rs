//! Sets what browsers need to be told, and removes what tells an attacker about the software behind.

use super::config::levels;
use portcullis_gateway_policy::{CompileError, Exchange, Policy, Scheme};
use portcullis_wire::{KnownName, ResponseHead, WireError};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// What `hsts` is where nobody says.
const HSTS: Duration = Duration::from_secs(365 * 86_400);

/// Fields by which servers name themselves and their versions.
const TELLTALES: [&str; 9] = [
    "server",
    "x-powered-by",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-runtime",
    "x-generator",
    "x-version",
    "x-backend-server",
    "x-served-by",
];

/// Fields set where the answer does not have them.
const SET_IF_ABSENT: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
];

/// Makes the running policy; the longest `hsts` of all levels holds.
///
/// # Errors
/// None; the signature is that of every policy.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>]) -> Result<Arc<dyn Policy>, CompileError> {
    let seconds = levels(settings).filter_map(|level| level.hsts).max().unwrap_or(HSTS).as_secs();
    let hsts = (seconds > 0).then(|| format!("max-age={seconds}; includeSubDomains").into_bytes());
    Ok(Arc::new(SecurityHeadersPolicy { hsts }))
}

/// The running policy.
#[derive(Debug)]
struct SecurityHeadersPolicy {
    hsts: Option<Vec<u8>>,
}

impl SecurityHeadersPolicy {
    fn apply(&self, exchange: &Exchange, response: &mut ResponseHead) -> Result<(), WireError> {
        let fields = response.fields_mut();
        for name in TELLTALES {
            fields.remove_named(name);
        }
        // RFC 6797 section 7.2: never over plain text.
        if exchange.connection.scheme == Scheme::Https
            && let Some(value) = &self.hsts
        {
            fields.set(KnownName::StrictTransportSecurity, value)?;
        }
        for (name, value) in SET_IF_ABSENT {
            if fields.first_named(name).is_none() {
                fields.append_named(name, value.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Policy for SecurityHeadersPolicy {
    fn on_response(&self, exchange: &Exchange, response: &mut ResponseHead) {
        let applied = self.apply(exchange, response);
        debug_assert!(applied.is_ok(), "the values of this policy are constants and valid");
    }
}
