//! Tells browsers to be careful with every answer, and attackers nothing about the software behind.
//!
//! Guards against: downgrade to plain text (HSTS), content sniffing, framing, referrer leaks, and version disclosure. Runs in
//! *admit*, so that on the way back it is the last to see an answer. Always on.
//!
//! ```yaml
//! defaults:
//!   security_headers: { hsts: 365d }
//! ```

mod config;
mod policy;
#[cfg(test)]
mod tests;

pub use config::SecurityHeaders;
pub use policy::compile;
