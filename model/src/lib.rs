//! The words of Portcullis: ids, time, secrets, rejections, and the decision record.
//!
//! Nothing in this crate does I/O or knows about async. Everything else in the workspace may depend on it.

mod allowed;
mod calendar;
mod clock;
mod ids;
mod principal;
mod record;
mod rejection;
mod secret;
mod text;
mod verdict;

pub use allowed::{AllowedBy, LineWords, ROLES_TOLD_MAX};
pub use calendar::civil_date;
pub use clock::Clock;
pub use ids::{Generation, IdSource, RequestId, TraceContext};
pub use principal::{Consumer, Grants, Mark, Mask, Principal, UsagePlan};
pub use record::{
    AlternativeName, Attempt, AttemptOutcome, ClientCertificate, ConnectionEvent, DecisionRecord, LoginAttempt, Phase,
    PhaseTimings, Protocol, RecordGuard, RecordSink, TlsFacts, Traffic,
};
pub use rejection::{Blame, Reason, Rejection};
pub use secret::Secret;
pub use text::Text;
pub use verdict::{PolicyId, PolicyVerdict, VerdictKind, VerdictLog};
