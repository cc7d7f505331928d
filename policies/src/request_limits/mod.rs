//! Refuses methods that are not listed, and requests that are longer than they may be.
//!
//! Guards against: methods nobody meant to expose, and clients that make upstreams hold or store too much (threats D 85, 93). Runs in
//! *admit*, before anything is known of the caller; a chunked body is counted while it streams. Always on.
//!
//! ```yaml
//! defaults:
//!   request_limits: { methods: [GET, POST], uri_bytes_max: 8KiB, body_bytes_max: 1MiB }
//! ```

mod config;
mod policy;
#[cfg(test)]
mod tests;

pub use config::RequestLimits;
pub use policy::compile;
