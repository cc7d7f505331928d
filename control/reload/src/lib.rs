//! From a plan to what runs: build, publish, roll back, carry over what did not change, retire.

mod access;
mod build;
mod care;
mod checks;
mod endpoints;
mod expiries;
mod files;
mod guard;
mod introspection;
mod key_sets;
mod key_uses;
mod last_good;
mod logins;
mod pipelines;
mod providers;
mod rehearsal;
mod reloader;
mod revocations;
mod upstream_tls;
mod warnings;
mod watch;

pub use access::{Caller, Comparison, Credential, Operation, Weighed, callers, compare};
pub use build::{Builder, Built, Following, Routing};
pub use checks::{HealthChange, HealthChecks};
pub use expiries::{Expiry, ExpiryKind, expiries};
pub use guard::{Admitted, Approval, Guard, NONE as NO_CONFIGURATION, PublicKey, Rule};
pub use key_uses::{Following as KeyUseFollowing, KeyUseEvent, KeyUseLog, StoreUses};
pub use last_good::{LastGood, read as read_last_good};
pub use pipelines::vocabulary;
pub use portcullis_control_names::{NameFacts, Names};
pub use providers::{KeySetFacts, Outcomes, ProviderFacts, Providers};
pub use rehearsal::{Decided, Known, Rehearsal, Rehearsed, rehearsed};
pub use reloader::{Inherited, Outcome, Reloader, Running};
pub use revocations::{REVOCATIONS_MAX, Revocation, RevocationLog, Target};
pub use warnings::warnings;
pub use watch::{Watch, watch};
