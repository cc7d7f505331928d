//! Gives the upstream a credential of the gateway's in place of the client's.
//!
//! Guards against: upstreams that believe whoever reaches them, and tokens of clients that travel further than they must (threats E). Runs in
//! *shape*, the last of all: nothing is signed for whoever is refused, and no other policy changes what stands in `Authorization` then. What the
//! client sends there never reaches the upstream, also on routes that everybody may call.
//!
//! ```yaml
//! identity:
//!   signers:
//!     gateway: { issuer: "https://api.example.com", keys: { file: secrets/gateway.pem } }
//! apis:
//!   orders:
//!     authenticate: { any_of: [corp], audiences: ["https://api.example.com"] }
//!     credentials: { sign: { signer: gateway, audience: "https://orders.internal" } }
//! ```

mod client;
mod exchange;
mod keys;
mod policy;
mod publish;
mod sign;
#[cfg(test)]
mod tests;

pub use keys::SIGNING_KEYS;
pub use policy::compile;
pub use publish::publish;
