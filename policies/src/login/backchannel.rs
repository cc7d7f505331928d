//! A provider says who has logged out there or elsewhere (OpenID Connect Back-Channel Logout 1.0): their sessions end here, with all that goes
//! on by them.

use super::policy::Login;
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_engines_jose::{Fault, LogoutToken};
use portcullis_gateway_policy::{Exchange, LocalAnswer, Policy, Revocable, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::form_decode;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest body: a token of 16 KiB, and its name.
pub(super) const BODY_BYTES_MAX: u64 = 17 * 1024;
/// How many logout tokens are remembered; with another the one that ends first is forgotten.
const REMEMBERED_MAX: usize = 4096;

/// The running policy of the endpoint. Answers every request.
pub(super) struct BackChannel(pub(super) Arc<Login>);

/// Logout tokens that have come, until they end.
#[derive(Default)]
pub(super) struct LogoutTokens(Mutex<HashMap<[u8; 32], u64>>);

impl LogoutTokens {
    /// Notes a token. `false`: it has come before.
    fn is_new(&self, id: &str, ends: u64, now: u64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = [0; 32];
        key.iter_mut().zip(digest(&SHA256, id.as_bytes()).as_ref()).for_each(|(slot, byte)| *slot = *byte);
        if known.get(&key).is_some_and(|ends| now < *ends) {
            return false;
        }
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, ends| now < *ends);
        }
        if known.len() >= REMEMBERED_MAX {
            let first = known.iter().min_by_key(|(_, ends)| **ends).map(|(key, _)| *key);
            first.and_then(|key| known.remove(&key));
        }
        known.insert(key, ends);
        true
    }
}

impl Policy for BackChannel {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(match self.end(exchange) {
            Ok(()) => {
                let fields = vec![("cache-control", b"no-store".to_vec())];
                Verdict::Respond(LocalAnswer { status: 200, fields, body: String::new() })
            }
            Err(rejection) => Verdict::Reject(rejection),
        })
    }
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(Reason::LogoutInvalid, detail)
}

impl BackChannel {
    fn end(&self, exchange: &Exchange) -> Result<(), Rejection> {
        let login = &self.0;
        let now = exchange.record.started_unix_micros / 1_000_000;
        let token = token_in(exchange.body.as_deref().unwrap_or_default())?;
        let rules = &login.plan.provider.rules;
        let read = LogoutToken::read(token.as_bytes(), rules, &login.plan.client_id, now);
        let token = read.map_err(|fault| invalid(fault.as_str()))?;
        let no_keys = || Rejection::new(Reason::KeysUnavailable, "no key set of the provider is there, or none that is new enough");
        match login.keys.look(|keys| token.verify(keys)) {
            Some(Ok(_)) => {}
            Some(Err(Fault::KeyUnknown)) if !login.keys.is_certain(now) => return Err(no_keys()),
            Some(Err(fault)) => return Err(invalid(fault.as_str())),
            None => return Err(no_keys()),
        }
        if !login.state.logout_tokens.is_new(&token.token_id, token.ends, now) {
            return Err(invalid("the logout token has come before"));
        }
        let issuer = &rules.issuer;
        let who = match (&token.session, &token.subject) {
            (Some(id), _) => Revocable::Session { issuer, id },
            (None, Some(subject)) => Revocable::Subject { issuer, subject },
            (None, None) => return Err(invalid("the logout token says neither who nor which session")),
        };
        login.end_all(who.mark(), now);
        Ok(())
    }
}

/// The one token of a form.
fn token_in(form: &[u8]) -> Result<String, Rejection> {
    let form = std::str::from_utf8(form).map_err(|_| invalid("the body is not a form"))?;
    let mut tokens = form.split('&').filter_map(|pair| pair.strip_prefix("logout_token="));
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => {
            form_decode(token, BODY_BYTES_MAX as usize).ok_or_else(|| invalid("the logout token is not plain text"))
        }
        _ => Err(invalid("the body is not a form with one `logout_token`")),
    }
}

#[cfg(test)]
mod tests {
    use super::{LogoutTokens, REMEMBERED_MAX, token_in};

    #[test]
    fn a_logout_token_counts_once_and_few_are_remembered() {
        let tokens = LogoutTokens::default();
        assert!(tokens.is_new("a", 100, 0) && !tokens.is_new("a", 100, 99) && tokens.is_new("a", 200, 100));
        (0..REMEMBERED_MAX + 10).for_each(|number| assert!(tokens.is_new(&number.to_string(), 1000, 100)));
        assert_eq!(tokens.0.lock().unwrap().len(), REMEMBERED_MAX);
    }

    #[test]
    fn a_form_has_one_token() {
        assert_eq!(token_in(b"a=b&logout_token=x.y%2Ez").unwrap(), "x.y.z");
        for bad in [&b""[..], b"logout_token", b"logout_token=a&logout_token=b", b"logout_token=%00", b"\xff", b"Logout_token=a"] {
            assert!(token_in(bad).is_err());
        }
    }
}
