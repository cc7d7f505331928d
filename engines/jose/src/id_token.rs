//! ID tokens (OpenID Connect Core sections 2 and 3.1.3.7): who has logged in, told to the client that asked.

use crate::verify::check_times;
use crate::{Algorithm, Fault, Json, Rules, Token, base64};
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};

/// What an ID token has to fit.
#[derive(Clone, Copy, Debug)]
pub struct Login<'l> {
    /// The client that asked.
    pub client_id: &'l str,
    /// What it has sent along to know the answer by. Nothing when the token came by a refresh: then none is asked for.
    pub nonce: Option<&'l str>,
    /// The access token that came with it.
    pub access_token: &'l str,
}

/// Checks everything but the signature.
///
/// # Errors
/// What is wrong.
pub fn check_id_token(token: &Token<'_>, rules: &Rules, login: &Login<'_>, now_unix_seconds: u64) -> Result<(), Fault> {
    let claims = &token.claims;
    if claims.issuer != rules.issuer {
        return Err(Fault::IssuerOther);
    }
    if !rules.algorithms.contains(token.header.algorithm) {
        return Err(Fault::AlgorithmRefused);
    }
    // SECURITY: an access or a logout token of the same provider says nothing of a login (RFC 8725 section 3.11).
    if !matches!(token.header.token_type.as_deref(), None | Some("jwt")) || claims.all.member("events").is_some() {
        return Err(Fault::TypeRefused);
    }
    let azp = claims.all.member("azp").map(|azp| azp.as_text() == Some(login.client_id));
    let is_meant = claims.audiences.iter().any(|audience| **audience == *login.client_id);
    // With several audiences the client must be the one that it was issued to.
    if !is_meant || azp == Some(false) || (claims.audiences.len() > 1 && azp.is_none()) {
        return Err(Fault::AudienceOther);
    }
    if claims.issued.is_none() {
        return Err(Fault::ClaimMissing);
    }
    check_times(claims, rules, now_unix_seconds)?;
    if let Some(nonce) = login.nonce
        && claims.all.member("nonce").and_then(Json::as_text) != Some(nonce)
    {
        return Err(Fault::NonceOther);
    }
    match claims.all.member("at_hash") {
        None => Ok(()),
        Some(told) if told.as_text() == Some(&*half_hash(token.header.algorithm, login.access_token)) => Ok(()),
        Some(_) => Err(Fault::AccessTokenOther),
    }
}

/// The left half of the hash of a text, by the hash of the algorithm (OpenID Connect Core section 3.1.3.6).
fn half_hash(algorithm: Algorithm, text: &str) -> String {
    let by = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &SHA256,
        Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => &SHA384,
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::Es512 | Algorithm::EdDsa => &SHA512,
    };
    let hash = digest(by, text.as_bytes());
    base64::encode(hash.as_ref().get(..hash.as_ref().len() / 2).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{Login, check_id_token};
    use crate::{Algorithm, Fault, Holding, Rules, Token, TokenType};
    use portcullis_testing_kit::SigningKey;
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;

    fn rules() -> Rules {
        Rules {
            issuer: "https://id.test".into(),
            algorithms: [Algorithm::Es256].into_iter().collect(),
            types: [TokenType::AccessToken].into(),
            holdings: [Holding::Bearer].into_iter().collect(),
            leeway: 30,
            lifetime_max: 86_400,
        }
    }

    fn judge(header: Value, changes: Value) -> Result<(), Fault> {
        let key = SigningKey::p256("k");
        let mut claims =
            json!({ "iss": "https://id.test", "sub": "alice", "aud": "app", "iat": NOW, "exp": NOW + 600, "nonce": "n" });
        for (name, value) in changes.as_object().unwrap() {
            claims.as_object_mut().unwrap().remove(name);
            if !value.is_null() {
                claims[name] = value.clone();
            }
        }
        let mut told = key.header();
        told.as_object_mut().unwrap().remove("typ");
        header.as_object().unwrap().iter().for_each(|(name, value)| told[name] = value.clone());
        let text = key.sign(&told, &claims);
        let login = Login { client_id: "app", nonce: Some("n"), access_token: "opaque" };
        check_id_token(&Token::parse(text.as_bytes()).unwrap(), &rules(), &login, NOW)
    }

    #[test]
    fn e120_an_id_token_is_of_this_login_for_this_client_alone() {
        assert_eq!(judge(json!({}), json!({})), Ok(()));
        assert_eq!(judge(json!({ "typ": "JWT" }), json!({ "aud": ["app", "b"], "azp": "app" })), Ok(()));
        for (header, changes, fault) in [
            (json!({}), json!({ "iss": "https://evil.test" }), Fault::IssuerOther),
            (json!({ "alg": "RS256" }), json!({}), Fault::AlgorithmRefused),
            (json!({ "typ": "at+jwt" }), json!({}), Fault::TypeRefused),
            (json!({ "typ": "logout+jwt" }), json!({}), Fault::TypeRefused),
            (json!({}), json!({ "events": {} }), Fault::TypeRefused),
            (json!({}), json!({ "aud": "other" }), Fault::AudienceOther),
            (json!({}), json!({ "aud": ["app", "b"] }), Fault::AudienceOther),
            (json!({}), json!({ "azp": "other" }), Fault::AudienceOther),
            (json!({}), json!({ "iat": null }), Fault::ClaimMissing),
            (json!({}), json!({ "exp": NOW - 30 }), Fault::Expired),
            (json!({}), json!({ "iat": NOW + 31 }), Fault::NotYet),
            (json!({}), json!({ "exp": NOW + 90_000 }), Fault::LivesTooLong),
            (json!({}), json!({ "nonce": null }), Fault::NonceOther),
            (json!({}), json!({ "nonce": "m" }), Fault::NonceOther),
            (json!({}), json!({ "nonce": ["n"] }), Fault::NonceOther),
            (json!({}), json!({ "at_hash": "AAAA" }), Fault::AccessTokenOther),
            (json!({}), json!({ "at_hash": 1 }), Fault::AccessTokenOther),
        ] {
            assert_eq!(judge(header, changes.clone()), Err(fault), "{changes}");
        }
    }

    #[test]
    fn the_access_token_is_told_by_half_a_hash() {
        // Computed by another implementation: base64url of the first 16 bytes of SHA-256 of `opaque`.
        assert_eq!(judge(json!({}), json!({ "at_hash": "bSKYhMEmi7CrMtjaMV0P5Q" })), Ok(()));
    }
}
