//! What is charged when the caller is known.

pub use crate::limits::compile_by_caller as compile;
