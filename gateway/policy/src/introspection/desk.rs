//! Where policies ask, and control answers: workers open no connections but to upstreams of routes.

use crate::{Answered, ProviderPlan};
use portcullis_model::Secret;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How many questions may wait to be taken up.
const WAITING_MAX: usize = 256;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntrospectionFailure {
    /// The provider cannot be asked, or did not answer in time or as it should; the operator is told more.
    Unavailable,
    /// Too many questions are open.
    Busy,
}

impl fmt::Display for IntrospectionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the provider cannot be asked about the token",
            Self::Busy => "too many questions about tokens are open",
        })
    }
}

/// A question about a token.
#[derive(Debug)]
pub struct IntrospectionQuestion {
    /// Whom to ask, as it was configured for whoever asks.
    pub provider: Arc<ProviderPlan>,
    /// The form, without the gateway's credentials.
    pub form: Secret<Vec<u8>>,
    /// Since when somebody waits.
    pub since: Instant,
    /// Who waits for the answer.
    pub answer: oneshot::Sender<Result<Answered, IntrospectionFailure>>,
}

/// The desk.
pub struct IntrospectionDesk {
    questions: mpsc::Sender<IntrospectionQuestion>,
    waiting: Mutex<Option<mpsc::Receiver<IntrospectionQuestion>>>,
}

impl Default for IntrospectionDesk {
    fn default() -> Self {
        let (questions, waiting) = mpsc::channel(WAITING_MAX);
        Self { questions, waiting: Mutex::new(Some(waiting)) }
    }
}

impl IntrospectionDesk {
    /// Asks a provider. How long that may take is bounded by who answers.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, provider: Arc<ProviderPlan>, form: Secret<Vec<u8>>) -> Result<Answered, IntrospectionFailure> {
        let (answer, answered) = oneshot::channel();
        let question = IntrospectionQuestion { provider, form, since: Instant::now(), answer };
        self.questions.try_send(question).map_err(|_| IntrospectionFailure::Busy)?;
        answered.await.unwrap_or(Err(IntrospectionFailure::Unavailable))
    }

    /// What waits for answers; for the one who gives them.
    #[must_use]
    pub fn attend(&self) -> Option<mpsc::Receiver<IntrospectionQuestion>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
