//! What leaves a record: from decision records to the access log and to metrics.
//!
//! Workers never wait here. Counts are kept per worker by one writer each; records go over one bounded ring per worker to one
//! writing thread, and what does not fit is counted, not waited for.

mod calendar;
mod counters;
mod encode;
mod exposition;
mod file;
mod json;
mod labels;
mod name_gauges;
mod provider_gauges;
mod recorder;
mod series;
mod sink;
mod store_gauges;
mod summary;
mod upstream_gauges;
mod writer;

pub use exposition::{ExpiryGauge, Gauges, LockoutGauge, OverloadGauges};
pub use name_gauges::NameGauges;
pub use provider_gauges::{KeySetGauges, ProviderGauges};
pub use recorder::{AccessLog, LogStatus, RecordSettings, Recorder, Rotation};
pub use sink::SinkSeed;
pub use store_gauges::StoreGauges;
pub use upstream_gauges::{EndpointGauges, UpstreamGauges};

#[cfg(test)]
mod tests;
