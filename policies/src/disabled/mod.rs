//! Turns routes off, and refuses requests of a form that an upstream must not see until it is mended.
//!
//! Guards against: an operation that turned out to be dangerous, and holes in upstreams between their discovery and their repair. Runs in
//! *admit* before every other policy that judges, so that a flood on what is off costs nothing. Off by default. Rules of every level hold
//! together; a level further in cannot lift any. Patterns are matched in linear time and are bounded when they are loaded (threats D 99,
//! 100); what they are matched with is the canonical form, and every value of a repeated field or parameter (threats B 52).
//!
//! ```yaml
//! apis:
//!   orders:
//!     disabled:
//!       routes: [export]
//!       reason: exports take the database down, see INC-17
//!       refuse:
//!         - methods: [POST]
//!           path: ^/orders/import
//!           header: { content-type: yaml }
//!           reason: the YAML reader runs what it reads, see INC-18
//!           owner: team-orders@example.com
//!           expires: 2027-01-31
//! ```

mod config;
mod pattern;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Disabled;
pub use policy::compile;
