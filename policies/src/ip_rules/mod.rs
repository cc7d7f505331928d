//! Refuses clients by their addresses: those on a deny list, and those that are not on an allow list.
//!
//! Guards against: known attackers, and callers from networks that have no business here. Runs in *admit*. Off by default. A deny list of
//! any level refuses; an allow list of every level must have the client. Lists from files hold up to 1,000,000 networks each and are
//! replaced while the gateway runs. IPv4 addresses written as IPv6 are the IPv4 addresses (threats C 65).
//!
//! ```yaml
//! defaults:
//!   ip_rules: { deny: { file: lists/deny.txt } }
//! apis:
//!   orders:
//!     ip_rules: { allow: { networks: [10.0.0.0/8, "2001:db8::/32"] } }
//! ```

mod config;
mod list;
mod policy;
mod set;
mod singles;
#[cfg(test)]
mod tests;

pub use config::{AddressList, IpRules};
pub use list::LIST;
pub use policy::compile;
pub use set::AddressSet;
