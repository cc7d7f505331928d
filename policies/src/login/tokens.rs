//! The answer of a provider that is asked for tokens (OpenID Connect Core section 3.1.3.3), judged before anything of it is believed.

use super::policy::Login;
use super::seal::Sealer;
use super::sessions::Word;
use portcullis_engines_jose::{Claims, Fault, Json, Login as Asked, Token, check_id_token, verify_signature};
use portcullis_gateway_policy::{LoginPlan, Revocable};
use portcullis_model::{Reason, Rejection};

/// How much is kept of roles, and of scopes, in bytes; what is beyond is not granted.
const WORDS_BYTES_MAX: usize = 8 * 1024;
/// The longest token that is kept.
const KEPT_BYTES_MAX: usize = 4096;

/// What a provider's answer has to fit.
pub(super) enum Proof<'p> {
    /// A login, by what was sent along.
    Nonce(&'p str),
    /// A session that there is.
    Refresh(&'p Word),
}

fn refused(fault: Fault) -> Rejection {
    Rejection::new(Reason::LoginRefused, fault.as_str())
}

fn malformed(detail: &'static str) -> Rejection {
    Rejection::new(Reason::LoginUnavailable, detail)
}

/// What a provider says by its tokens.
///
/// # Errors
/// Why it is not believed.
pub(super) fn judge(login: &Login, answer: &[u8], proof: Proof<'_>, now: u64) -> Result<Word, Rejection> {
    let answer = Json::parse(answer).ok_or_else(|| malformed("the answer for tokens is not a JSON object, no member twice"))?;
    let text = |name: &str| answer.member(name).and_then(Json::as_text).filter(|text| !text.is_empty());
    let access_token = text("access_token").ok_or_else(|| malformed("the answer for tokens has no access token"))?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(malformed("the answer for tokens has another `token_type` than Bearer"));
    }
    let no_id_token = match proof {
        Proof::Nonce(_) => malformed("the answer for tokens has no ID token"),
        // Without a word on who it is, the provider does not vouch any more.
        Proof::Refresh(_) => Rejection::new(Reason::LoginRefused, "the answer for tokens has no ID token"),
    };
    let id_token = text("id_token").ok_or(no_id_token)?;
    let token = Token::parse(id_token.as_bytes()).map_err(refused)?;
    let rules = &login.plan.provider.rules;
    let (nonce, before) = match proof {
        Proof::Nonce(nonce) => (Some(nonce), None),
        Proof::Refresh(before) => (None, Some(before)),
    };
    let asked = Asked { client_id: &login.plan.client_id, nonce, access_token };
    check_id_token(&token, rules, &asked, now).map_err(refused)?;
    // SECURITY: a session never becomes somebody else's (OpenID Connect Core section 12.2).
    if before.is_some_and(|before| before.subject != token.claims.subject) {
        return Err(Rejection::new(Reason::LoginRefused, "the new ID token is of somebody else"));
    }
    match login.keys.look(|keys| verify_signature(&token, keys)) {
        Some(Ok(_)) => {
            let mut word = word(&login.plan, &token.claims, id_token, text("scope"), &login.state.sealer);
            word.refresh = text("refresh_token")
                .filter(|token| token.len() <= KEPT_BYTES_MAX)
                .and_then(|token| login.state.sealer.seal(token));
            if let Some(before) = before {
                // What it is found by stays; a refresh token that is not replaced is good for another time.
                word.marks.clone_from(&before.marks);
                word.refresh = word.refresh.or_else(|| before.refresh.clone());
            }
            Ok(word)
        }
        Some(Err(Fault::KeyUnknown)) if !login.keys.is_certain(now) => {
            Err(malformed("the provider has signed with a key that it has to be asked for first"))
        }
        Some(Err(fault)) => Err(refused(fault)),
        None => Err(malformed("no key set of the provider is there")),
    }
}

fn word(plan: &LoginPlan, claims: &Claims, id_token: &str, granted: Option<&str>, sealer: &Sealer) -> Word {
    let kept = |words: &mut dyn Iterator<Item = &str>| {
        let mut left = WORDS_BYTES_MAX;
        let fits = |word: &&str| {
            left = left.saturating_sub(word.len() + size_of::<Box<str>>());
            left > 0
        };
        words.take_while(fits).map(Box::from).collect()
    };
    let roles = plan.provider.roles.as_ref().map(|path| path.texts(&claims.all, false)).unwrap_or_default();
    let session = claims.all.member("sid").and_then(Json::as_text).map(|id| Revocable::Session { issuer: &claims.issuer, id });
    let person = Revocable::Subject { issuer: &claims.issuer, subject: &claims.subject };
    Word {
        subject: claims.subject.clone(),
        roles: kept(&mut roles.into_iter()),
        // What is not said is what was asked for (RFC 6749 section 5.1).
        scopes: kept(&mut granted.unwrap_or(&plan.scopes).split(' ').filter(|scope| !scope.is_empty())),
        issued: claims.issued.unwrap_or(0),
        expires: claims.expires,
        ends: claims.expires.saturating_add(plan.provider.rules.leeway),
        marks: std::iter::once(&person).chain(&session).map(Revocable::mark).collect(),
        id_token: Some(id_token).filter(|token| token.len() <= KEPT_BYTES_MAX).and_then(|token| sealer.seal(token)),
        refresh: None,
    }
}
