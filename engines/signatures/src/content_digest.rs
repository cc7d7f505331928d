//! Digests of bodies (RFC 9530).

use crate::MessageFault;
use crate::structured::byte_sequences;
use aws_lc_rs::digest::{Algorithm, SHA256, SHA512, digest};

/// Checks that a body is the one that `Content-Digest` tells of: by every algorithm that is known, of which there must be one.
///
/// # Errors
/// When it is not, the field is not well-formed, or it has no algorithm that is known.
pub fn check_content_digest(field: &[u8], body: &[u8]) -> Result<(), MessageFault> {
    let told = byte_sequences(field).ok_or(MessageFault::DigestMalformed)?;
    let mut known = 0;
    for (name, value) in &told {
        let algorithm: &'static Algorithm = match &**name {
            "sha-256" => &SHA256,
            "sha-512" => &SHA512,
            _ => continue,
        };
        known += 1;
        if digest(algorithm, body).as_ref() != &value[..] {
            return Err(MessageFault::DigestOther);
        }
    }
    if known == 0 { Err(MessageFault::DigestMalformed) } else { Ok(()) }
}
