//! Tokens made by hand, right ones and wrong ones, and the keys that sign them.
#![expect(clippy::indexing_slicing, reason = "for tests: keys and objects are as this file makes them")]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256,
};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A provider's key.
#[derive(Debug)]
pub struct SigningKey {
    /// Its id.
    pub id: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rsa(Box<RsaKey>),
    P256(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// An RSA key of 2048 bits.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn rsa(id: &str) -> Self {
        let key = RsaKey::generate(KeySize::Rsa2048).expect("a key");
        Self { id: id.to_owned(), kind: Kind::Rsa(Box::new(key)) }
    }

    /// A key on P-256.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn p256(id: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { id: id.to_owned(), kind: Kind::P256(Box::new(key)) }
    }

    /// A key on Ed25519.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn ed25519(id: &str) -> Self {
        Self { id: id.to_owned(), kind: Kind::Ed25519(Box::new(Ed25519KeyPair::generate().expect("a key"))) }
    }

    /// The algorithm that it signs with, if nothing else is asked for.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Rsa(_) => "RS256",
            Kind::P256(_) => "ES256",
            Kind::Ed25519(_) => "EdDSA",
        }
    }

    /// Its public half, as a member of a key set.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.kind {
            Kind::Rsa(key) => {
                // RSAPublicKey with a modulus of 256 bytes and an exponent of 3.
                let der = key.public_key().as_ref().to_vec();
                json!({ "kty": "RSA", "n": base64url(&der[der.len() - 261..der.len() - 5]), "e": base64url(&der[der.len() - 3..]) })
            }
            Kind::P256(key) => {
                let point = key.public_key().as_ref().to_vec();
                json!({ "kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..]) })
            }
            Kind::Ed25519(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().as_ref()) }),
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    /// Signs a header and claims as they are, under the header's own algorithm where this key can do that.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(&header.to_string(), &claims.to_string(), header["alg"].as_str().unwrap_or_default())
    }

    /// Signs a header and claims of any bytes.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn sign_raw(&self, header: &str, claims: &str, algorithm: &str) -> String {
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = self.signature(signed.as_bytes(), algorithm);
        format!("{signed}.{}", base64url(&signature))
    }

    fn signature(&self, signed: &[u8], algorithm: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Rsa(key) => {
                let encoding = match algorithm {
                    "PS256" => &RSA_PSS_SHA256,
                    "RS384" => &RSA_PKCS1_SHA384,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, signed, &mut signature).expect("a signature");
                signature
            }
            Kind::P256(key) => key.sign(&random, signed).expect("a signature").as_ref().to_vec(),
            Kind::Ed25519(key) => key.sign(signed).as_ref().to_vec(),
        }
    }

    /// The header of its access tokens (RFC 9068).
    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "kid": self.id, "typ": "at+jwt" })
    }

    /// An access token of these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

impl SigningKey {
    /// A proof of this key for a request (RFC 9449), made now, with other claims where they are given; for a token if there is one.
    pub fn proof(&self, method: &str, target: &str, token: Option<&str>, changes: &Value) -> String {
        let mut jwk = self.jwk();
        ["kid", "use", "alg"].iter().for_each(|name| drop(jwk.as_object_mut().map(|members| members.remove(*name))));
        let id = base64url(&random());
        let mut claims = json!({ "jti": id, "htm": method, "htu": target, "iat": unix_seconds() });
        if let Some(token) = token {
            claims["ath"] = json!(base64url(digest(&SHA256, token.as_bytes()).as_ref()));
        }
        changes.as_object().into_iter().flatten().for_each(|(name, value)| claims[name] = value.clone());
        self.sign(&json!({ "typ": "dpop+jwt", "alg": self.algorithm(), "jwk": jwk }), &claims)
    }

    /// The thumbprint of a key on P-256, as `cnf` of a token has it (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let text = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":{},\"y\":{}}}", jwk["x"], jwk["y"]);
        base64url(digest(&SHA256, text.as_bytes()).as_ref())
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("randomness");
    bytes
}

/// A key set of these keys.
pub fn key_set(keys: &[&SigningKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// The claims of an access token that is valid for ten minutes from `now`, in Unix seconds.
pub fn claims_at(now: u64, issuer: &str, audience: &str) -> Value {
    json!({
        "iss": issuer, "aud": audience, "sub": "alice", "client_id": "shop", "jti": "token-1", "iat": now, "exp": now + 600,
    })
}

/// The same from now on.
pub fn claims(issuer: &str, audience: &str) -> Value {
    claims_at(unix_seconds(), issuer, audience)
}

/// The time, in seconds since the Unix epoch.
///
/// # Panics
/// When the clock stands before it.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        out.extend((0..=three.len()).map(|digit| char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize])));
    }
    out
}
