//! Tokens that are kept between requests, sealed with a key that this process alone has and never writes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use portcullis_model::Secret;

/// Seals and opens.
pub(super) struct Sealer(RandomizedNonceKey);

/// What is sealed.
#[derive(Clone)]
pub(super) struct Sealed {
    nonce: [u8; 12],
    bytes: Box<[u8]>,
}

impl Sealer {
    /// One with a key of its own. Nothing when the system gives no random bytes.
    pub(super) fn new() -> Option<Self> {
        let mut key = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut key).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).ok().map(Self)
    }

    /// Seals a text.
    pub(super) fn seal(&self, text: &str) -> Option<Sealed> {
        let mut bytes = text.as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut bytes).ok()?;
        Some(Sealed { nonce: *nonce.as_ref(), bytes: bytes.into() })
    }

    /// Opens what it has sealed.
    pub(super) fn open(&self, sealed: &Sealed) -> Option<Secret<String>> {
        let mut bytes = sealed.bytes.to_vec();
        let text = self.0.open_in_place(Nonce::assume_unique_for_key(sealed.nonce), Aad::empty(), &mut bytes).ok()?;
        std::str::from_utf8(text).ok().map(|text| Secret::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Sealer;

    #[test]
    fn only_who_sealed_opens_and_nothing_is_seen() {
        let (one, other) = (Sealer::new().unwrap(), Sealer::new().unwrap());
        let mut sealed = one.seal("refresh-token").unwrap();
        assert_eq!(one.open(&sealed).unwrap().reveal(), "refresh-token");
        assert!(other.open(&sealed).is_none());
        assert!(!sealed.bytes.windows(7).any(|part| part == b"refresh"));
        sealed.bytes[0] ^= 1;
        assert!(one.open(&sealed).is_none());
    }
}
