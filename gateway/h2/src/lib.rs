//! One stream of HTTP/2 as both sides of the gateway have it: a body that comes, a body that goes, fields and trailers.
//!
//! Whoever holds a stream knows what it is for; here is only what does not depend on whether a client or an upstream is at its other end
//! ([why](../../../docs/decisions/0016-gateway-h2.md)).

mod convert;
mod incoming;
mod outgoing;

pub use convert::{FIELD_EXTRA, fields, write_fields};
pub use incoming::Incoming;
pub use outgoing::{Outgoing, Put, ROOM_BYTES};

use std::io;

/// The other side is gone, or does not want to go on.
fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
