//! A browser comes back from its provider (OpenID Connect Core section 3.1.2.5): the code it brings becomes a session.

use super::browser::{cookie, pending_cookie, redirect, session_cookie, set_cookie};
use super::pending::Pending;
use super::policy::Login;
use super::sessions::Session;
use super::tokens::{self, Proof};
use portcullis_gateway_policy::{Exchange, Policy, ProviderEndpoints, Step, TokenFailure, Verdict};
use portcullis_model::{Reason, Rejection, Secret};
use portcullis_wire::{form_decode, form_encode, query_pairs};
use std::sync::Arc;

/// The longest value that a provider sends along.
const VALUE_BYTES_MAX: usize = 2048;

/// The running policy of the endpoint. Answers every request.
pub(super) struct Callback(pub(super) Arc<Login>);

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(Reason::LoginInvalid, detail)
}

impl Policy for Callback {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        match self.begin(exchange) {
            Ok(coming) => Step::Later(Box::pin(async move { self.finish(coming).await.unwrap_or_else(Verdict::Reject) })),
            Err(rejection) => Step::Ready(Verdict::Reject(rejection)),
        }
    }
}

/// A browser that has come back with a code.
struct Coming {
    code: String,
    pending: Pending,
    /// The session that it had.
    before: Option<String>,
    arrived: std::time::Duration,
}

/// What a provider sends along (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Default)]
struct Brought {
    state: Option<String>,
    code: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl Brought {
    fn read(query: &str) -> Result<Self, Rejection> {
        let mut brought = Self::default();
        for (name, value) in query_pairs(query) {
            let slot = match name {
                "state" => &mut brought.state,
                "code" => &mut brought.code,
                "iss" => &mut brought.issuer,
                "error" => &mut brought.error,
                _ => continue,
            };
            let value =
                form_decode(value, VALUE_BYTES_MAX).ok_or_else(|| invalid("a parameter of the callback is not plain text"))?;
            if slot.replace(value).is_some() {
                return Err(invalid("a parameter of the callback is there twice"));
            }
        }
        Ok(brought)
    }
}

impl Callback {
    /// Everything that is decided before the provider is asked.
    fn begin(&self, exchange: &Exchange) -> Result<Coming, Rejection> {
        let login = &self.0;
        let brought = Brought::read(exchange.request.query().unwrap_or_default())?;
        let state = brought.state.ok_or_else(|| invalid("the callback has no `state`"))?;
        let browser = cookie(&exchange.request, &pending_cookie(&login.plan.name)).ok().flatten();
        let browser = browser.ok_or_else(|| invalid("the browser has not begun a login, or keeps no cookies"))?;
        let pending = login.state.pending.take(browser, &state, exchange.arrived);
        let pending = pending.ok_or_else(|| invalid("the login is over, or another browser has begun it"))?;
        let endpoints = login.endpoints.get().unwrap_or_default();
        check_issuer(brought.issuer.as_deref(), &endpoints, &login.plan.provider.rules.issuer)?;
        if let Some(error) = brought.error {
            return Err(Rejection::new(Reason::LoginRefused, format!("the provider says `{}`", error.escape_debug())));
        }
        let before = cookie(&exchange.request, &session_cookie(&login.plan.name)).ok().flatten();
        Ok(Coming {
            code: brought.code.ok_or_else(|| invalid("the callback has no `code`"))?,
            pending,
            before: before.map(str::to_owned),
            arrived: exchange.arrived,
        })
    }

    async fn finish(&self, coming: Coming) -> Result<Verdict, Rejection> {
        let login = &self.0;
        let form = form_encode(&[
            ("grant_type", "authorization_code"),
            ("code", &coming.code),
            ("redirect_uri", &login.plan.redirect_uri()),
            ("code_verifier", &coming.pending.verifier),
        ]);
        let answer = login.desk.ask(Arc::clone(&login.plan), Secret::new(form.into_bytes())).await;
        let answer = answer.map_err(|failure| match failure {
            TokenFailure::Refused => Rejection::new(Reason::LoginRefused, failure.to_string()),
            TokenFailure::Unavailable | TokenFailure::Busy => Rejection::new(Reason::LoginUnavailable, failure.to_string()),
        })?;
        // When the browser came back there were no tokens yet.
        let now = answer.at_unix_seconds;
        let word = tokens::judge(login, &answer.body, Proof::Nonce(&coming.pending.nonce), now)?;
        // Else the session would be over with its first request, and the browser be sent from here to there without end.
        if login.state.revocations.get().is_some_and(|revocations| revocations.has_any(&word.marks, word.issued, now)) {
            return Err(Rejection::new(Reason::LoginRefused, "whoever has logged in has been revoked"));
        }
        // SECURITY: a name that the browser had before, or was made to have, is never the name of the new session (threats E 120).
        if let Some(before) = &coming.before {
            login.end(before, now);
        }
        let session = Session::new(word, coming.arrived);
        let name = login.state.sessions.begin(session, &login.limits, coming.arrived);
        let full = || Rejection::new(Reason::LoginUnavailable, "there are as many sessions as there may be");
        let name = name.ok_or_else(full)?;
        let cookies = vec![
            set_cookie(&session_cookie(&login.plan.name), &name, None),
            set_cookie(&pending_cookie(&login.plan.name), "", None),
        ];
        // SECURITY: only ever to the login's own origin, whatever the path looks like (threats E 119).
        let location = format!("{}{}", login.plan.origin, coming.pending.target);
        Ok(Verdict::Respond(redirect(303, location, cookies)))
    }
}

/// An answer of another provider must not be taken for one of this (RFC 9207 section 2.4).
fn check_issuer(told: Option<&str>, endpoints: &ProviderEndpoints, issuer: &str) -> Result<(), Rejection> {
    match told {
        Some(told) if told == issuer => Ok(()),
        None if !endpoints.says_issuer => Ok(()),
        _ => Err(invalid("the answer is of another provider, or does not say whose it is")),
    }
}
