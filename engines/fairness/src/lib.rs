//! How many requests an upstream gets at once, and whose turn it is when more want to.
//!
//! [`Concurrency`] finds the number from how long answers take: beyond what an upstream can do at once, more requests only make all of them wait
//! there, in an order that knows nobody. So they wait here, in a [`Queue`] that is fair by weight among those who ask (start-time fair queueing,
//! Goyal et al. 1996), shares the turns of three classes, and lets go of what has waited for too long behind others of the same flow.
//!
//! No clock, no I/O, no lock: time comes from the caller, in microseconds of a clock that does not go back.

mod concurrency;
mod queue;

pub use concurrency::{Baseline, Concurrency, Settings};
pub use queue::{CLASS_SHARES, Class, Flow, Full, Queue, Taken, Ticket, WEIGHT_MAX};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
