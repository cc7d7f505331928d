//! The codec from outside: rows A and B of the threats as far as they are about reading, and what holds for any input.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests say what went wrong by a panic")]

mod body;
mod framing;
mod hygiene;
mod lines;
mod properties;
mod proxy_protocol;
mod reading;
mod response;
mod target;
mod upgrade;
