//! Why bytes were refused.

use portcullis_model::{Reason, Rejection};

/// Bytes that were refused: why, and what exactly, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireError {
    /// Why.
    pub reason: Reason,
    /// What exactly; never contains input.
    pub detail: &'static str,
}

impl WireError {
    pub(crate) const fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail }
    }
}

impl From<WireError> for Rejection {
    fn from(error: WireError) -> Self {
        Self::new(error.reason, error.detail)
    }
}
