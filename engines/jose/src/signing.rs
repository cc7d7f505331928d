//! Keys that the gateway itself signs with: read from PEM, and told of by their public halves.

use crate::base64;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fmt;

/// How many keys a file may have.
pub const SIGNING_KEYS_MAX: usize = 16;

/// What is wrong with a file of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeysFault {
    /// It is not PEM.
    NotPem,
    /// It has no private key.
    Empty,
    /// It has too many.
    TooMany,
    /// The key at this place, counted from 1, is neither on P-256 nor on Ed25519, or is damaged.
    Unfit(usize),
    /// The key at this place is there already.
    Twice(usize),
}

impl fmt::Display for SigningKeysFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPem => f.write_str("it is not PEM; write private keys between their `BEGIN` and `END` lines"),
            Self::Empty => f.write_str("it has no private key; make one with `openssl genpkey -algorithm ed25519`"),
            Self::TooMany => write!(f, "it has more than {SIGNING_KEYS_MAX} keys; leave out those that are out of use"),
            Self::Unfit(at) => write!(
                f,
                "key {at} is neither on P-256 nor on Ed25519, or is damaged or encrypted; make one with `openssl genpkey -algorithm ed25519`, or `-algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
            ),
            Self::Twice(at) => write!(f, "key {at} is there already; leave it out"),
        }
    }
}

enum Pair {
    P256(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// A private key. It does not print.
pub struct SigningKey {
    pair: Pair,
    id: Box<str>,
    public: Value,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    fn of(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let pair = match der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(|pair| Pair::P256(Box::new(pair)));
                p256.or_else(|_| Ed25519KeyPair::from_pkcs8(der).map(|pair| Pair::Ed25519(Box::new(pair)))).ok()?
            }
            PrivateKeyDer::Sec1(der) => {
                let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_sec1_der());
                Pair::P256(Box::new(pair.ok()?))
            }
            _ => return None,
        };
        // The text that is hashed has the members that every key of its type has, sorted, without spaces (RFC 7638 section 3).
        let (hashed, mut public) = match &pair {
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point.get(1..)?.split_at_checked(32)?;
                let (x, y) = (base64::encode(x), base64::encode(y));
                let hashed = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}");
                (hashed, json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256" }))
            }
            Pair::Ed25519(pair) => {
                let x = base64::encode(pair.public_key().as_ref());
                let hashed = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
                (hashed, json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA" }))
            }
        };
        let id = base64::encode(digest(&SHA256, hashed.as_bytes()).as_ref()).into_boxed_str();
        if let Value::Object(members) = &mut public {
            members.insert("kid".to_owned(), Value::from(&*id));
            members.insert("use".to_owned(), Value::from("sig"));
        }
        // Published as text: in one order, however the program builds `serde_json`.
        public.sort_all_objects();
        Some(Self { pair, id, public })
    }

    /// What it is known by: its thumbprint (RFC 7638).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A token of a type and these claims, compact (RFC 7515 section 7.1). Nothing when the system gives no random bytes.
    #[must_use]
    pub fn sign(&self, token_type: &str, claims: &Value) -> Option<String> {
        let algorithm = match &self.pair {
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        };
        let header = json!({ "alg": algorithm, "kid": &*self.id, "typ": token_type });
        let mut token = base64::encode(header.to_string().as_bytes());
        token.push('.');
        token.push_str(&base64::encode(claims.to_string().as_bytes()));
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), token.as_bytes()).ok()?,
            Pair::Ed25519(pair) => pair.sign(token.as_bytes()),
        };
        token.push('.');
        token.push_str(&base64::encode(signature.as_ref()));
        Some(token)
    }
}

/// The keys of a file: the first signs, all are published.
#[derive(Debug)]
pub struct SigningKeys {
    first: SigningKey,
    published: Box<str>,
}

impl SigningKeys {
    /// Reads private keys from PEM: PKCS#8, or SEC 1 for P-256.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(pem: &[u8]) -> Result<Self, SigningKeysFault> {
        let mut keys: Vec<SigningKey> = Vec::new();
        for (at, der) in PrivateKeyDer::pem_slice_iter(pem).enumerate() {
            let der = der.map_err(|_| SigningKeysFault::NotPem)?;
            if at == SIGNING_KEYS_MAX {
                return Err(SigningKeysFault::TooMany);
            }
            let key = SigningKey::of(&der).ok_or(SigningKeysFault::Unfit(at + 1))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(SigningKeysFault::Twice(at + 1));
            }
            keys.push(key);
        }
        let published = json!({ "keys": keys.iter().map(|key| &key.public).collect::<Vec<_>>() }).to_string().into();
        let first = keys.into_iter().next().ok_or(SigningKeysFault::Empty)?;
        Ok(Self { first, published })
    }

    /// The one that signs.
    #[must_use]
    pub fn first(&self) -> &SigningKey {
        &self.first
    }

    /// The public halves of all (RFC 7517 section 5).
    #[must_use]
    pub fn published(&self) -> &str {
        &self.published
    }
}

#[cfg(test)]
mod tests {
    use super::{SigningKeys, SigningKeysFault};
    use crate::{KeySet, Token, verify_signature};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
    use portcullis_testing_kit::claims;

    fn pem(der: &[u8]) -> String {
        let standard = crate::base64url(der).replace('-', "+").replace('_', "/");
        let padding = "=".repeat((4 - standard.len() % 4) % 4);
        format!("-----BEGIN PRIVATE KEY-----\n{standard}{padding}\n-----END PRIVATE KEY-----\n")
    }

    fn ec(algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm) -> String {
        pem(EcdsaKeyPair::generate(algorithm).unwrap().to_pkcs8v1().unwrap().as_ref())
    }

    fn ed25519() -> String {
        pem(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref())
    }

    #[test]
    fn what_is_signed_is_verified_by_what_is_published() {
        let (old, new) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ed25519());
        let before = SigningKeys::read(old.as_bytes()).unwrap();
        let both = SigningKeys::read(format!("{new}{old}").as_bytes()).unwrap();
        assert_ne!(before.first().id(), both.first().id());
        let (published, _) = KeySet::parse(both.published().as_bytes()).unwrap();
        for keys in [&before, &both] {
            let text = keys.first().sign("at+jwt", &claims("https://gw.test", "https://orders.test")).unwrap();
            let token = Token::parse(text.as_bytes()).unwrap();
            verify_signature(&token, &published).unwrap();
        }
        assert!(!both.published().contains("\"d\""), "{}", both.published());
        assert!(!format!("{both:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_file_that_is_not_right_says_what_is_wrong() {
        let key = ed25519();
        let fault = |text: &str| SigningKeys::read(text.as_bytes()).unwrap_err();
        assert_eq!(fault(""), SigningKeysFault::Empty);
        assert_eq!(fault("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n"), SigningKeysFault::NotPem);
        assert_eq!(fault(&format!("{key}{}", ec(&ECDSA_P384_SHA384_FIXED_SIGNING))), SigningKeysFault::Unfit(2));
        assert_eq!(fault(&format!("{key}{key}")), SigningKeysFault::Twice(2));
        let many: String = std::iter::repeat_with(ed25519).take(17).collect();
        assert_eq!(fault(&many), SigningKeysFault::TooMany);
    }
}
