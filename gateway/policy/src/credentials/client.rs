//! A token that the gateway has at a provider as a client of its own: renewed by control, looked at by policies.

use crate::{ProviderPlan, SecretSource, StateDigest, StatePool};
use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_model::Secret;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// How the gateway gets a token for an upstream (RFC 6749 section 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTokenPlan {
    /// The provider that gives it.
    pub provider: Arc<ProviderPlan>,
    /// What the gateway is called there.
    pub client_id: Arc<str>,
    /// Where its secret is.
    pub client_secret: SecretSource,
    /// The scopes that are asked for.
    pub scopes: Vec<Arc<str>>,
    /// What it is to be for (RFC 8707).
    pub resource: Option<Arc<str>>,
}

impl ClientTokenPlan {
    /// The token, which policies and control have by the same pool.
    #[must_use]
    pub fn live(&self, pool: &StatePool) -> Arc<LiveToken> {
        let mut bytes = StateDigest::default();
        let hash = digest(&SHA256, format!("{self:?}").as_bytes());
        bytes.iter_mut().zip(hash.as_ref()).for_each(|(slot, byte)| *slot = *byte);
        pool.state("credentials/client", bytes, LiveToken::default)
    }
}

/// A token that is there.
#[derive(Debug)]
pub struct HeldToken {
    /// As it stands in `Authorization`.
    pub field: Secret<Vec<u8>>,
    /// From when on it is worth nothing.
    pub ends: Instant,
}

/// The same, replaced by control; nothing as long as the provider has given none.
#[derive(Debug, Default)]
pub struct LiveToken {
    held: ArcSwapOption<HeldToken>,
    tried: AtomicBool,
}

impl LiveToken {
    /// The token, if it is still worth something.
    #[must_use]
    pub fn get(&self) -> Option<Arc<HeldToken>> {
        self.held.load_full().filter(|held| Instant::now() < held.ends)
    }

    /// Puts another in its place.
    pub fn replace(&self, held: HeldToken) {
        self.held.store(Some(Arc::new(held)));
    }

    /// Notes that the provider was asked, whatever came of it.
    pub fn note_tried(&self) {
        self.tried.store(true, Ordering::Release);
    }

    /// Whether the provider was ever asked.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }
}
