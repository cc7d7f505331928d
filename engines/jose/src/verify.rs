//! Whether a token is what its issuer's rules demand (RFC 8725, RFC 9068 section 4).

use crate::token::{Claims, Token};
use crate::{Algorithms, Holdings, KeyMark, KeySet};
use std::fmt;

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// An access token of RFC 9068: `at+jwt`.
    AccessToken,
    /// A token that says no more than that it is one: `JWT`, or nothing at all.
    Jwt,
}

/// What an issuer's tokens must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The issuer, exactly.
    pub issuer: Box<str>,
    /// The algorithms that it signs with.
    pub algorithms: Algorithms,
    /// The kinds that are taken.
    pub types: Box<[TokenType]>,
    /// How they may be shown.
    pub holdings: Holdings,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
    /// How long from now a token may be valid at the most, in seconds.
    pub lifetime_max: u64,
}

/// What is wrong with a token, for logs; clients are not told which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is longer than any token needs to be.
    TooLong,
    /// It is not three parts of base64url.
    NotCompact,
    /// It is encrypted.
    Encrypted,
    /// The header is not an object of members with the right types, each once.
    HeaderMalformed,
    /// The header brings or names a key, or demands what is not understood.
    HeaderForbidden,
    /// The algorithm is none that the issuer may use; `none` and shared keys are never.
    AlgorithmRefused,
    /// The payload is not an object of claims with the right types, each once.
    ClaimsMalformed,
    /// A claim that every such token has is not there.
    ClaimMissing,
    /// It is of a type that is not taken.
    TypeRefused,
    /// It is an ID token, a logout token, a proof, or another token that is not for access.
    NotForAccess,
    /// It is bound to something that nobody asks to be proven.
    Bound,
    /// It is bound to nothing, and should be.
    Unbound,
    /// It is bound to a client certificate that is not this connection's.
    CertificateOther,
    /// It is bound to a key, and shown as if it were not.
    ProofMissing,
    /// It is bound to no key, and shown with a proof as if it were.
    KeyUnbound,
    /// Its provider says that it is not active.
    Inactive,
    /// It comes from another issuer.
    IssuerOther,
    /// It is for another audience.
    AudienceOther,
    /// It has expired.
    Expired,
    /// It is not valid yet, or says that it was issued in the future.
    NotYet,
    /// It is valid for longer than tokens may be.
    LivesTooLong,
    /// The issuer has no key of this id.
    KeyUnknown,
    /// The key of this id is for something else, or several could be meant.
    KeyUnfit,
    /// It is of another login, or says nothing of which.
    NonceOther,
    /// It belongs to another access token.
    AccessTokenOther,
    /// The signature is not by the issuer's key.
    SignatureWrong,
}

impl Fault {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::NotCompact => "the token is not three parts of base64url",
            Self::Encrypted => "the token is encrypted",
            Self::HeaderMalformed => "the token's header is not well-formed",
            Self::HeaderForbidden => "the token's header brings or names a key, or demands what is not supported",
            Self::AlgorithmRefused => "the token's algorithm is not one of its provider's",
            Self::ClaimsMalformed => "the token's claims are not well-formed",
            Self::ClaimMissing => "the token lacks a claim that it must have",
            Self::TypeRefused => "the token's type is not one of its provider's token_types",
            Self::NotForAccess => "the token is not an access token",
            Self::Bound => "the token is bound to something that its provider's accept does not list",
            Self::Unbound => "the token is bound to nothing, and its provider's accept does not list bearer",
            Self::CertificateOther => "the token is bound to a client certificate that is not this connection's",
            Self::ProofMissing => "the token is bound to a key and was shown as Bearer, not as DPoP",
            Self::KeyUnbound => "the token was shown as DPoP and is bound to no key",
            Self::Inactive => "the provider says that the token is not active",
            Self::IssuerOther => "the token's issuer is none of the API's providers",
            Self::AudienceOther => "the token is for another audience",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::LivesTooLong => "the token is valid for longer than lifetime_max",
            Self::KeyUnknown => "the provider has no key with the token's kid",
            Self::KeyUnfit => "the key with the token's kid is not for this, or several could be meant",
            Self::NonceOther => "the ID token is of another login",
            Self::AccessTokenOther => "the ID token belongs to another access token",
            Self::SignatureWrong => "the token's signature is wrong",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Claims that only tokens have which are not for access: ID tokens (OpenID Connect Core section 2), security events and logout
/// (RFC 8417, OpenID Connect Back-Channel Logout), proofs (RFC 9449 section 4.2).
const NOT_FOR_ACCESS: [&str; 7] = ["nonce", "at_hash", "c_hash", "s_hash", "events", "htm", "htu"];

/// Checks everything but the audience, which depends on what is asked for, and the signature.
///
/// # Errors
/// What is wrong.
pub fn check_claims(token: &Token<'_>, rules: &Rules, now_unix_seconds: u64) -> Result<(), Fault> {
    let claims = &token.claims;
    if claims.issuer != rules.issuer {
        return Err(Fault::IssuerOther);
    }
    if !rules.algorithms.contains(token.header.algorithm) {
        return Err(Fault::AlgorithmRefused);
    }
    check_type(token, rules)?;
    // SECURITY: whoever shows a bound token must prove it (RFC 9449 section 7.1, RFC 8705 section 3); a stolen one is worth nothing.
    claims.binding.check(rules.holdings)?;
    check_times(claims, rules, now_unix_seconds)
}

fn check_type(token: &Token<'_>, rules: &Rules) -> Result<(), Fault> {
    let claims = &token.claims;
    let token_type = match token.header.token_type.as_deref() {
        Some("at+jwt") => TokenType::AccessToken,
        Some("jwt") | None => TokenType::Jwt,
        Some(_) => return Err(Fault::TypeRefused),
    };
    if !rules.types.contains(&token_type) {
        return Err(Fault::TypeRefused);
    }
    match token_type {
        // RFC 9068 section 2.2.
        TokenType::AccessToken if claims.client.is_none() || claims.issued.is_none() || claims.token_id.is_none() => {
            Err(Fault::ClaimMissing)
        }
        TokenType::AccessToken => Ok(()),
        TokenType::Jwt => {
            let is_other = NOT_FOR_ACCESS.iter().any(|name| claims.all.member(name).is_some());
            // Keycloak says in a claim what its tokens are for.
            let said = claims.all.member("typ").map(|said| said.as_text().is_some_and(|said| said.eq_ignore_ascii_case("bearer")));
            if is_other || said == Some(false) { Err(Fault::NotForAccess) } else { Ok(()) }
        }
    }
}

/// Checks the times. Also to be asked of a token that was verified before: time passes.
pub(crate) fn check_times(claims: &Claims, rules: &Rules, now: u64) -> Result<(), Fault> {
    if claims.expires.saturating_add(rules.leeway) <= now {
        return Err(Fault::Expired);
    }
    let latest = now.saturating_add(rules.leeway);
    if claims.not_before.is_some_and(|at| at > latest) || claims.issued.is_some_and(|at| at > latest) {
        return Err(Fault::NotYet);
    }
    if claims.expires > latest.saturating_add(rules.lifetime_max) {
        return Err(Fault::LivesTooLong);
    }
    Ok(())
}

/// Verifies the signature by the one key that the token can mean, and tells which it is.
///
/// # Errors
/// [`Fault::KeyUnknown`] when there is no such key, which may be new; else what is wrong.
pub fn verify_signature(token: &Token<'_>, keys: &KeySet) -> Result<KeyMark, Fault> {
    let key = keys.find(token.header.key_id.as_deref(), token.header.algorithm)?;
    key.verify(token.header.algorithm, token.signed, &token.signature)
}
