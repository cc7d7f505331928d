//! A sender's key, and who has it.

use super::Senders;
use portcullis_engines_signatures::SignatureKey;
use portcullis_gateway_policy::{CompileError, LiveFile, LiveFiles, Revocable, SignatureKeyPlan};
use portcullis_model::{Principal, Reason, Rejection};
use std::sync::Arc;

/// A key, as its file has it now.
pub(super) struct Key {
    pub(super) plan: SignatureKeyPlan,
    live: Arc<LiveFile>,
}

impl Key {
    pub(super) fn of(name: &str, plan: &SignatureKeyPlan, files: &LiveFiles) -> Result<Self, CompileError> {
        let problem = |what: &str| CompileError(format!("the key `{}` of `{name}` {what}", plan.id));
        let live = files.of(&plan.file).cloned().ok_or_else(|| problem("has not been read"))?;
        let key = Self { plan: plan.clone(), live };
        match key.look(|_| ()) {
            Ok(()) => Ok(key),
            Err(_) => {
                Err(problem(&format!("is not for its algorithm, {}: see `{}`", plan.algorithm.as_str(), plan.file.display())))
            }
        }
    }

    /// Looks at the key.
    ///
    /// # Errors
    /// When what is in the file now is for another algorithm: a signature is judged by no other than the configuration says.
    pub(super) fn look<R>(&self, with: impl FnOnce(&SignatureKey) -> R) -> Result<R, Rejection> {
        let looked = self.live.look(|key: &SignatureKey| (key.algorithm() == self.plan.algorithm).then(|| with(key)));
        looked.flatten().ok_or_else(|| Rejection::new(Reason::KeysUnavailable, "the file of the key has one for another algorithm"))
    }

    /// Who has it.
    pub(super) fn principal(&self, senders: &Senders, issued: u64) -> Principal {
        let (name, words) = (&senders.plan.name, &senders.words);
        let (roles, scopes) = (self.plan.roles.iter().map(|role| &**role), self.plan.scopes.iter().map(|scope| &**scope));
        Principal {
            provider: Arc::clone(name),
            subject: (*self.plan.caller).into(),
            client: Some((*self.plan.id).into()),
            consumer: words.consumers().of_subject(name, &self.plan.caller),
            grants: words.grants(name, roles, scopes),
            expires_unix_seconds: u64::MAX,
            issued_unix_seconds: issued,
            marks: [Revocable::Key { store: name, id: &self.plan.id }.mark()].into(),
            ends_unix_seconds: u64::MAX,
        }
    }
}
