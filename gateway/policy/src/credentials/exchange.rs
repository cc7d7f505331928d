//! A caller's token that becomes one for the upstream: what control has decided.

use crate::{ProviderPlan, SecretSource};
use std::sync::Arc;
use std::time::Duration;

/// How a caller's token becomes one for the upstream (RFC 8693).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangePlan {
    /// The provider of both tokens, and the only one whose tokens the API takes.
    pub provider: Arc<ProviderPlan>,
    /// What the gateway is called there.
    pub client_id: Arc<str>,
    /// Where its secret is.
    pub client_secret: SecretSource,
    /// For whom the token is to be, by the provider's naming.
    pub audience: Option<Arc<str>>,
    /// For what it is to be (RFC 8707).
    pub resource: Option<Arc<str>>,
    /// The scopes that are asked for.
    pub scopes: Vec<Arc<str>>,
    /// How long an answer may take.
    pub deadline: Duration,
}
