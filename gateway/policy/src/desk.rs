//! Where policies ask providers, and control answers: workers open no connections but to upstreams of routes.

use crate::{Answered, ExchangePlan, ProviderPlan};
use portcullis_model::Secret;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How many questions may wait to be taken up.
const WAITING_MAX: usize = 256;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeskFailure {
    /// The provider does not give what was asked for, and says so.
    Refused,
    /// The provider cannot be asked, or did not answer in time or as it should; the operator is told more.
    Unavailable,
    /// Too many questions are open.
    Busy,
}

impl fmt::Display for DeskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the provider refuses what it was asked for",
            Self::Unavailable => "the provider cannot be asked about the token",
            Self::Busy => "too many questions about tokens are open",
        })
    }
}

/// A question.
#[derive(Debug)]
pub struct Question<P> {
    /// Whom to ask and how, as it was configured for whoever asks.
    pub plan: Arc<P>,
    /// The form, without the gateway's credentials.
    pub form: Secret<Vec<u8>>,
    /// Since when somebody waits.
    pub since: Instant,
    /// Who waits for the answer.
    pub answer: oneshot::Sender<Result<Answered, DeskFailure>>,
}

/// The desk for questions of one kind.
pub struct Desk<P> {
    questions: mpsc::Sender<Question<P>>,
    waiting: Mutex<Option<mpsc::Receiver<Question<P>>>>,
}

/// Where it is asked what tokens are (RFC 7662).
pub type IntrospectionDesk = Desk<ProviderPlan>;
/// Where tokens are exchanged (RFC 8693).
pub type ExchangeDesk = Desk<ExchangePlan>;

impl<P> Default for Desk<P> {
    fn default() -> Self {
        let (questions, waiting) = mpsc::channel(WAITING_MAX);
        Self { questions, waiting: Mutex::new(Some(waiting)) }
    }
}

impl<P> Desk<P> {
    /// Asks a provider. How long that may take is bounded by who answers.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, plan: Arc<P>, form: Secret<Vec<u8>>) -> Result<Answered, DeskFailure> {
        let (answer, answered) = oneshot::channel();
        let question = Question { plan, form, since: Instant::now(), answer };
        self.questions.try_send(question).map_err(|_| DeskFailure::Busy)?;
        answered.await.unwrap_or(Err(DeskFailure::Unavailable))
    }

    /// What waits for answers; for the one who gives them.
    #[must_use]
    pub fn attend(&self) -> Option<mpsc::Receiver<Question<P>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
