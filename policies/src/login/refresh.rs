//! What a provider has said of a session has ended, and it gave a token to ask again with (OpenID Connect Core section 12).

use super::policy::{Granting, Login};
use super::sessions::Session;
use super::tokens::{self, Proof};
use portcullis_gateway_policy::TokenFailure;
use portcullis_model::{Principal, Reason, Rejection, Secret};
use portcullis_wire::form_encode;
use std::sync::Arc;
use std::time::Duration;

/// For how long a provider that could not be asked is not asked again for the same session.
/// Counted from when who asked had come, and longer than asking takes: who has waited for it does not ask again.
const AGAIN_AFTER: Duration = Duration::from_secs(15);

/// Why a session does not go on.
pub(super) enum NotRefreshed {
    /// The provider does not vouch any more: the session is over.
    Over,
    /// It cannot be asked now; the session waits for it.
    Unavailable(Rejection),
}

impl Login {
    /// Asks the provider again who has this session. Requests of the same session wait for the first.
    pub(super) async fn refresh(
        &self,
        session: &Session,
        (now, arrived): (u64, Duration),
        granting: &Granting<'_>,
    ) -> Result<Arc<Principal>, NotRefreshed> {
        let unavailable = |detail: &str| NotRefreshed::Unavailable(Rejection::new(Reason::LoginUnavailable, detail.to_owned()));
        let mut failed = session.refreshing().await;
        if session.word().ends <= now {
            if failed.is_some_and(|at| arrived < at + AGAIN_AFTER) {
                return Err(unavailable("the provider could not be asked again a moment ago"));
            }
            if let Err(problem) = self.ask_again(session).await {
                if matches!(problem, NotRefreshed::Unavailable(_)) {
                    *failed = Some(arrived);
                }
                return Err(problem);
            }
            *failed = None;
        }
        drop(failed);
        Ok(session.principal(granting.digest, |word| self.principal(word, granting.words)))
    }

    async fn ask_again(&self, session: &Session) -> Result<(), NotRefreshed> {
        let before = session.word();
        let token = before.refresh.as_ref().and_then(|sealed| self.state.sealer.open(sealed)).ok_or(NotRefreshed::Over)?;
        let form = Secret::new(form_encode(&[("grant_type", "refresh_token"), ("refresh_token", token.reveal())]).into_bytes());
        let answer = self.desk.ask(Arc::clone(&self.plan), form).await.map_err(|failure| match failure {
            TokenFailure::Refused => NotRefreshed::Over,
            failure => NotRefreshed::Unavailable(Rejection::new(Reason::LoginUnavailable, failure.to_string())),
        })?;
        let judged = tokens::judge(self, &answer.body, Proof::Refresh(&before), answer.at_unix_seconds);
        let word = judged.map_err(|rejection| match rejection.reason {
            // SECURITY: who is not vouched for any more is out, whatever the provider gave them before.
            Reason::LoginRefused => NotRefreshed::Over,
            _ => NotRefreshed::Unavailable(rejection),
        })?;
        session.replace(word);
        Ok(())
    }
}
