//! Where policies ask a provider for tokens: control does so for them, since workers open no connections but to upstreams of routes.

use super::plan::LoginPlan;
use crate::Answered;
use portcullis_model::Secret;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How many questions may wait.
const WAITING_MAX: usize = 256;
/// How long somebody waits for an answer; who answers takes less.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there are no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFailure {
    /// The provider does not give any for this code or refresh token.
    Refused,
    /// The provider cannot be asked, or gave no answer that is understood; the operator is told more.
    Unavailable,
    /// Too many wait already.
    Busy,
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the provider gives no tokens for this",
            Self::Unavailable => "the provider cannot be asked for tokens",
            Self::Busy => "too many logins wait for their provider",
        })
    }
}

/// A question for tokens.
#[derive(Debug)]
pub struct TokenQuestion {
    /// The login, as whoever asks was made for it.
    pub login: Arc<LoginPlan>,
    /// The form, without the gateway's credentials.
    pub form: Secret<Vec<u8>>,
    /// Who waits for the answer.
    pub answer: oneshot::Sender<Result<Answered, TokenFailure>>,
}

/// Where policies ask, and control answers.
pub struct LoginDesk {
    questions: mpsc::Sender<TokenQuestion>,
    waiting: Mutex<Option<mpsc::Receiver<TokenQuestion>>>,
}

impl Default for LoginDesk {
    fn default() -> Self {
        let (questions, waiting) = mpsc::channel(WAITING_MAX);
        Self { questions, waiting: Mutex::new(Some(waiting)) }
    }
}

impl LoginDesk {
    /// Asks a provider for tokens, and waits half a minute at the most.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn ask(&self, login: Arc<LoginPlan>, form: Secret<Vec<u8>>) -> Result<Answered, TokenFailure> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(TokenQuestion { login, form, answer }).map_err(|_| TokenFailure::Busy)?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(TokenFailure::Unavailable),
        }
    }

    /// What waits for answers; for the one who gives them.
    #[must_use]
    pub fn attend(&self) -> Option<mpsc::Receiver<TokenQuestion>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
