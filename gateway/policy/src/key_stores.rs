//! API keys: where they are shown, and where it is known whose they are.

use crate::StatePool;
use crate::identity::digest_of;
use portcullis_engines_keys::KeyUses;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A store of API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStorePlan {
    /// The name, which stands where a provider's does.
    pub name: Arc<str>,
    /// The header field that a key is shown in, in lower case.
    pub header: Arc<str>,
    /// The file that knows the keys.
    pub file: PathBuf,
    /// How long a key may go unused before it is refused; nothing when for ever.
    pub idle_after: Option<Duration>,
}

impl KeyStorePlan {
    /// When its keys were used last: known by the file, whose keys stay the same under another name of the store.
    #[must_use]
    pub fn uses(&self, pool: &StatePool) -> Arc<KeyUses> {
        pool.state("key_uses", digest_of(&[self.file.as_os_str().as_bytes()]), KeyUses::default)
    }
}
