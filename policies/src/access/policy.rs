//! Compares bits.

use portcullis_engines_authz::Allow;
use portcullis_gateway_policy::{AccessContext, CompileError, Exchange, Policy, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use std::sync::Arc;

/// Makes the running policy.
///
/// # Errors
/// Never so far.
pub fn compile(context: &AccessContext<'_>) -> Result<Arc<dyn Policy>, CompileError> {
    Ok(Arc::new(Access { allow: Allow::compile(&context.access.lines, context.words) }))
}

/// The running policy.
struct Access {
    allow: Allow,
}

impl Policy for Access {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        // SECURITY: authenticate runs before this one; were it not there, nobody would be known, and nobody let through.
        let Some(principal) = exchange.principal() else {
            return Step::Ready(Verdict::Reject(Rejection::new(Reason::CredentialsMissing, "nobody vouched for the caller")));
        };
        let consumer = principal.consumer.as_ref().map(|consumer| consumer.number);
        let Some(allowed) = self.allow.allowed_by(&principal.grants, consumer) else {
            return Step::Ready(Verdict::Reject(Rejection::new(
                Reason::AccessDenied,
                "no line of the route's allow fits the caller",
            )));
        };
        exchange.record.allowed = Some(allowed);
        Step::Ready(Verdict::Continue)
    }
}
