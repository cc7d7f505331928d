//! What a provider answers about a token (RFC 7662 section 2.2), judged as strictly as what a token says of itself.

use crate::json::Json;
use crate::token::{Claims, read_claims};
use crate::verify::{Fault, Rules, check_times};

/// The longest answer that is looked at, in bytes.
pub const INTROSPECTION_BYTES_MAX: usize = 64 * 1024;

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspected {
    /// The token is good, and says this.
    Active(Box<Claims>),
    /// It is not, or not for access.
    Refused(Fault),
}

/// Judges an answer; the audience, which depends on what is asked for, aside. Nothing when it is no answer at all, so that nothing can be said
/// of the token.
#[must_use]
pub fn read_introspection(answer: &[u8], rules: &Rules, now_unix_seconds: u64) -> Option<Introspected> {
    if answer.len() > INTROSPECTION_BYTES_MAX {
        return None;
    }
    let answer = Json::parse(answer)?;
    match answer.member("active")? {
        Json::Bool(true) => {}
        Json::Bool(false) => return Some(Introspected::Refused(Fault::Inactive)),
        _ => return None,
    }
    match judge(answer, rules, now_unix_seconds) {
        Ok(claims) => Some(Introspected::Active(Box::new(claims))),
        Err(Fault::ClaimsMalformed) => None,
        Err(fault) => Some(Introspected::Refused(fault)),
    }
}

fn judge(answer: Json, rules: &Rules, now: u64) -> Result<Claims, Fault> {
    check_kind(&answer)?;
    // Whoever was asked is the issuer, if it says nothing else.
    let claims = read_claims(answer, Some(&rules.issuer))?;
    if claims.issuer != rules.issuer {
        return Err(Fault::IssuerOther);
    }
    claims.binding.check(rules.holdings)?;
    check_times(&claims, rules, now)?;
    Ok(claims)
}

/// SECURITY: providers call refresh tokens and others active as well. What is not said to be an access token is none.
fn check_kind(answer: &Json) -> Result<(), Fault> {
    let text = |name: &str| answer.member(name).map(|value| value.as_text().ok_or(Fault::ClaimsMalformed)).transpose();
    let kind = text("token_type")?.or(text("typ")?).ok_or(Fault::NotForAccess)?;
    let is_access = ["bearer", "dpop"].iter().any(|known| kind.eq_ignore_ascii_case(known));
    let is_used_so = text("token_use")?.is_none_or(|used| ["access_token", "access"].contains(&used));
    if is_access && is_used_so { Ok(()) } else { Err(Fault::NotForAccess) }
}

#[cfg(test)]
mod tests {
    use super::{INTROSPECTION_BYTES_MAX, Introspected, read_introspection};
    use crate::{Algorithm, Fault, Holding, Rules, TokenType};
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;

    fn read(answer: &Value) -> Option<Introspected> {
        let rules = Rules {
            issuer: "https://id.test".into(),
            algorithms: [Algorithm::Es256].into_iter().collect(),
            types: [TokenType::AccessToken].into(),
            holdings: [Holding::Bearer].into_iter().collect(),
            leeway: 30,
            lifetime_max: 3600,
        };
        read_introspection(answer.to_string().as_bytes(), &rules, NOW)
    }

    fn good(name: &str, to: Option<Value>) -> Value {
        let mut answer = json!({
            "active": true, "token_type": "Bearer", "client_id": "shop", "aud": "https://api.test", "exp": NOW + 600, "scope": "a b",
        });
        match to {
            Some(to) => answer[name] = to,
            None => drop(answer.as_object_mut().unwrap().remove(name)),
        }
        answer
    }

    #[test]
    fn a_good_answer_says_who_and_for_whom() {
        let Some(Introspected::Active(claims)) = read(&good("sub", Some(json!("alice")))) else { panic!("is good") };
        assert_eq!((&*claims.issuer, &*claims.subject, claims.client.as_deref()), ("https://id.test", "alice", Some("shop")));
        assert_eq!((claims.audiences.len(), claims.expires), (1, NOW + 600));
        // A client that acts for itself.
        let Some(Introspected::Active(claims)) = read(&good("iss", Some(json!("https://id.test")))) else { panic!("is good") };
        assert_eq!(&*claims.subject, "shop");
    }

    #[test]
    fn what_is_not_a_good_access_token_of_this_issuer_is_refused() {
        for (answer, fault) in [
            (json!({ "active": false }), Fault::Inactive),
            (json!({ "active": false, "exp": "x" }), Fault::Inactive),
            (good("token_type", None), Fault::NotForAccess),
            (good("token_type", Some(json!("refresh_token"))), Fault::NotForAccess),
            (good("token_type", Some(json!("N_A"))), Fault::NotForAccess),
            (good("token_use", Some(json!("refresh_token"))), Fault::NotForAccess),
            (good("iss", Some(json!("https://id.test/"))), Fault::IssuerOther),
            (good("exp", Some(json!(NOW - 30))), Fault::Expired),
            (good("exp", None), Fault::ClaimMissing),
            (good("exp", Some(json!(NOW + 3631))), Fault::LivesTooLong),
            (good("nbf", Some(json!(NOW + 31))), Fault::NotYet),
            (good("iat", Some(json!(NOW + 31))), Fault::NotYet),
            (good("aud", None), Fault::ClaimMissing),
            (good("client_id", None), Fault::ClaimMissing),
            (good("cnf", Some(json!({ "jkt": "A".repeat(43) }))), Fault::Bound),
            (good("cnf", Some(json!({ "kid": "1" }))), Fault::Bound),
        ] {
            assert_eq!(read(&answer), Some(Introspected::Refused(fault)), "{answer}");
        }
    }

    #[test]
    fn what_is_no_answer_says_nothing_of_the_token() {
        for answer in [
            json!({}),
            json!([]),
            json!(null),
            json!({ "active": "true" }),
            json!({ "active": 1 }),
            json!({ "active": null }),
            json!({ "error": "invalid_client" }),
            good("exp", Some(json!("1800000600"))),
            good("exp", Some(json!(1_800_000_600.5))),
            good("sub", Some(json!(7))),
            good("aud", Some(json!([]))),
            good("cnf", Some(json!({}))),
            good("token_type", Some(json!(["Bearer"]))),
            good("scope", Some(json!("a".repeat(INTROSPECTION_BYTES_MAX)))),
        ] {
            assert_eq!(read(&answer), None, "{}", answer.to_string().len());
        }
        let rules = "{\"active\":true,\"active\":false}";
        let twice = super::Json::parse(rules.as_bytes());
        assert_eq!(twice, None);
    }
}
