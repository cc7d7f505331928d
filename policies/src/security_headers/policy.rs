//! Sets what browsers need to be told, and removes what tells an attacker about the software behind.

use super::config::levels;
use portcullis_gateway_policy::{CompileError, Exchange, LiveFiles, Policy, Scheme};
use portcullis_wire::{FieldValue, KnownName, NameSet, ResponseHead};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// What `hsts` is where nobody says.
const HSTS: Duration = Duration::from_secs(365 * 86_400);

/// Fields by which servers name themselves and their versions.
const TELLTALES: NameSet = NameSet::of(&[
    KnownName::Server,
    KnownName::XPoweredBy,
    KnownName::XAspnetVersion,
    KnownName::XAspnetmvcVersion,
    KnownName::XRuntime,
    KnownName::XGenerator,
    KnownName::XVersion,
    KnownName::XBackendServer,
    KnownName::XServedBy,
]);

/// Fields set where the answer does not have them.
const SET_IF_ABSENT: [(KnownName, &str); 4] = [
    (KnownName::XContentTypeOptions, "nosniff"),
    (KnownName::XFrameOptions, "DENY"),
    (KnownName::ContentSecurityPolicy, "frame-ancestors 'none'"),
    (KnownName::ReferrerPolicy, "no-referrer"),
];

/// Makes the running policy; the longest `hsts` of all levels holds.
///
/// # Errors
/// None; the signature is that of every policy.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], _: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let seconds = levels(settings).filter_map(|level| level.hsts).max().unwrap_or(HSTS).as_secs();
    let checked = |value: &str| FieldValue::new(value.as_bytes()).map_err(|error| CompileError(error.detail.to_owned()));
    let hsts = match seconds {
        0 => None,
        _ => Some(checked(&format!("max-age={seconds}; includeSubDomains"))?),
    };
    let set_if_absent: Result<Vec<_>, _> = SET_IF_ABSENT.iter().map(|(name, value)| Ok((*name, checked(value)?))).collect();
    Ok(Arc::new(SecurityHeadersPolicy { hsts, set_if_absent: set_if_absent? }))
}

/// The running policy.
#[derive(Debug)]
struct SecurityHeadersPolicy {
    hsts: Option<FieldValue>,
    set_if_absent: Vec<(KnownName, FieldValue)>,
}

impl Policy for SecurityHeadersPolicy {
    fn on_response(&self, exchange: &Exchange, response: &mut ResponseHead) {
        let fields = response.fields_mut();
        fields.remove_all(TELLTALES);
        // RFC 6797 section 7.2: never over plain text.
        if exchange.connection.scheme == Scheme::Https
            && let Some(value) = &self.hsts
        {
            fields.remove(KnownName::StrictTransportSecurity);
            fields.append_checked(KnownName::StrictTransportSecurity, value);
        }
        let there = fields.names();
        for (name, value) in self.set_if_absent.iter().filter(|(name, _)| !there.contains(*name)) {
            fields.append_checked(*name, value);
        }
    }
}
