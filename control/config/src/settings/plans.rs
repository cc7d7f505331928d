//! `plans`: what consumers may use.

use portcullis_model_settings::{RequestRate, Spanned, section};

section! {
    /// What each consumer of a plan may use, where a limit says `use: plan`.
    pub struct PlanSettings {
        /// How many requests, such as `500/s`.
        pub rate: Spanned<RequestRate>,
        /// How many may come at once; as many as the rate has in a second, and at least 1, when absent.
        pub burst: Option<u32>,
        /// How many turns a consumer of this plan has where another has one, when an upstream with `concurrency` has more to do than it can.
        pub weight: u32 where (1, 1000) = 1,
    }
}
