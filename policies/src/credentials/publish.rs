//! The public keys of a signer, for whoever has to believe its tokens.

use portcullis_engines_jose::SigningKeys;
use portcullis_gateway_policy::{CompileError, Exchange, LiveFile, LiveFiles, LocalAnswer, Policy, SignerPlan, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use std::sync::Arc;

/// How long readers may keep what they got: so long a new key is to stand in the file before it signs.
const KEPT_FOR: &[u8] = b"public, max-age=300";

/// Makes the policy that answers with the keys.
///
/// # Errors
/// When control has not read them.
pub fn publish(plan: &SignerPlan, files: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let missing = || CompileError(format!("the keys of the signer `{}` have not been read", plan.name));
    Ok(Arc::new(Published(files.of(&plan.keys).cloned().ok_or_else(missing)?)))
}

struct Published(Arc<LiveFile>);

impl Policy for Published {
    fn on_request<'a>(&'a self, _: &'a mut Exchange) -> Step<'a> {
        let body = self.0.look(|keys: &SigningKeys| keys.published().to_owned());
        Step::Ready(match body {
            Some(body) => {
                let kind = ("content-type", b"application/jwk-set+json".to_vec());
                Verdict::Respond(LocalAnswer { status: 200, fields: vec![kind, ("cache-control", KEPT_FOR.to_vec())], body })
            }
            None => Verdict::Reject(Rejection::new(Reason::Internal, "the keys of the signer are not there")),
        })
    }
}
