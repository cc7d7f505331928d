//! Upstreams: their endpoints, the connections to them, and the one place where a client's request goes out.
//!
//! Nothing but a [`portcullis_gateway_policy::Cleared`] exchange is written to an upstream.

mod balance;
mod breaker;
mod budget;
mod connect;
mod connection;
mod endpoint;
mod errand;
mod fetch;
mod forward;
mod gate;
mod grpc_health;
mod h2;
mod health;
mod kept;
mod latency;
mod outlier;
mod pool;
mod retry;
mod ring;
mod room;
mod set;
mod tls;
mod upstream;
mod wheel;

pub use balance::{Balance, Chance, Chosen, HashKey, Passed, choose};
pub use breaker::{Breaker, BreakerSettings, Passage};
pub use budget::RetryBudget;
pub use connection::UpstreamConnection;
pub use endpoint::{Endpoint, EndpointPlace, EndpointSpec, EndpointState};
pub use errand::{Errand, ErrandFailure, Line};
pub use fetch::{Fetch, FetchFailure, PostedForm};
pub use forward::{checkout, put_request};
pub use gate::{Gate, GateSettings, Turn};
pub use h2::NoHead;
pub use health::{HealthJudge, HealthSettings};
pub use kept::{Asked, Begun, Heard, KeptConnection};
pub use outlier::OutlierSettings;
pub use pool::Pools;
pub use portcullis_engines_fairness as fairness;
pub use retry::{Failure, Tries};
pub use room::Room;
pub use set::{ENDPOINTS_MAX, EndpointSet};
pub use tls::{ClientCertificateFiles, EndpointTls, UpstreamTls};
pub use upstream::{
    Origin, Outcome, RetrySettings, Timeouts, Upstream, UpstreamCounts, UpstreamProtocol, UpstreamSettings, UpstreamState,
};
pub use wheel::Wheel;
