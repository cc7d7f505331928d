//! HTTP/2: what is between the `h2` crate and the way of a request. No type of that crate, or of `http`, leaves this folder.
//!
//! A connection is one task, which also polls its streams. Each stream runs the same steps as an HTTP/1 exchange, on an
//! [`Http2Stream`] in place of a connection.

mod budget;
mod convert;
mod driver;
mod metered;
mod stream;
mod turn;
mod websocket;

pub(crate) use driver::serve_http2;
pub(crate) use stream::Http2Stream;
pub(crate) use websocket::{add_key, answers_key, complete_handshake};
