//! An approval: a signed word that one configuration may follow another, for once.

#[cfg(test)]
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};

/// What stands for the configuration before the first one.
pub const NONE: &str = "none";
/// Longer files are no approvals.
pub(super) const APPROVAL_BYTES_MAX: u64 = 16 * 1024;
/// How an Ed25519 public key begins in DER (RFC 8410 section 4).
const SPKI_BEGIN: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The hash of the configuration before, or `none`.
    pub old: String,
    /// The hash of the configuration that may follow.
    pub new: String,
    /// Until when, in seconds since the Unix epoch.
    pub until_unix_seconds: u64,
    /// What tells it from every other approval, in hexadecimal digits.
    pub nonce: String,
    /// The signature of all that, by Ed25519 (RFC 8032), in hexadecimal digits.
    pub signature: String,
}

impl Approval {
    /// What is signed: the lines of the approval, under a heading that no other use of the key has. None of them can hold a line break, as
    /// they are compared with hashes or must be digits.
    fn signed(old: &str, new: &str, until: u64, nonce: &str) -> String {
        format!("portcullis approval 1\n{old}\n{new}\n{until}\n{nonce}\n")
    }

    /// Approves that `new` follows `old`, both hashes, until then. `key` is a private key of Ed25519 in PEM (PKCS#8).
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn sign(key: &[u8], old: &str, new: &str, until_unix_seconds: u64) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|error| format!("it is no private key in PEM: {error}"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        let pair =
            pair.map_err(|_| "it is no private key of Ed25519; make one with `openssl genpkey -algorithm ed25519`".to_owned())?;
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "the system gives no random bytes".to_owned())?;
        let nonce = hex(&nonce);
        let signature = hex(pair.sign(Self::signed(old, new, until_unix_seconds, &nonce).as_bytes()).as_ref());
        Ok(Self { old: old.to_owned(), new: new.to_owned(), until_unix_seconds, nonce, signature })
    }

    /// Whether the key has signed it.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let (Some(signature), Some(_)) = (unhex(&self.signature), unhex(&self.nonce)) else { return false };
        let signed = Self::signed(&self.old, &self.new, self.until_unix_seconds, &self.nonce);
        UnparsedPublicKey::new(&ED25519, key.0).verify(signed.as_bytes(), &signature).is_ok()
    }
}

/// Whose approvals count: a public key of Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads it from PEM (SubjectPublicKeyInfo), as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|error| format!("it is no public key in PEM: {error}"))?;
        let key = der.as_ref().strip_prefix(&SPKI_BEGIN).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or_else(|| "it is no public key of Ed25519".to_owned())
    }

    /// The public half of a private key in PEM.
    #[cfg(test)]
    pub(super) fn of_private(pem: &[u8]) -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).unwrap();
        Self(pair.public_key().as_ref().try_into().unwrap())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from lower-case hexadecimal digits, and from nothing else: one text for one value.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|digit| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    });
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| Some(pair.first()? << 4 | pair.get(1)?)).collect()
}
