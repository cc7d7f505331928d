//! What is known of the providers that the gateway asks, for who operates it.

use crate::asking;
use crate::introspection::KeptProvider;
use crate::key_sets;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What came of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// How often it went well.
    pub good: u64,
    /// How often it did not.
    pub failed: u64,
}

/// What is known of the key set of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySetFacts {
    /// What came of fetching it.
    pub fetches: Outcomes,
    /// How old the one in force is, in seconds; nothing when there is none.
    pub age_seconds: Option<u64>,
}

/// What is known of a provider that is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderFacts {
    /// Its name.
    pub provider: Arc<str>,
    /// Of its key set, where that is fetched.
    pub keys: Option<KeySetFacts>,
    /// What came of asking it about tokens, where it is asked.
    pub introspection: Option<Outcomes>,
}

/// The providers that the gateway asks.
#[derive(Clone)]
pub struct Providers {
    pub(crate) keys: Arc<key_sets::Shared>,
    pub(crate) asked: Arc<asking::Shared<KeptProvider>>,
}

impl Providers {
    /// What is known of each, by name.
    #[must_use]
    pub fn facts(&self, now_unix_seconds: u64) -> Vec<ProviderFacts> {
        let mut known: BTreeMap<Arc<str>, ProviderFacts> = BTreeMap::new();
        let fresh = |provider: &Arc<str>| ProviderFacts { provider: Arc::clone(provider), ..ProviderFacts::default() };
        for (provider, keys) in self.keys.facts(now_unix_seconds) {
            known.entry(Arc::clone(&provider)).or_insert_with(|| fresh(&provider)).keys = Some(keys);
        }
        for (provider, outcomes) in self.asked.facts() {
            known.entry(Arc::clone(&provider)).or_insert_with(|| fresh(&provider)).introspection = Some(outcomes);
        }
        known.into_values().collect()
    }
}
