//! Metrics of providers of identities.

use crate::exposition::{Text, escaped};

/// How many providers have series of their own: a bound for who scrapes.
const PROVIDERS_MAX: usize = 1000;

/// One provider that the gateway asks, told at each scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderGauges {
    /// Its name in the configuration.
    pub provider: String,
    /// Of its key set, where that is fetched.
    pub keys: Option<KeySetGauges>,
    /// How often it has answered about a token, and how often not, where it is asked.
    pub introspection: Option<(u64, u64)>,
}

/// A key set that is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySetGauges {
    /// How often it was fetched.
    pub fetched: u64,
    /// How often it could not be.
    pub failed: u64,
    /// How old the one in force is, in seconds; nothing when there is none.
    pub age_seconds: Option<u64>,
}

pub(crate) fn provider_gauges(text: &mut Text, providers: &[ProviderGauges]) {
    let shown = || providers.iter().take(PROVIDERS_MAX).map(|one| (escaped(&one.provider), one));
    text.family("portcullis_key_set_fetches_total", "counter", "What came of asking a provider for its keys.");
    for (provider, one) in shown() {
        for (outcome, count) in one.keys.iter().flat_map(|keys| [("fetched", keys.fetched), ("failed", keys.failed)]) {
            text.push(format_args!("portcullis_key_set_fetches_total{{provider=\"{provider}\",outcome=\"{outcome}\"}} {count}\n"));
        }
    }
    text.family("portcullis_key_set_age_seconds", "gauge", "How old the keys of a provider are that are in force.");
    for (provider, one) in shown() {
        if let Some(age) = one.keys.and_then(|keys| keys.age_seconds) {
            text.push(format_args!("portcullis_key_set_age_seconds{{provider=\"{provider}\"}} {age}\n"));
        }
    }
    text.family("portcullis_introspection_answers_total", "counter", "What came of asking a provider about tokens.");
    for (provider, one) in shown() {
        for (outcome, count) in
            one.introspection.iter().flat_map(|(answered, failed)| [("answered", *answered), ("failed", *failed)])
        {
            text.push(format_args!(
                "portcullis_introspection_answers_total{{provider=\"{provider}\",outcome=\"{outcome}\"}} {count}\n"
            ));
        }
    }
}
