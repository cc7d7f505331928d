//! Compares bits, then asks policies.

use super::cedar::Judge;
use portcullis_engines_authz::Allow;
use portcullis_engines_jose::Holding;
use portcullis_gateway_policy::{AccessContext, CompileError, Exchange, Policy, ProviderPlan, Step, Verdict};
use portcullis_model::{AllowedBy, Principal, Reason, Rejection};
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
    let access = context.access;
    let judge = access.policy.as_ref().map(|policy| Judge::new(policy, context));
    // Where there are policies and no line, they alone decide; where there is neither, nobody may.
    let asks_lines = judge.is_none() || !access.lines.is_empty();
    let allow = asks_lines.then(|| Allow::compile(&access.lines, context.words));
    Ok(Arc::new(Access { allow, judge, tokens: of_tokens.map(|plan| scheme(plan)).collect() }))
}

/// What a token is asked for that grants more (RFC 6750 section 3.1). Who is known by a certificate, a key or a session is asked for nothing: there is no
/// more of it to show.
const TOKENS: &str = "Bearer realm=\"api\", error=\"insufficient_scope\"";
const PROOFS: &str = "DPoP realm=\"api\", error=\"insufficient_scope\"";

/// The running policy.
struct Access {
    allow: Option<Allow>,
    judge: Option<Judge>,
    /// The providers whose tokens are taken, and what those are asked for who have too little of one.
    tokens: Box<[(Arc<str>, &'static str)]>,
}

impl Access {
    fn judge(&self, exchange: &mut Exchange, principal: &Principal) -> Result<(), Rejection> {
        let allowed = match &self.allow {
            Some(allow) => Some(self.allowed(allow, principal)?),
            None => None,
        };
        self.judge.as_ref().map_or(Ok(()), |judge| judge.ask(exchange, principal))?;
        // The record tells of a line that let somebody in, not of one that would have.
        exchange.record.allowed = allowed;
        Ok(())
    }

    fn allowed(&self, allow: &Allow, principal: &Principal) -> Result<AllowedBy, Rejection> {
        let consumer = principal.consumer.as_ref().map(|consumer| consumer.number);
        allow.allowed_by(&principal.grants, consumer).ok_or_else(|| {
            let denied = Rejection::new(Reason::AccessDenied, "no line of the route's allow fits the caller");
            match self.tokens.iter().find(|(provider, _)| *provider == principal.provider) {
                Some((_, challenge)) => denied.asking(*challenge),
                None => denied,
            }
        })
    }
}

impl Policy for Access {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        // SECURITY: authenticate runs before this one; were it not there, nobody would be known, and nobody let through.
        let Some(principal) = exchange.principal().cloned() else {
            return Step::Ready(Verdict::Reject(Rejection::new(Reason::CredentialsMissing, "nobody vouched for the caller")));
        };
        Step::Ready(match self.judge(exchange, &principal) {
            Ok(()) => Verdict::Continue,
            Err(rejection) => Verdict::Reject(rejection),
        })
    }
}
