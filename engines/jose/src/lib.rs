//! Signed tokens (RFC 7515, 7517, 7519, 8725, 9068): bytes or values in, a result out. No sockets, no clock, no files.
//!
//! What a token says of itself never decides how it is checked: the algorithms, the types and the keys come from whoever trusts its
//! issuer. Everything is bounded, and what could be read in two ways is refused. Untrusted input: nothing here panics.

mod algorithm;
mod base64;
mod binding;
mod der;
mod id_token;
mod introspection;
mod issued;
mod json;
mod jwk;
mod logout_token;
mod path;
mod proof;
mod signing;
mod token;
mod verify;

pub use algorithm::{Algorithm, Algorithms};
pub use base64::encode as base64url;
pub use binding::{Binding, Holding, Holdings, Thumbprint};
pub use id_token::{Login, check_id_token};
pub use introspection::{INTROSPECTION_BYTES_MAX, Introspected, read_introspection};
pub use issued::{ISSUED_BYTES_MAX, Issued, read_issued};
pub use json::{Json, MEMBERS_MAX};
pub use jwk::{KEY_SET_BYTES_MAX, KeyMark, KeySet, KeySetFault, Unfit};
pub use logout_token::LogoutToken;
pub use path::ClaimPath;
pub use proof::{PROOF_BYTES_MAX, Proof, ProofFault, ProofRules};
pub use signing::{SIGNING_KEYS_MAX, SigningKey, SigningKeys, SigningKeysFault};
pub use token::{Claims, Header, TOKEN_BYTES_MAX, Token};
pub use verify::{Fault, Rules, TokenType, check_claims, verify_signature};

#[cfg(test)]
mod tests;
