//! Refuses what comes faster than it may: 429 with `Retry-After`, and with each answer how much is left.
//!
//! Guards against: one client that takes what is there for all, guessing, scraping, and loops in somebody's program. Runs in *admit*, so that a
//! refusal costs neither cryptography nor a body. Off by default. Lines of every level hold together; all are charged, or none. What
//! clients have used lives beside the configuration: a reload forgets nothing, a restart or an upgrade everything. There is room for
//! 1,000,000 clients that are active at the same time, in 32 MiB; beyond that those who have used least are forgotten first.
//!
//! ```yaml
//! apis:
//!   orders:
//!     limits:
//!       - { per: client_ip, rate: 50/s, burst: 100 }
//!       - { per: principal, rate: 10/s }
//!       - { per: all, rate: 2000/s }
//! ```
//!
//! A limit with `mode: report` is tried on traffic as it is: what is beyond it is recorded and counted, and goes on.
//!
//! What counts by `principal` is charged when it is known who is calling: [`crate::caller_limits`].

mod config;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Limits;
pub use policy::{compile, compile_by_caller};
