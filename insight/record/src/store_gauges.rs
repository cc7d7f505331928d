//! Metrics of the store that several nodes share.

use crate::exposition::Text;

/// The store that several nodes share, told at each scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreGauges {
    /// Whether it answers.
    pub is_reachable: bool,
    /// How long ago everything in it was known here, milliseconds; nothing while it never was.
    pub age_millis: Option<u64>,
    /// How often it was lost or could not be reached.
    pub failures: u64,
    /// Lines in it that were not understood.
    pub garbage: u64,
}

pub(crate) fn store_gauges(text: &mut Text, store: Option<&StoreGauges>) {
    let Some(store) = store else { return };
    text.single("portcullis_store_reachable", "gauge", "1 while the shared store answers.", u64::from(store.is_reachable));
    text.family("portcullis_store_age_seconds", "gauge", "How old what is known of other nodes is.");
    if let Some(millis) = store.age_millis {
        text.push(format_args!("portcullis_store_age_seconds {}\n", millis as f64 / 1e3));
    }
    text.single(
        "portcullis_store_failures_total",
        "counter",
        "How often the shared store was lost or not reached.",
        store.failures,
    );
    text.single("portcullis_store_garbage_total", "counter", "Lines in the shared store that were not understood.", store.garbage);
}
