//! What the integration tests drive the real gateway with: processes, upstreams of every temper, raw sockets, certificates.
#![expect(clippy::expect_used, clippy::panic, reason = "for tests: to fail with a clear text is what it is for")]
#![expect(clippy::disallowed_methods, reason = "for tests: they wait for programs, by real time, and find them in the environment")]

mod certificates;
mod dns;
mod eventually;
mod gateway;
pub mod http2;
mod network;
mod node;
mod places;
mod process;
mod programs;
mod python;
mod raw;
mod redis;
mod response;
mod tokens;
mod upstream;

pub use certificates::{Authority, Leaf};
pub use dns::Dns;
pub use eventually::{PATIENCE, eventually, holds};
pub use gateway::{Gateway, Plain, binary};
pub use network::in_own_network;
pub use node::{NodeServer, run_node};
pub use places::{TempDir, free_port};
pub use process::{Guarded, output_of};
pub use programs::{Haproxy, Nginx};
pub use python::{PyServer, python, run_python, try_python};
pub use raw::{RawClient, ask, get};
pub use redis::Redis;
pub use response::Response;
pub use tokens::{SigningKey, base64url, claims, claims_at, key_set, unix_seconds};
pub use upstream::{UpstreamSide, Witness};
