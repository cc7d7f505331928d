//! Sets what browsers need to be told, and removes what tells an attacker about the software behind.

use super::config::SecurityHeaders;
use portcullis_gateway_policy::{Exchange, Policy, Scheme};
use portcullis_wire::{KnownName, ResponseHead, WireError};

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

/// The running policy.
#[derive(Debug)]
pub(super) struct Running {
    hsts: Option<Vec<u8>>,
}

impl Running {
    pub(super) fn new(settings: &SecurityHeaders) -> Self {
        let seconds = settings.hsts.as_secs();
        Self { hsts: (seconds > 0).then(|| format!("max-age={seconds}; includeSubDomains").into_bytes()) }
    }

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
                fields.set_named(name, value.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Policy for Running {
    fn on_response(&self, exchange: &Exchange, response: &mut ResponseHead) {
        let applied = self.apply(exchange, response);
        debug_assert!(applied.is_ok(), "the values of this policy are constants and valid");
    }
}
