//! The gateway's own token at a provider, which control renews.

use super::policy::trailers;
use portcullis_gateway_policy::{Exchange, LiveToken, Policy, Step, TrailerNames, Verdict};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::KnownName;
use std::sync::Arc;

/// The running policy.
pub(super) struct ClientToken(pub(super) Arc<LiveToken>);

impl ClientToken {
    fn put(&self, exchange: &mut Exchange) -> Result<(), Rejection> {
        let unavailable = |what| Rejection::new(Reason::UpstreamTokenUnavailable, what);
        // SECURITY: without a token nothing is sent: neither what the client showed, nor a request that the upstream would take for anybody's.
        let held =
            self.0.get().ok_or_else(|| unavailable("the provider has given no token for the upstream that is still valid"))?;
        let set = exchange.request.fields_mut().set(KnownName::Authorization, held.field.reveal());
        set.map_err(|_| unavailable("the token for the upstream is too long beside the other fields"))
    }
}

impl Policy for ClientToken {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(self.put(exchange).map_or_else(Verdict::Reject, |()| Verdict::Continue))
    }

    fn trailers_dropped(&self) -> (TrailerNames, TrailerNames) {
        trailers()
    }
}
