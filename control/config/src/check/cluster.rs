//! Checks of `cluster`, and of what needs it.

use super::Checker;
use crate::digest::Digest;
use crate::merge::Merged;
use crate::plan::StorePlan;
use crate::settings::{AccessSettings, AllowedSettings, StoreSettings};
use portcullis_gateway_policy::SecretSource;
use portcullis_model_settings::{Decode, SecretRef, Spanned};
use std::sync::Arc;

/// The store that nodes share, if there is one.
pub(super) fn check(merged: &Merged<'_>, checker: &mut Checker<'_>) -> Option<Arc<StorePlan>> {
    let store = merged.cluster.and_then(|cluster| cluster.store.as_ref());
    if merged.cluster.is_none() {
        check_fresh(merged, checker);
    } else if store.is_none() {
        checker.error_at_top("`cluster` names no store", "add `store: { redis: rediss://… }` to it, or remove it");
    }
    store.map(|store| Arc::new(plan(store, checker)))
}

fn plan(store: &Spanned<StoreSettings>, checker: &mut Checker<'_>) -> StorePlan {
    let path = |end: &str| format!("/cluster/store/{end}");
    let url = &store.redis;
    let danger_plaintext = store.danger_plaintext.as_ref().map(|danger| {
        if !url.exposes() {
            let what = "the store is on this machine or reached by TLS, so nothing is weakened";
            checker.warning(danger, path("danger_plaintext"), what, "remove `danger_plaintext`");
        }
        checker.danger(danger, path("danger_plaintext"))
    });
    if url.exposes() && danger_plaintext.is_none() {
        let what = format!("what nodes share would leave this machine without encryption, to `{}`", url.host);
        let help = "write `rediss://`, or say `danger_plaintext` with reason, owner and expires";
        checker.error(url, path("redis"), what, help);
    }
    if let (Some(trust), false) = (&store.trust, url.is_secure) {
        let what = "the store is not reached by TLS, so nothing would be verified";
        checker.error(trust, path("trust"), what, "write `rediss://`, or remove `trust`");
    }
    if let (Some(_), None) = (&store.user, &store.password) {
        checker.error(url, path("password"), "a user without a password", "add `password: file:…` or `env:…`, or remove `user`");
    }
    StorePlan {
        url: url.value.clone(),
        user: store.user.as_ref().map(|user| Arc::clone(&user.0)),
        password: store.password.as_ref().map(|password| match &password.value {
            SecretRef::Env(name) => SecretSource::Env(name.clone()),
            SecretRef::File(file) => SecretSource::File(file.resolve(checker.folder)),
        }),
        trust: store.trust.as_ref().map(|file| file.resolve(checker.folder)),
        prefix: Arc::clone(&store.prefix.0),
        stale_max: store.stale_max,
        danger_plaintext,
        digest: Digest::of(store.encode().to_string().as_bytes()),
    }
}

/// Without a store nothing of other nodes is ever known.
fn check_fresh(merged: &Merged<'_>, checker: &mut Checker<'_>) {
    for part in &merged.apis {
        let Some(settings) = &part.value else { continue };
        for (at, route) in &settings.routes.0 {
            let AccessSettings::Allow(AllowedSettings { fresh: Some(fresh), .. }) = &route.access else { continue };
            let path = format!("/apis/{}/routes/{at}/access/fresh", &*part.name.value);
            let what = "there is no store from which it could be known what other nodes have revoked";
            checker.error(fresh, path, what, "add `cluster: { store: { redis: rediss://… } }`, or remove `fresh`");
        }
    }
}
