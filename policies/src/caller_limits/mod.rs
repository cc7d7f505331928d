//! The part of [`limits`](crate::limits) that counts by caller.
//!
//! Guards against: one caller that takes what is there for all, from however many addresses. Runs in *limit*, when it is known who is calling and
//! before it is decided whether they may: what a caller is refused counts too. Written under `limits` with `per: principal`.

mod policy;
#[cfg(test)]
mod tests;

pub use policy::compile;
