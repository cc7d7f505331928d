//! Compares bits.

use portcullis_engines_authz::Allow;
use portcullis_engines_jose::Holding;
use portcullis_gateway_policy::{AccessContext, CompileError, Exchange, Policy, ProviderPlan, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use std::sync::Arc;

/// Makes the running policy.
///
/// # Errors
/// Never so far.
pub fn compile(context: &AccessContext<'_>) -> Result<Arc<dyn Policy>, CompileError> {
    let any_of = &context.access.authenticate.any_of;
    let of_tokens = context.providers.iter().filter(|provider| any_of.contains(&provider.name));
    let scheme = |plan: &ProviderPlan| {
        let is_bearer = [Holding::Bearer, Holding::Certificate].iter().any(|way| plan.rules.holdings.contains(*way));
        (Arc::clone(&plan.name), if is_bearer { TOKENS } else { PROOFS })
    };
    let allow = Allow::compile(&context.access.lines, context.words);
    Ok(Arc::new(Access { allow, tokens: of_tokens.map(|plan| scheme(plan)).collect() }))
}

/// What a token is asked for that grants more (RFC 6750 section 3.1). Who is known by a certificate, a key or a session is asked for nothing: there is no
/// more of it to show.
const TOKENS: &str = "Bearer realm=\"api\", error=\"insufficient_scope\"";
const PROOFS: &str = "DPoP realm=\"api\", error=\"insufficient_scope\"";

/// The running policy.
struct Access {
    allow: Allow,
    /// The providers whose tokens are taken, and what those are asked for who have too little of one.
    tokens: Box<[(Arc<str>, &'static str)]>,
}

impl Policy for Access {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        // SECURITY: authenticate runs before this one; were it not there, nobody would be known, and nobody let through.
        let Some(principal) = exchange.principal() else {
            return Step::Ready(Verdict::Reject(Rejection::new(Reason::CredentialsMissing, "nobody vouched for the caller")));
        };
        let consumer = principal.consumer.as_ref().map(|consumer| consumer.number);
        let Some(allowed) = self.allow.allowed_by(&principal.grants, consumer) else {
            let denied = Rejection::new(Reason::AccessDenied, "no line of the route's allow fits the caller");
            let asked = self.tokens.iter().find(|(provider, _)| *provider == principal.provider);
            return Step::Ready(Verdict::Reject(match asked {
                Some((_, challenge)) => denied.asking(*challenge),
                None => denied,
            }));
        };
        exchange.record.allowed = Some(allowed);
        Step::Ready(Verdict::Continue)
    }
}
