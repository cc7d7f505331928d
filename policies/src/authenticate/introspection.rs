//! Tokens that their provider is asked about (RFC 7662): once for all who bring the same one, and not again for a while.

use super::cache::{Cache, Ends, TokenCache, TokenHash, Verified};
use super::policy::{Provider, invalid};
use portcullis_engines_jose::{Fault, Introspected, read_introspection};
use portcullis_gateway_policy::{AccessContext, Flights, IntrospectionDesk, IntrospectionPlan, ProviderPlan, StateDigest};
use portcullis_model::{Reason, Rejection, Secret};
use portcullis_wire::form_encode;
use std::sync::Arc;
use std::time::Duration;

/// What a provider has said against a token.
struct Refused {
    fault: Fault,
    /// Until when that is believed, by the clock that is never put back.
    until: Duration,
}

impl Ends for Refused {
    fn ends(&self) -> u64 {
        self.until.as_secs()
    }
}

/// What is under way and known of the tokens of a provider.
struct State {
    flights: Flights<Result<Arc<Verified>, Rejection>>,
    refused: Cache<Refused>,
}

/// How a provider is asked.
pub(super) struct Asker {
    pub(super) plan: IntrospectionPlan,
    desk: Arc<IntrospectionDesk>,
    state: Arc<State>,
}

/// A token that must be asked about.
pub(super) struct Question {
    pub(super) hash: TokenHash,
    form: Secret<Vec<u8>>,
    now: u64,
    arrived: Duration,
}

impl Question {
    /// About this token, which came at this moment of both clocks.
    pub(super) fn new(token: &[u8], hash: TokenHash, now: u64, arrived: Duration) -> Self {
        // INVARIANT: what is looked at as a token is ASCII.
        let token = std::str::from_utf8(token).unwrap_or_default();
        let form = form_encode(&[("token", token), ("token_type_hint", "access_token")]);
        Self { hash, form: Secret::new(form.into_bytes()), now, arrived }
    }
}

impl Asker {
    /// For a provider that is asked.
    pub(super) fn of(plan: &ProviderPlan, digest: StateDigest, context: &AccessContext<'_>) -> Option<Self> {
        let make = || State { flights: Flights::default(), refused: Cache::small() };
        Some(Self {
            plan: plan.introspection.clone()?,
            desk: context.pool.state("introspection-desk", [0; 32], IntrospectionDesk::default),
            state: context.pool.state(&format!("introspection/{}", plan.name), digest, make),
        })
    }

    /// What was said against a token a moment ago.
    pub(super) fn refused(&self, hash: &TokenHash, arrived: Duration) -> Option<Rejection> {
        let refused = self.state.refused.find(hash)?;
        (arrived < refused.until).then(|| invalid(refused.fault))
    }

    /// Asks about a token, or waits with whoever asks already.
    ///
    /// # Errors
    /// When it is not good, or nothing can be said of it.
    pub(super) async fn ask(
        &self,
        provider: &Provider,
        cache: &TokenCache,
        question: Question,
    ) -> Result<Arc<Verified>, Rejection> {
        let Question { hash, form, now, arrived } = question;
        let ask = || async move {
            // Somebody may have been answered since it was looked.
            let known = cache.find(&hash).filter(|known| provider.vouches_for(known) && known.is_now(now, arrived));
            if let Some(known) = known {
                return Ok(known);
            }
            if let Some(refused) = self.refused(&hash, arrived) {
                return Err(refused);
            }
            let unavailable = |detail: String| Rejection::new(Reason::IntrospectionUnavailable, detail);
            let answer = self.desk.ask(Arc::clone(&provider.plan), form).await.map_err(|why| unavailable(why.to_string()))?;
            match read_introspection(&answer.body, &provider.plan.rules, answer.at_unix_seconds) {
                // SECURITY: what is no answer is neither access nor a word about the token.
                None => Err(unavailable("the provider's answer about the token is not understood".to_owned())),
                Some(Introspected::Refused(fault)) => {
                    let until = arrived.saturating_add(self.plan.negative_cache);
                    self.state.refused.keep(hash, Arc::new(Refused { fault, until }));
                    Err(invalid(fault))
                }
                Some(Introspected::Active(claims)) => {
                    let until = arrived.saturating_add(self.plan.cache);
                    let verified = Arc::new(provider.verified(&claims, None, Some(until)));
                    cache.keep(hash, Arc::clone(&verified));
                    Ok(verified)
                }
            }
        };
        self.state.flights.join(hash, ask).await
    }
}
