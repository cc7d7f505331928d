//! Consumers: whom limits apply to.

use portcullis_model::UsagePlan;
use std::sync::Arc;

/// A consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerPlan {
    /// The name.
    pub name: Arc<str>,
    /// Who it is.
    pub fits: ConsumerFits,
    /// The plan, if it has one.
    pub plan: Option<Arc<UsagePlan>>,
}

/// Who is a consumer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerFits {
    /// Whoever has this name where they are listed: in a store of API keys, or among clients with certificates.
    Caller {
        /// Where.
        provider: Arc<str>,
        /// The name.
        name: Arc<str>,
    },
    /// Whoever has a token with this text in a claim.
    Claim {
        /// The provider of the token.
        provider: Arc<str>,
        /// The claim, as it is written.
        claim: Arc<str>,
        /// The text.
        value: Arc<str>,
    },
}

impl ConsumerFits {
    /// Who vouches for its callers: a provider, a store of keys, or a list.
    #[must_use]
    pub fn provider(&self) -> &str {
        match self {
            Self::Caller { provider, .. } | Self::Claim { provider, .. } => provider,
        }
    }
}
