//! Which credential the upstream of a route gets.

use super::client::ClientToken;
use super::exchange::ExchangeToken;
use super::sign::Sign;
use portcullis_gateway_policy::{CompileError, CredentialsContext, CredentialsPlan, Exchange, Policy, Step, TrailerNames, Verdict};
use portcullis_wire::KnownName;
use std::sync::Arc;

/// Makes the running policy.
///
/// # Errors
/// When control has not read what it needs.
pub fn compile(context: &CredentialsContext<'_>) -> Result<Arc<dyn Policy>, CompileError> {
    match context.plan {
        // Nobody is known here, so there is nothing to say of them.
        CredentialsPlan::Sign(_) | CredentialsPlan::Exchange(_) if context.is_public => Ok(Arc::new(Removed)),
        CredentialsPlan::Sign(plan) => Ok(Arc::new(Sign::of(plan, context)?)),
        CredentialsPlan::Exchange(plan) => Ok(Arc::new(ExchangeToken::of(plan, context))),
        CredentialsPlan::ClientCredentials(plan) => Ok(Arc::new(ClientToken(plan.live(context.pool)))),
    }
}

/// What does not pass as a trailer: only the head says who asks.
pub(super) fn trailers() -> (TrailerNames, TrailerNames) {
    (vec![KnownName::Authorization.as_str().into()], Vec::new())
}

/// Keeps what the client shows from the upstream.
struct Removed;

impl Policy for Removed {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        exchange.request.fields_mut().remove(KnownName::Authorization);
        Step::Ready(Verdict::Continue)
    }

    fn trailers_dropped(&self) -> (TrailerNames, TrailerNames) {
        trailers()
    }
}
