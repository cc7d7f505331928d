//! May they, where roles and scopes cannot say it: policies in Cedar over who is calling, the operation, its path and query, the client's
//! address and the time.
//!
//! Policies are read and checked against a [`Schema`] made from the configuration when that is loaded. Of those, each operation keeps
//! only what can apply to it ([`Bucket`]), so that a decision costs what its own policies cost, however many there are in all.

mod decide;
mod parse;
mod schema;

pub use decide::{Answer, Bucket, Caller, Question};
pub use parse::{Fault, Mention, POLICIES_MAX, Policies, TEXT_BYTES_MAX};
pub use schema::{Kind, Operation, Schema};

#[cfg(test)]
mod tests;
