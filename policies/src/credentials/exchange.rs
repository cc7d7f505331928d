//! The caller's token, exchanged at its provider for one that is meant for the upstream (RFC 8693): once for all who bring the same one.

use super::policy::trailers;
use super::sign::finish;
use crate::authenticate::cache::{Cache, Ends, TokenHash};
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_engines_jose::{Issued, read_issued};
use portcullis_gateway_policy::{
    CredentialsContext, DeskFailure, Exchange, ExchangeDesk, ExchangePlan, Flights, Policy, Step, TrailerNames, Verdict,
};
use portcullis_model::{Reason, Rejection, Secret};
use portcullis_wire::{KnownName, form_encode};
use std::sync::Arc;
use std::time::Duration;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// How much of a life is left to the upstream: a tenth, and not more than this.
const LEFT_MAX: Duration = Duration::from_secs(10);
/// How long it is believed that a provider refuses.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// A token for the upstream.
struct Exchanged {
    /// As it stands in `Authorization`.
    field: Secret<Vec<u8>>,
    /// Until when it is used, by the clock that is never put back.
    until: Duration,
}

impl Ends for Exchanged {
    fn ends(&self) -> u64 {
        self.until.as_secs()
    }
}

/// A token for which the provider gives none.
struct Refused {
    until: Duration,
}

impl Ends for Refused {
    fn ends(&self) -> u64 {
        self.until.as_secs()
    }
}

/// What is under way and known.
#[derive(Default)]
struct State {
    flights: Flights<Result<Arc<Exchanged>, Rejection>>,
    exchanged: Cache<Exchanged>,
    refused: Cache<Refused>,
}

/// The running policy.
pub(super) struct ExchangeToken {
    plan: Arc<ExchangePlan>,
    desk: Arc<ExchangeDesk>,
    state: Arc<State>,
}

/// What a caller has shown, and when.
struct Shown {
    token: Secret<Box<[u8]>>,
    hash: TokenHash,
    arrived: Duration,
    /// How long the caller's token is good yet.
    left: Duration,
}

impl ExchangeToken {
    pub(super) fn of(plan: &Arc<ExchangePlan>, context: &CredentialsContext<'_>) -> Self {
        let digest = hash_of(format!("{plan:?}").as_bytes());
        Self {
            plan: Arc::clone(plan),
            desk: context.pool.state("exchange-desk", [0; 32], ExchangeDesk::default),
            state: context.pool.state("credentials/exchanged", digest, State::default),
        }
    }

    /// What was found out a moment ago.
    fn known(&self, hash: &TokenHash, arrived: Duration) -> Option<Result<Arc<Exchanged>, Rejection>> {
        if let Some(known) = self.state.exchanged.find(hash).filter(|known| arrived < known.until) {
            return Some(Ok(known));
        }
        self.state.refused.find(hash).filter(|refused| arrived < refused.until).map(|_| Err(refusal()))
    }

    async fn exchange(&self, shown: &Shown) -> Result<Arc<Exchanged>, Rejection> {
        let ask = || async move {
            // Somebody may have been answered since it was looked.
            if let Some(known) = self.known(&shown.hash, shown.arrived) {
                return known;
            }
            let answer = match self.desk.ask(Arc::clone(&self.plan), self.form(shown)).await {
                Ok(answer) => answer,
                Err(DeskFailure::Refused) => {
                    let until = shown.arrived.saturating_add(REFUSED_FOR);
                    self.state.refused.keep(shown.hash, Arc::new(Refused { until }));
                    return Err(refusal());
                }
                Err(failure) => return Err(unavailable(failure.to_string())),
            };
            let issued = read_issued(&answer.body).map_err(unavailable)?;
            let exchanged = Arc::new(judge(&issued, shown)?);
            self.state.exchanged.keep(shown.hash, Arc::clone(&exchanged));
            Ok(exchanged)
        };
        self.state.flights.join(shown.hash, ask).await
    }

    fn form(&self, shown: &Shown) -> Secret<Vec<u8>> {
        // INVARIANT: what is looked at as a token is ASCII.
        let token = std::str::from_utf8(shown.token.reveal()).unwrap_or_default();
        let scopes = self.plan.scopes.join(" ");
        let mut pairs = vec![
            ("grant_type", GRANT),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        pairs.extend(self.plan.audience.as_deref().map(|audience| ("audience", audience)));
        pairs.extend(self.plan.resource.as_deref().map(|resource| ("resource", resource)));
        pairs.extend((!scopes.is_empty()).then_some(("scope", &*scopes)));
        Secret::new(form_encode(&pairs).into_bytes())
    }

    async fn ask(&self, exchange: &mut Exchange, shown: Shown) -> Verdict {
        let exchanged = self.exchange(&shown).await;
        exchanged.and_then(|exchanged| put(exchange, &exchanged)).map_or_else(Verdict::Reject, |()| Verdict::Continue)
    }
}

/// What may be sent to the upstream of what a provider has given.
fn judge(issued: &Issued, shown: &Shown) -> Result<Exchanged, Rejection> {
    // SECURITY: the caller's own token is not for the upstream, whoever hands it over.
    if issued.token.as_bytes() == &**shown.token.reveal() {
        return Err(unavailable("the provider gives back the caller's own token"));
    }
    if !issued.kind.as_deref().is_some_and(|kind| [ACCESS_TOKEN, JWT].contains(&kind)) {
        return Err(unavailable("the provider does not say in `issued_token_type` that it has given an access token"));
    }
    // SECURITY: what stands for a caller's token is not used longer than that is good.
    let life = issued.life.min(shown.left);
    let until = shown.arrived.saturating_add(life.saturating_sub((life / 10).min(LEFT_MAX)));
    Ok(Exchanged { field: Secret::new([b"Bearer ", issued.token.as_bytes()].concat()), until })
}

fn put(exchange: &mut Exchange, exchanged: &Exchanged) -> Result<(), Rejection> {
    let set = exchange.request.fields_mut().set(KnownName::Authorization, exchanged.field.reveal());
    set.map_err(|_| unavailable("the token for the upstream is too long beside the other fields"))
}

fn unavailable(detail: impl Into<std::borrow::Cow<'static, str>>) -> Rejection {
    Rejection::new(Reason::TokenExchangeUnavailable, detail)
}

fn refusal() -> Rejection {
    Rejection::new(Reason::TokenExchangeRefused, "the provider gives no token for the upstream in exchange for the caller's")
}

fn hash_of(bytes: &[u8]) -> TokenHash {
    let mut digest = Context::new(&SHA256);
    digest.update(bytes);
    finish(digest)
}

impl Policy for ExchangeToken {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        // SECURITY: nothing that a client has written here passes, whatever becomes of the exchange.
        exchange.request.fields_mut().remove(KnownName::Authorization);
        let (Some(token), Some(principal)) = (exchange.take_token(), exchange.principal()) else {
            return Step::Ready(Verdict::Reject(Rejection::new(Reason::Internal, "the caller has shown no token to exchange")));
        };
        let now = exchange.record.started_unix_micros / 1_000_000;
        let left = Duration::from_secs(principal.ends_unix_seconds.saturating_sub(now));
        let (hash, arrived) = (hash_of(token.reveal()), exchange.arrived);
        match self.known(&hash, arrived) {
            Some(known) => {
                let put = known.and_then(|known| put(exchange, &known));
                Step::Ready(put.map_or_else(Verdict::Reject, |()| Verdict::Continue))
            }
            None => Step::Later(Box::pin(self.ask(exchange, Shown { token, hash, arrived, left }))),
        }
    }

    fn trailers_dropped(&self) -> (TrailerNames, TrailerNames) {
        trailers()
    }
}
