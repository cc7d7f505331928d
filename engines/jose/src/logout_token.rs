//! Logout tokens (OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6): a provider says who has logged out.

use crate::token::{Parts, TOKEN_BYTES_MAX, json, parts, read_header};
use crate::{Algorithm, Fault, Json, KeyMark, KeySet, Rules, base64};

/// The one event that a logout token tells.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// The longest text that tells who somebody or something is.
const NAME_BYTES_MAX: usize = 512;

/// A logout token that fits. Nothing of it is true before [`LogoutToken::verify`] says so.
#[derive(Debug)]
pub struct LogoutToken<'t> {
    signed: &'t [u8],
    signature: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<Box<str>>,
    /// Who, if they are named.
    pub subject: Option<Box<str>>,
    /// Which session at the provider, if one is meant.
    pub session: Option<Box<str>>,
    /// What it is known by.
    pub token_id: Box<str>,
    /// Until when it is good, leeway included, in seconds since the Unix epoch.
    pub ends: u64,
}

impl<'t> LogoutToken<'t> {
    /// Reads one, and checks everything but the signature and whether it has come before.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(text: &'t [u8], rules: &Rules, client_id: &str, now_unix_seconds: u64) -> Result<Self, Fault> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let Parts { signed, signature, header, payload } = parts(text)?;
        let header = read_header(&json(header, Fault::HeaderMalformed)?)?;
        let claims = json(payload, Fault::ClaimsMalformed)?;
        if !rules.algorithms.contains(header.algorithm) {
            return Err(Fault::AlgorithmRefused);
        }
        // SECURITY: what tells it from an ID token is the event, and that there is no nonce; where its type says more, that must fit too.
        if !matches!(header.token_type.as_deref(), Some("logout+jwt" | "jwt") | None) || claims.member("nonce").is_some() {
            return Err(Fault::TypeRefused);
        }
        if !matches!(claims.member("events").and_then(|events| events.member(EVENT)), Some(Json::Object(_))) {
            return Err(Fault::TypeRefused);
        }
        let text = |name: &str| match claims.member(name) {
            None => Ok(None),
            Some(value) => {
                let text = value.as_text().filter(|text| !text.is_empty() && text.len() <= NAME_BYTES_MAX);
                text.map(|text| Some(Box::from(text))).ok_or(Fault::ClaimsMalformed)
            }
        };
        let (subject, session) = (text("sub")?, text("sid")?);
        let (issuer, token_id) = (text("iss")?.ok_or(Fault::ClaimMissing)?, text("jti")?.ok_or(Fault::ClaimMissing)?);
        if subject.is_none() && session.is_none() {
            return Err(Fault::ClaimMissing);
        }
        if issuer != rules.issuer {
            return Err(Fault::IssuerOther);
        }
        check_audience(claims.member("aud"), client_id)?;
        let time = |name: &str| match claims.member(name) {
            Some(Json::Whole(seconds)) => Ok(*seconds),
            Some(_) => Err(Fault::ClaimsMalformed),
            None => Err(Fault::ClaimMissing),
        };
        let (issued, expires) = (time("iat")?, time("exp")?);
        let (ends, latest) = (expires.saturating_add(rules.leeway), now_unix_seconds.saturating_add(rules.leeway));
        match () {
            () if ends <= now_unix_seconds => return Err(Fault::Expired),
            () if issued > latest => return Err(Fault::NotYet),
            () if expires > latest.saturating_add(rules.lifetime_max) => return Err(Fault::LivesTooLong),
            () => {}
        }
        let signature = base64::decode(signature).filter(|bytes| !bytes.is_empty()).ok_or(Fault::NotCompact)?;
        let (algorithm, key_id) = (header.algorithm, header.key_id);
        Ok(Self { signed, signature, algorithm, key_id, subject, session, token_id, ends })
    }

    /// Verifies the signature by the one key that the token can mean.
    ///
    /// # Errors
    /// [`Fault::KeyUnknown`] when there is no such key, which may be new; else what is wrong.
    pub fn verify(&self, keys: &KeySet) -> Result<KeyMark, Fault> {
        keys.find(self.key_id.as_deref(), self.algorithm)?.verify(self.algorithm, self.signed, &self.signature)
    }
}

fn check_audience(audience: Option<&Json>, client_id: &str) -> Result<(), Fault> {
    let is_meant = match audience {
        None => return Err(Fault::ClaimMissing),
        Some(Json::List(items)) => items.iter().any(|one| one.as_text() == Some(client_id)),
        Some(one) => one.as_text() == Some(client_id),
    };
    if is_meant { Ok(()) } else { Err(Fault::AudienceOther) }
}

#[cfg(test)]
mod tests {
    use super::LogoutToken;
    use crate::{Algorithm, Fault, Holding, KeySet, Rules, TokenType};
    use portcullis_testing_kit::{SigningKey, key_set};
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;
    const EVENTS: &str = r#"{"http://schemas.openid.net/event/backchannel-logout":{}}"#;

    fn judge(key: &SigningKey, typ: Option<&str>, changes: Value) -> Result<(Option<String>, Option<String>), Fault> {
        let events: Value = serde_json::from_str(EVENTS).unwrap();
        let mut claims = json!({
            "iss": "https://id.test", "aud": "app", "iat": NOW, "exp": NOW + 120, "jti": "1", "sid": "s", "sub": "alice", "events": events,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims.as_object_mut().unwrap().remove(name);
            if !value.is_null() {
                claims[name] = value.clone();
            }
        }
        let mut header = key.header();
        header.as_object_mut().unwrap().remove("typ");
        typ.into_iter().for_each(|typ| header["typ"] = json!(typ));
        let rules = Rules {
            issuer: "https://id.test".into(),
            algorithms: [Algorithm::Es256].into_iter().collect(),
            types: [TokenType::AccessToken].into(),
            holdings: [Holding::Bearer].into_iter().collect(),
            leeway: 30,
            lifetime_max: 86_400,
        };
        let text = key.sign(&header, &claims);
        let token = LogoutToken::read(text.as_bytes(), &rules, "app", NOW)?;
        let good = SigningKey::p256("k");
        let keys = KeySet::parse(key_set(&[if key.id == "k" { key } else { &good }]).as_bytes()).unwrap().0;
        token.verify(&keys)?;
        let owned = |text: Option<Box<str>>| text.map(String::from);
        Ok((owned(token.subject), owned(token.session)))
    }

    #[test]
    fn e120_a_logout_token_is_what_it_says_and_nothing_else() {
        let key = SigningKey::p256("k");
        let both = Ok((Some("alice".to_owned()), Some("s".to_owned())));
        for typ in [None, Some("JWT"), Some("logout+jwt")] {
            assert_eq!(judge(&key, typ, json!({})), both);
        }
        assert_eq!(
            judge(&key, Some("logout+jwt"), json!({ "aud": ["b", "app"], "sid": null })),
            Ok((Some("alice".to_owned()), None))
        );
        for (typ, changes, fault) in [
            (Some("at+jwt"), json!({}), Fault::TypeRefused),
            (Some("secevent+jwt"), json!({}), Fault::TypeRefused),
            (None, json!({ "nonce": "n" }), Fault::TypeRefused),
            (None, json!({ "events": null }), Fault::TypeRefused),
            (None, json!({ "events": { "other": {} } }), Fault::TypeRefused),
            (None, json!({ "events": [] }), Fault::TypeRefused),
            (None, json!({ "iss": "https://evil.test" }), Fault::IssuerOther),
            (None, json!({ "aud": "other" }), Fault::AudienceOther),
            (None, json!({ "aud": null }), Fault::ClaimMissing),
            (None, json!({ "jti": null }), Fault::ClaimMissing),
            (None, json!({ "exp": null }), Fault::ClaimMissing),
            (None, json!({ "iat": null }), Fault::ClaimMissing),
            (None, json!({ "sub": null, "sid": null }), Fault::ClaimMissing),
            (None, json!({ "sub": ["alice"] }), Fault::ClaimsMalformed),
            (None, json!({ "exp": NOW - 30 }), Fault::Expired),
            (None, json!({ "iat": NOW + 31 }), Fault::NotYet),
            (None, json!({ "exp": NOW + 100_000 }), Fault::LivesTooLong),
        ] {
            assert_eq!(judge(&key, typ, changes.clone()), Err(fault), "{changes}");
        }
        assert_eq!(judge(&SigningKey::p256("other"), None, json!({})), Err(Fault::KeyUnknown));
        assert_eq!(judge(&SigningKey::rsa("k"), None, json!({})), Err(Fault::AlgorithmRefused));
    }
}
