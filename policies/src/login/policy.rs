//! A login: who has a session, and where those are sent who have none.

use super::backchannel::{BODY_BYTES_MAX, BackChannel, LogoutTokens};
use super::browser::{cookie, is_from_own_page, is_navigation, pending_cookie, redirect, session_cookie, set_cookie};
use super::callback::Callback;
use super::logout::Logout;
use super::pending::{LOGIN_WITHIN, NotBegun, PendingLogins};
use super::refresh::NotRefreshed;
use super::seal::Sealer;
use super::sessions::{Limits, Session, Sessions, Word};
use aws_lc_rs::digest::{Context, SHA256, digest};
use portcullis_engines_authz::Vocabulary;
use portcullis_engines_jose::base64url;
use portcullis_gateway_policy::{
    CompileError, Exchange, LiveEndpoints, LiveKeys, LoginDesk, LoginEndpoint, LoginPlan, Revocations, StateDigest, StatePool,
    Verdict,
};
use portcullis_model::{Mark, Principal, Reason, Rejection};
use portcullis_wire::form_encode;
use std::sync::{Arc, OnceLock};

/// Makes the endpoints of the gateway's own.
///
/// # Errors
/// When the provider's keys are not found by discovery, or the system gives no random bytes.
pub fn compile(
    plan: &Arc<LoginPlan>,
    pool: &StatePool,
    revocations: &Arc<Revocations>,
) -> Result<Vec<LoginEndpoint>, CompileError> {
    let login = Arc::new(Login::of(plan, pool)?);
    login.state.revocations.get_or_init(|| Arc::clone(revocations));
    Ok(vec![
        LoginEndpoint { name: "callback", method: "GET", body_bytes_max: 0, policy: Arc::new(Callback(Arc::clone(&login))) },
        LoginEndpoint { name: "logout", method: "POST", body_bytes_max: 0, policy: Arc::new(Logout(Arc::clone(&login))) },
        LoginEndpoint { name: "backchannel", method: "POST", body_bytes_max: BODY_BYTES_MAX, policy: Arc::new(BackChannel(login)) },
    ])
}

/// What outlives a configuration.
pub(super) struct LoginState {
    pub(super) pending: PendingLogins,
    pub(super) sessions: Sessions,
    pub(super) sealer: Sealer,
    pub(super) logout_tokens: LogoutTokens,
    /// Where workers look for what has ended; there from when the endpoints are made.
    pub(super) revocations: OnceLock<Arc<Revocations>>,
}

/// A login that runs.
pub struct Login {
    pub(crate) plan: Arc<LoginPlan>,
    pub(super) limits: Limits,
    pub(super) keys: Arc<LiveKeys>,
    pub(super) endpoints: Arc<LiveEndpoints>,
    pub(super) state: Arc<LoginState>,
    pub(super) desk: Arc<LoginDesk>,
}

/// What is found out of a caller with a session.
pub enum Judged {
    /// Who it is.
    Caller(Arc<Principal>),
    /// The answer: a redirect to the provider for somebody who wants to see a page, or why the request is refused.
    Answer(Verdict),
    /// The provider has to be asked again first: [`Login::judge_again`].
    Stale(StaleSession),
}

/// A session whose provider has to be asked again.
pub struct StaleSession {
    name: String,
    session: Arc<Session>,
}

/// What the grants of a session are made by.
pub struct Granting<'g> {
    /// The words of the configuration.
    pub words: &'g Vocabulary,
    /// A hash of them, and of what they are found by.
    pub digest: StateDigest,
}

impl Login {
    /// The login of a plan, with what is known of it already.
    ///
    /// # Errors
    /// When the provider's keys are not found by discovery, or the system gives no random bytes.
    pub fn of(plan: &Arc<LoginPlan>, pool: &StatePool) -> Result<Self, CompileError> {
        let error = |what: &str| CompileError(format!("the login `{}`: {what}", plan.name));
        let found = plan.provider.live_keys(pool).zip(plan.provider.live_endpoints(pool));
        let (keys, endpoints) = found.ok_or_else(|| error("the keys of its provider are not found by discovery"))?;
        let make = || {
            Sealer::new().map(|sealer| {
                Arc::new(LoginState {
                    pending: PendingLogins::default(),
                    sessions: Sessions::default(),
                    sealer,
                    logout_tokens: LogoutTokens::default(),
                    revocations: OnceLock::new(),
                })
            })
        };
        let state = pool.state(&format!("login/{}", plan.name), digest_of(plan), make);
        let state = Option::clone(&state).ok_or_else(|| error("the system gives no random bytes"))?;
        let limits = Limits { idle: plan.idle, lifetime: plan.lifetime };
        let desk = pool.state("login-desk", [0; 32], LoginDesk::default);
        Ok(Self { plan: Arc::clone(plan), limits, keys, endpoints, state, desk })
    }

    /// Whether a request brings the name of a session, whatever it is worth.
    #[must_use]
    pub fn is_shown(&self, exchange: &Exchange) -> bool {
        !matches!(cookie(&exchange.request, &session_cookie(&self.plan.name)), Ok(None))
    }

    /// Who is calling by a session.
    #[must_use]
    pub fn judge(&self, exchange: &Exchange, granting: &Granting<'_>) -> Judged {
        let Ok(shown) = cookie(&exchange.request, &session_cookie(&self.plan.name)) else {
            return Judged::Answer(reject(Reason::CookieAmbiguous, "the cookie of a session is there twice"));
        };
        let found = shown.and_then(|name| Some((name, self.state.sessions.find(name, &self.limits, exchange.arrived)?)));
        let Some((name, session)) = found else { return Judged::Answer(self.begin(exchange)) };
        if !is_from_own_page(&exchange.request, &self.plan.origin) {
            let detail = "a request with a session that does not come from a page of its own origin";
            return Judged::Answer(reject(Reason::CrossOriginRefused, detail));
        }
        if session.word().ends <= unix_seconds(exchange) {
            return Judged::Stale(StaleSession { name: name.to_owned(), session });
        }
        let principal = session.principal(granting.digest, |word| self.principal(word, granting.words));
        // Who was put out comes in again by the provider alone, not with what it said before.
        if self.state.revocations.get().is_some_and(|revocations| revocations.has(&principal, unix_seconds(exchange))) {
            self.state.sessions.end(name);
            return Judged::Answer(self.begin(exchange));
        }
        Judged::Caller(principal)
    }

    /// The same once the provider has been asked again.
    ///
    /// # Errors
    /// The answer, as for somebody without a session, or that the provider cannot be asked.
    pub async fn judge_again(
        &self,
        stale: StaleSession,
        exchange: &Exchange,
        granting: &Granting<'_>,
    ) -> Result<Arc<Principal>, Verdict> {
        let now = unix_seconds(exchange);
        match self.refresh(&stale.session, (now, exchange.arrived), granting).await {
            Ok(principal) => Ok(principal),
            Err(NotRefreshed::Unavailable(rejection)) => Err(Verdict::Reject(rejection)),
            Err(NotRefreshed::Over) => {
                self.state.sessions.end(&stale.name);
                Err(self.begin(exchange))
            }
        }
    }

    /// Ends a session, and what goes on by it.
    pub(super) fn end(&self, name: &str, now: u64) -> Option<Arc<Session>> {
        let session = self.state.sessions.end(name)?;
        self.end_what_goes_on(&[session.own()], now);
        Some(session)
    }

    /// Ends all sessions that are known by a mark, and what goes on by them.
    pub(super) fn end_all(&self, mark: Mark, now: u64) {
        self.end_what_goes_on(&self.state.sessions.end_all(mark), now);
    }

    fn end_what_goes_on(&self, sessions: &[Mark], now: u64) {
        if let Some(revocations) = self.state.revocations.get().filter(|_| !sessions.is_empty()) {
            revocations.end(sessions, now);
        }
    }

    pub(super) fn principal(&self, word: &Word, words: &Vocabulary) -> Principal {
        let (roles, scopes) = (word.roles.iter().map(|role| &**role), word.scopes.iter().map(|scope| &**scope));
        Principal {
            provider: Arc::clone(&self.plan.name),
            subject: word.subject.clone(),
            client: None,
            consumer: None,
            grants: words.grants(&self.plan.name, roles, scopes),
            expires_unix_seconds: word.expires,
            issued_unix_seconds: word.issued,
            marks: word.marks.clone(),
            ends_unix_seconds: word.ends,
        }
    }

    /// Sends somebody who wants to see a page to the provider; everybody else is told that credentials are missing.
    fn begin(&self, exchange: &Exchange) -> Verdict {
        if !is_navigation(&exchange.request) {
            let rejection = Rejection::new(Reason::CredentialsMissing, "there is no session, and only a page is sent to log in");
            return Verdict::Reject(rejection.asking("BrowserLogin realm=\"api\""));
        }
        let endpoints = self.endpoints.get().unwrap_or_default();
        let Some(authorization) = endpoints.authorization.as_deref().filter(|_| endpoints.token.is_some()) else {
            return reject(Reason::LoginUnavailable, "the provider has not said where to log in and where to get tokens");
        };
        let before = cookie(&exchange.request, &pending_cookie(&self.plan.name)).ok().flatten();
        let query = exchange.request.query().map_or(String::new(), |query| format!("?{query}"));
        let target = format!("{}{query}", exchange.request.path());
        match self.state.pending.begin(exchange.client, before, &target, exchange.arrived) {
            Ok((browser, pending)) => {
                let challenge = base64url(digest(&SHA256, pending.verifier.as_bytes()).as_ref());
                let redirect_uri = self.plan.redirect_uri();
                let mut pairs = vec![
                    ("response_type", "code"),
                    ("client_id", &*self.plan.client_id),
                    ("redirect_uri", &redirect_uri),
                    ("scope", &self.plan.scopes),
                    ("state", &pending.state),
                    ("nonce", &pending.nonce),
                    ("code_challenge", &challenge),
                    ("code_challenge_method", "S256"),
                ];
                pairs.extend(self.plan.prompt.as_deref().map(|prompt| ("prompt", prompt)));
                let joint = if authorization.contains('?') { '&' } else { '?' };
                let location = format!("{authorization}{joint}{}", form_encode(&pairs));
                let cookie = set_cookie(&pending_cookie(&self.plan.name), &browser, Some(LOGIN_WITHIN.as_secs()));
                Verdict::Respond(redirect(302, location, vec![cookie]))
            }
            Err(NotBegun::Looping) => reject(Reason::LoginInvalid, "the browser has begun too many logins and finished none"),
            Err(NotBegun::NoRandom) => reject(Reason::Internal, "the system gives no random bytes"),
        }
    }
}

fn unix_seconds(exchange: &Exchange) -> u64 {
    exchange.record.started_unix_micros / 1_000_000
}

fn reject(reason: Reason, detail: &'static str) -> Verdict {
    Verdict::Reject(Rejection::new(reason, detail))
}

/// What makes a session another one: where it was begun and what its roles were found by. Everything else may change under it.
fn digest_of(plan: &LoginPlan) -> StateDigest {
    let roles = plan.provider.roles.as_ref().map_or("", |path| path.as_str());
    let mut context = Context::new(&SHA256);
    for part in [&*plan.provider.rules.issuer, &plan.client_id, &plan.origin, roles] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut bytes = StateDigest::default();
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    bytes
}
