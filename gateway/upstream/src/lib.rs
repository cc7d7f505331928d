//! Upstreams: their endpoints, the connections to them, and the one place where a client's request goes out.
//!
//! Nothing but a [`portcullis_gateway_policy::Cleared`] exchange is written to an upstream.

mod connect;
mod connection;
mod endpoint;
mod forward;
mod pool;
mod set;
mod tls;
mod upstream;

pub use connection::UpstreamConnection;
pub use endpoint::{Endpoint, EndpointPlace, EndpointSpec, EndpointState};
pub use forward::{checkout, write_request_head};
pub use pool::Pools;
pub use set::EndpointSet;
pub use tls::{ClientCertificateFiles, EndpointTls, UpstreamTls};
pub use upstream::{Origin, Timeouts, Upstream, UpstreamSettings};
