//! The configuration: text -> tree -> settings -> [`Plan`].
//!
//! | stage | module | on failure |
//! |---|---|---|
//! | read | `source`, `read` | file, line, column, the line itself |
//! | decode | `settings` (one definition gives type, decoder, schema, reference) | path and what was expected |
//! | check | `check` | path, reason, what to do; all of it, not the first |
//!
//! Nothing is built and nothing but the configuration's own files is read. The configuration is untrusted input: bounded in bytes,
//! values and depth, and nothing here panics on it.

mod canonical;
mod canonical_yaml;
mod check;
mod digest;
mod document;
mod later;
mod loader;
mod merge;
mod plan;
mod read;
mod report;
pub mod settings;
mod source;

pub use check::cedar_schema;
pub use digest::Digest;
pub use document::{reference, schema};
pub use loader::{Loader, load, load_text, read_settings};
pub use plan::{
    Access, AccessLogPlan, ApiPlan, CertificatePlan, ClientCertificatePlan, DrainPlan, IdentityPlan, ListenerMode, ListenerPlan,
    ManagementPlan, Plan, PolicyFile, PolicyLevels, Reminder, RotatePlan, RoutePlan, StorePlan, TlsPlan, UpstreamPlan,
    UpstreamTlsPlan, Weakening,
};
pub use report::{Finding, Report, RoutePlace};
pub use source::Caps;

#[cfg(test)]
mod tests;
