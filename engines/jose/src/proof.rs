//! Proofs that whoever shows a token has the key that it is bound to (DPoP, RFC 9449).
//!
//! A proof brings its key along. That key is believed only as far as the token names its thumbprint (`cnf`, `jkt`).

use crate::base64;
use crate::binding::{Thumbprint, thumbprint};
use crate::json::Json;
use crate::jwk::{Unfit, read_public};
use crate::token::{HEADER_BYTES_MAX, Parts, SIGNATURE_BYTES_MAX, TIME_MAX, is_name, object, parts};
use crate::{Algorithm, Algorithms};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::UnparsedPublicKey;
use std::fmt;

/// The longest proof that is looked at, in bytes.
pub const PROOF_BYTES_MAX: usize = 8 * 1024;
/// The longest id, nonce and URI of a proof, in bytes.
const ID_BYTES_MAX: usize = 256;
const NONCE_BYTES_MAX: usize = 256;
const TARGET_BYTES_MAX: usize = 4096;

/// Members of a header that say where a key is, or demand what is not understood here.
const FORBIDDEN: [&str; 8] = ["jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "p2c"];

/// What proofs must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRules {
    /// The algorithms that clients may sign with.
    pub algorithms: Algorithms,
    /// How old a proof may be, in seconds.
    pub age_max: u64,
    /// How far a client's clock may be ahead, in seconds.
    pub leeway: u64,
    /// Whether each must have a nonce of the gateway's.
    pub nonces: bool,
}

/// What is wrong with a proof, for logs; clients are not told which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofFault {
    /// There is none.
    Missing,
    /// There is more than one.
    Several,
    /// It is longer than any proof needs to be.
    TooLong,
    /// It is not three parts of base64url.
    NotCompact,
    /// The header is not an object of members with the right types, each once.
    HeaderMalformed,
    /// The header says where a key is, or demands what is not understood.
    HeaderForbidden,
    /// It says that it is something else.
    TypeRefused,
    /// The algorithm is none that clients may use; `none` and shared keys are never.
    AlgorithmRefused,
    /// The key is private or shared: whoever has seen the proof could sign with it.
    KeyPrivate,
    /// The key is missing, not well-formed, too weak, or not for the algorithm.
    KeyUnfit,
    /// The claims are not an object with the right types, each once.
    ClaimsMalformed,
    /// A claim that every proof for a token has is not there.
    ClaimMissing,
    /// The token is bound to another key.
    KeyOther,
    /// It is for another token.
    TokenOther,
    /// It is for another method.
    MethodOther,
    /// It is for another URI.
    TargetOther,
    /// It is too old.
    Stale,
    /// It says that it was made in the future.
    NotYet,
    /// The signature is not by the key.
    SignatureWrong,
    /// It was shown before.
    Again,
}

impl ProofFault {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "there is no DPoP field",
            Self::Several => "there is more than one DPoP field",
            Self::TooLong => "the proof is too long",
            Self::NotCompact => "the proof is not three parts of base64url",
            Self::HeaderMalformed => "the proof's header is not well-formed",
            Self::HeaderForbidden => "the proof's header says where a key is, or demands what is not supported",
            Self::TypeRefused => "the proof's type is not dpop+jwt",
            Self::AlgorithmRefused => "the proof's algorithm is not one of its provider's dpop.algorithms",
            Self::KeyPrivate => "the proof's key is private or shared",
            Self::KeyUnfit => "the proof's key is missing, not well-formed, too weak or not for its algorithm",
            Self::ClaimsMalformed => "the proof's claims are not well-formed",
            Self::ClaimMissing => "the proof lacks a claim that it must have",
            Self::KeyOther => "the token is bound to another key than the proof's",
            Self::TokenOther => "the proof is for another token",
            Self::MethodOther => "the proof is for another method",
            Self::TargetOther => "the proof is for another URI",
            Self::Stale => "the proof is older than dpop.age_max",
            Self::NotYet => "the proof was made in the future, by more than dpop.leeway",
            Self::SignatureWrong => "the proof's signature is wrong",
            Self::Again => "the proof was shown before",
        }
    }
}

impl fmt::Display for ProofFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A proof that is well-formed. Nothing of it is true before its signature is verified.
#[derive(Clone, Debug)]
pub struct Proof<'p> {
    signed: &'p [u8],
    signature: Vec<u8>,
    algorithm: Algorithm,
    public: Vec<u8>,
    /// The thumbprint of its key (RFC 7638).
    pub key: Thumbprint,
    /// `jti`
    pub id: Box<str>,
    /// `htm`
    pub method: Box<str>,
    /// `htu`, as it is written.
    pub target: Box<str>,
    /// `iat`, in seconds since the Unix epoch.
    pub issued: u64,
    /// `ath`: the SHA-256 of the token.
    pub token: Thumbprint,
    /// `nonce`
    pub nonce: Option<Box<str>>,
}

impl<'p> Proof<'p> {
    /// Reads a proof that goes with a token (RFC 9449 sections 4.2, 4.3 and 7).
    ///
    /// # Errors
    /// What is wrong with it, for logs.
    pub fn parse(text: &'p [u8]) -> Result<Self, ProofFault> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofFault::TooLong);
        }
        let Parts { signed, signature, header, payload } = parts(text).map_err(|_| ProofFault::NotCompact)?;
        if header.len() > HEADER_BYTES_MAX * 2 || signature.len() > SIGNATURE_BYTES_MAX {
            return Err(ProofFault::TooLong);
        }
        let header = object(header).ok_or(ProofFault::HeaderMalformed)?;
        let (algorithm, public, key) = read_header(&header)?;
        let claims = object(payload).ok_or(ProofFault::ClaimsMalformed)?;
        let text = |name: &str, bytes_max: usize| match claims.member(name) {
            None => Ok(None),
            Some(value) => {
                let is_sound = |text: &&str| !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control);
                value.as_text().filter(is_sound).map(|text| Some(Box::from(text))).ok_or(ProofFault::ClaimsMalformed)
            }
        };
        let issued = match claims.member("iat") {
            Some(Json::Whole(seconds)) if *seconds <= TIME_MAX => *seconds,
            Some(_) => return Err(ProofFault::ClaimsMalformed),
            None => return Err(ProofFault::ClaimMissing),
        };
        let token: Box<str> = text("ath", ID_BYTES_MAX)?.ok_or(ProofFault::ClaimMissing)?;
        Ok(Self {
            id: text("jti", ID_BYTES_MAX)?.ok_or(ProofFault::ClaimMissing)?,
            method: text("htm", ID_BYTES_MAX)?.ok_or(ProofFault::ClaimMissing)?,
            target: text("htu", TARGET_BYTES_MAX)?.ok_or(ProofFault::ClaimMissing)?,
            token: thumbprint(&token).ok_or(ProofFault::ClaimsMalformed)?,
            nonce: text("nonce", NONCE_BYTES_MAX)?,
            signature: base64::decode(signature).filter(|bytes| !bytes.is_empty()).ok_or(ProofFault::NotCompact)?,
            signed,
            algorithm,
            public,
            key,
            issued,
        })
    }

    /// Checks that it is by the key that a token is bound to, for that token, and made just now. What it says of the request is left to whoever
    /// knows the request.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, rules: &ProofRules, key: &Thumbprint, token: &Thumbprint, now_unix_seconds: u64) -> Result<(), ProofFault> {
        if self.key != *key {
            return Err(ProofFault::KeyOther);
        }
        if !rules.algorithms.contains(self.algorithm) {
            return Err(ProofFault::AlgorithmRefused);
        }
        if self.token != *token {
            return Err(ProofFault::TokenOther);
        }
        if self.issued > now_unix_seconds.saturating_add(rules.leeway) {
            return Err(ProofFault::NotYet);
        }
        if self.issued.saturating_add(rules.age_max) < now_unix_seconds {
            return Err(ProofFault::Stale);
        }
        Ok(())
    }

    /// Verifies the signature by the proof's own key.
    ///
    /// # Errors
    /// [`ProofFault::SignatureWrong`], also when the key is no point of its curve.
    pub fn verify(&self) -> Result<(), ProofFault> {
        let key = UnparsedPublicKey::new(self.algorithm.verification(), &self.public);
        key.verify(self.signed, &self.signature).map_err(|_| ProofFault::SignatureWrong)
    }
}

/// The algorithm, the key for it, and its thumbprint.
fn read_header(header: &Json) -> Result<(Algorithm, Vec<u8>, Thumbprint), ProofFault> {
    if FORBIDDEN.iter().any(|name| header.member(name).is_some()) {
        return Err(ProofFault::HeaderForbidden);
    }
    let text = |name: &str| header.member(name).and_then(Json::as_text).filter(|text| is_name(text));
    if text("typ").ok_or(ProofFault::TypeRefused)? != "dpop+jwt" {
        return Err(ProofFault::TypeRefused);
    }
    let algorithm = Algorithm::of_name(text("alg").ok_or(ProofFault::HeaderMalformed)?).ok_or(ProofFault::AlgorithmRefused)?;
    let jwk = header.member("jwk").filter(|jwk| matches!(jwk, Json::Object(_))).ok_or(ProofFault::KeyUnfit)?;
    let public = read_public(jwk).map_err(|why| match why {
        Unfit::Private => ProofFault::KeyPrivate,
        Unfit::ForOther | Unfit::Malformed => ProofFault::KeyUnfit,
    })?;
    if public.kind != algorithm.kind() || public.only.is_some_and(|only| only != algorithm) {
        return Err(ProofFault::KeyUnfit);
    }
    Ok((algorithm, public.bytes, key_thumbprint(jwk).ok_or(ProofFault::KeyUnfit)?))
}

/// The thumbprint of a public key (RFC 7638 section 3): of the members that every key of its type has, sorted, without spaces.
fn key_thumbprint(jwk: &Json) -> Option<Thumbprint> {
    let names: &[&str] = match jwk.member("kty")?.as_text()? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let mut out = String::with_capacity(256);
    for (at, name) in names.iter().enumerate() {
        let value = jwk.member(name)?.as_text()?;
        // INVARIANT: names of types and curves that are known, and base64url, need no escapes; what does is no key.
        if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return None;
        }
        for part in [if at == 0 { "{\"" } else { ",\"" }, name, "\":\"", value, "\""] {
            out.push_str(part);
        }
    }
    out.push('}');
    digest(&SHA256, out.as_bytes()).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests;
