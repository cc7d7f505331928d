//! Says which pages of other origins may read answers, and answers their preflights.
//!
//! Guards against: pages elsewhere that read or change what their visitor may (cross-origin reads, forged requests, WebSockets opened from
//! foreign pages). Runs in *admit*, since a preflight never carries credentials. Off by default. Origins are compared exactly; what the
//! upstream itself says of other origins is removed, so that this is the only place to look. A preflight is answered here and never forwarded,
//! and only if the route that it asks for exists. A request that changes something, or opens a WebSocket, from a page of an origin that is
//! neither listed nor the host's own is refused.
//!
//! ```yaml
//! apis:
//!   orders:
//!     cors: { origins: ["https://app.example.com"], credentials: true, headers: [X-Requested-With] }
//! ```

mod config;
mod origin;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Cors;
pub use policy::compile;
