//! Somebody logs out: the session ends here, and the browser is sent to the provider to end its own (OpenID Connect RP-Initiated Logout 1.0).

use super::browser::{cookie, is_from_own_page, redirect, session_cookie, set_cookie};
use super::policy::Login;
use portcullis_gateway_policy::{Exchange, LocalAnswer, Policy, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::form_encode;
use std::sync::Arc;

/// The running policy of the endpoint. Answers every request.
pub(super) struct Logout(pub(super) Arc<Login>);

impl Policy for Logout {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        // SECURITY: another page must not log anybody out; the method is POST, so the page is always looked at.
        if !is_from_own_page(&exchange.request, &self.0.plan.origin) {
            let detail = "a logout that does not come from a page of its own origin";
            return Step::Ready(Verdict::Reject(Rejection::new(Reason::CrossOriginRefused, detail)));
        }
        Step::Ready(Verdict::Respond(self.end(exchange)))
    }
}

impl Logout {
    fn end(&self, exchange: &Exchange) -> LocalAnswer {
        let login = &self.0;
        let name = session_cookie(&login.plan.name);
        let shown = cookie(&exchange.request, &name).ok().flatten();
        let now = exchange.record.started_unix_micros / 1_000_000;
        let session = shown.and_then(|shown| login.end(shown, now));
        let gone = set_cookie(&name, "", None);
        let endpoints = login.endpoints.get().unwrap_or_default();
        let after = login.plan.after_logout.as_ref().map(|path| format!("{}{path}", login.plan.origin));
        let Some(end_session) = &endpoints.end_session else {
            let fields = vec![("cache-control", b"no-store".to_vec()), ("set-cookie", gone.clone())];
            return after
                .map_or(LocalAnswer { status: 204, fields, body: String::new() }, |after| redirect(303, after, vec![gone]));
        };
        let word = session.map(|session| session.word());
        let hint = word.as_ref().and_then(|word| login.state.sealer.open(word.id_token.as_ref()?));
        let mut pairs = vec![("client_id", &*login.plan.client_id)];
        pairs.extend(hint.as_ref().map(|hint| ("id_token_hint", hint.reveal().as_str())));
        pairs.extend(after.as_ref().map(|after| ("post_logout_redirect_uri", after.as_str())));
        let joint = if end_session.contains('?') { '&' } else { '?' };
        redirect(303, format!("{end_session}{joint}{}", form_encode(&pairs)), vec![gone])
    }
}
