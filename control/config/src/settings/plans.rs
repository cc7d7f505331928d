//! `plans`: what consumers may use.

use portcullis_model_settings::{RequestRate, Spanned, section};

section! {
    /// What each consumer of a plan may use, where a limit says `use: plan`.
    pub struct PlanSettings {
        /// How many requests, such as `500/s`.
        pub rate: Spanned<RequestRate>,
        /// How many may come at once; as many as the rate has in a second, and at least 1, when absent.
        pub burst: Option<u32>,
    }
}
