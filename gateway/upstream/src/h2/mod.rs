//! HTTP/2 to upstreams: what is between the `h2` crate and the rest of this package. No type of that crate, or of `http`, leaves this
//! folder.
//!
//! A connection is a task of the worker that opened it; an exchange has one of its streams ([`UpstreamStream`]).

mod ask;
mod connection;
mod convert;
mod metered;
mod pool;
mod stream;

pub(crate) use ask::{Question, ask};
pub(crate) use pool::{Opening, StreamPools};
pub use stream::NoHead;
pub(crate) use stream::UpstreamStream;
