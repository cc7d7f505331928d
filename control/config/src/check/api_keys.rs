//! Checks of `identity.api_keys`.

use super::Checker;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::settings::{ApiKeysSettings, Part};
use portcullis_gateway_policy::KeyStorePlan;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Those that are named, also those that are wrong.
pub(super) type KeyStores<'f> = BTreeMap<&'f str, Option<Arc<KeyStorePlan>>>;

/// What the configuration says of stores of API keys.
pub(super) fn check<'f>(merged: &Merged<'f>, hasher: &mut DigestHasher, checker: &mut Checker<'_>) -> KeyStores<'f> {
    let parts: &[Part<ApiKeysSettings>] = merged.identity.map_or(&[], |identity| &identity.api_keys.0);
    let (mut named, mut files) = (BTreeMap::new(), BTreeMap::<PathBuf, &str>::new());
    for part in parts {
        hasher.text(&part.name);
        hasher.text(&part.digest.to_string());
        let plan = part.value.as_ref().map(|settings| {
            let file = settings.store.file.resolve(checker.folder);
            if let Some(first) = files.insert(file.clone(), &part.name.value) {
                let path = format!("/identity/api_keys/{}/store/file", &*part.name.value);
                let help =
                    format!("give each a file of its own, or keep one of the two: a key must not be two callers; see `{first}`");
                checker.error(&part.name, path, "two stores have the same file", help);
            }
            let (name, header) = (part.name.shared(), Arc::clone(&settings.header.0));
            Arc::new(KeyStorePlan { name, header, file, idle_after: settings.idle_after })
        });
        named.insert(&*part.name.value, plan);
    }
    named
}
