//! Names of upstreams, resolved again and again, beside the way of requests: workers never resolve.
//!
//! A name's answer holds for its TTL, within bounds. A failed attempt keeps the last good answer, for a bounded time. What an answer may
//! never make reachable is in [`forbidden`].

mod ask;
mod keeper;
mod names;
mod reach;
mod state;

pub use names::{Follower, Known, NameFacts, Names, Report};
pub use reach::forbidden;
pub use state::Counts;
