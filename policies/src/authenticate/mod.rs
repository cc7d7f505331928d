//! Finds out who is calling by a bearer token (RFC 6750) that one of the API's providers signed (RFC 9068, RFC 8725).
//!
//! Guards against: callers nobody knows, and tokens that are forged, stale, for another API or not for access (threats E). Runs in
//! *authenticate*, on every route that is not for everybody. A token is verified once and then found by its hash, until it ends or its
//! key is withdrawn; what depends on the route, the audience, is compared each time. Without a key set the answer is 503, never access.
//!
//! ```yaml
//! identity:
//!   providers:
//!     corp: { issuer: "https://id.example.com", keys: { file: corp.jwks.json } }
//! apis:
//!   orders:
//!     authenticate: { any_of: [corp], audiences: ["https://api.example.com"] }
//! ```

mod api_keys;
mod binding;
pub(crate) mod cache;
mod certificates;
mod challenge;
mod introspection;
mod keys;
mod policy;
mod proofs;
mod shown;
mod signatures;
#[cfg(test)]
mod tests;

pub use api_keys::{API_KEYS, compile_public};
pub use keys::KEYS;
pub use policy::compile;
pub use signatures::SIGNATURE_KEYS;
