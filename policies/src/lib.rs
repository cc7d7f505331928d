//! What may stop or change a request: one folder each, one line each in [`POLICIES`].

use portcullis_gateway_policy::{Making, Phase, PolicyDefinition};
use portcullis_model_settings::PolicySchema;

mod access;
mod authenticate;
mod caller_limits;
mod cors;
mod credentials;
mod disabled;
mod header_rules;
pub mod ip_rules;
mod limits;
mod login;
mod login_account;
mod request_limits;
mod security_headers;

/// Every policy, in the order in which they run; answers pass them in reverse order. Sorted by phase.
pub const POLICIES: &[PolicyDefinition] = &[
    PolicyDefinition {
        settings: PolicySchema::of::<security_headers::SecurityHeaders>("security_headers"),
        phase: Phase::Admit,
        always: true,
        compile: Making::Settings(security_headers::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::of::<disabled::Disabled>("disabled"),
        phase: Phase::Admit,
        always: false,
        compile: Making::Settings(disabled::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::of::<ip_rules::IpRules>("ip_rules"),
        phase: Phase::Admit,
        always: false,
        compile: Making::Settings(ip_rules::compile),
        files: &[ip_rules::LIST],
    },
    PolicyDefinition {
        settings: PolicySchema::of::<limits::Limits>("limits"),
        phase: Phase::Admit,
        always: false,
        compile: Making::Settings(limits::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::of::<cors::Cors>("cors"),
        phase: Phase::Admit,
        always: false,
        compile: Making::Settings(cors::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::of::<request_limits::RequestLimits>("request_limits"),
        phase: Phase::Admit,
        always: true,
        compile: Making::Settings(request_limits::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::elsewhere("authenticate"),
        phase: Phase::Authenticate,
        always: false,
        compile: Making::Access(authenticate::compile, authenticate::compile_public),
        files: &[authenticate::KEYS, authenticate::API_KEYS, authenticate::SIGNATURE_KEYS],
    },
    PolicyDefinition {
        settings: PolicySchema::elsewhere("login"),
        phase: Phase::Authenticate,
        always: false,
        compile: Making::Login(login::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::elsewhere("caller_limits"),
        phase: Phase::Limit,
        always: false,
        compile: Making::SettingsOf("limits", caller_limits::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::elsewhere("access"),
        phase: Phase::Authorize,
        always: false,
        compile: Making::Access(access::compile, |_, _| None),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::of::<login_account::LoginAccount>("login_account"),
        phase: Phase::Validate,
        always: false,
        compile: Making::Settings(login_account::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::of::<header_rules::HeaderRules>("header_rules"),
        phase: Phase::Shape,
        always: false,
        compile: Making::Settings(header_rules::compile),
        files: &[],
    },
    PolicyDefinition {
        settings: PolicySchema::elsewhere("credentials"),
        phase: Phase::Shape,
        always: false,
        compile: Making::Credentials(credentials::compile, credentials::publish),
        files: &[credentials::SIGNING_KEYS],
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
