//! Asking a provider about tokens (RFC 7662): what control has decided, and who waits with whom.

mod flights;

pub use flights::Flights;

use crate::SecretSource;
use std::sync::Arc;
use std::time::Duration;

/// How a provider is asked about tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntrospectionPlan {
    /// The upstream that is asked.
    pub upstream: Arc<str>,
    /// The path there; nothing where the provider says it itself.
    pub path: Option<Arc<str>>,
    /// What the gateway is called there.
    pub client_id: Arc<str>,
    /// Where its secret is.
    pub client_secret: SecretSource,
    /// Whether it is asked about all of its tokens, also about those that could be verified here.
    pub asks_all: bool,
    /// How long a good answer is believed at the most.
    pub cache: Duration,
    /// How long a bad one is.
    pub negative_cache: Duration,
    /// How long an answer may take.
    pub deadline: Duration,
}
