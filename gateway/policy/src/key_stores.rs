//! API keys: where they are shown, and where it is known whose they are.

use std::path::PathBuf;
use std::sync::Arc;

/// A store of API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStorePlan {
    /// The name, which stands where a provider's does.
    pub name: Arc<str>,
    /// The header field that a key is shown in, in lower case.
    pub header: Arc<str>,
    /// The file that knows the keys.
    pub file: PathBuf,
}
