//! What may stop or change a request: one folder each, one line each in [`POLICIES`].

use portcullis_gateway_policy::{Phase, PolicyDefinition};
use portcullis_model_settings::PolicySchema;

mod cors;
mod disabled;
mod header_rules;
pub mod ip_rules;
mod request_limits;
mod security_headers;

/// Every policy, in the order in which they run; answers pass them in reverse order. Sorted by phase.
pub const POLICIES: &[PolicyDefinition] = &[
    PolicyDefinition {
        settings: PolicySchema::of::<security_headers::SecurityHeaders>("security_headers"),
        phase: Phase::Admit,
        always: true,
        compile: security_headers::compile,
        files: None,
    },
    PolicyDefinition {
        settings: PolicySchema::of::<disabled::Disabled>("disabled"),
        phase: Phase::Admit,
        always: false,
        compile: disabled::compile,
        files: None,
    },
    PolicyDefinition {
        settings: PolicySchema::of::<ip_rules::IpRules>("ip_rules"),
        phase: Phase::Admit,
        always: false,
        compile: ip_rules::compile,
        files: Some(ip_rules::LIST),
    },
    PolicyDefinition {
        settings: PolicySchema::of::<cors::Cors>("cors"),
        phase: Phase::Admit,
        always: false,
        compile: cors::compile,
        files: None,
    },
    PolicyDefinition {
        settings: PolicySchema::of::<request_limits::RequestLimits>("request_limits"),
        phase: Phase::Admit,
        always: true,
        compile: request_limits::compile,
        files: None,
    },
    PolicyDefinition {
        settings: PolicySchema::of::<header_rules::HeaderRules>("header_rules"),
        phase: Phase::Shape,
        always: false,
        compile: header_rules::compile,
        files: None,
    },
];

/// The settings of every policy, in the order of [`POLICIES`], for the configuration.
#[must_use]
pub fn settings() -> Vec<PolicySchema> {
    POLICIES.iter().map(|policy| policy.settings).collect()
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
