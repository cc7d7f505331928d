//! Checks of `identity.signatures`.

use super::Checker;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::settings::{Part, SignatureAlgorithmName, SignatureFormName, SignatureKeySettings, SignaturesSettings};
use portcullis_gateway_policy::{SignatureKeyPlan, SignaturesPlan};
use portcullis_model_settings::{Decode, Name, Spanned};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How many keys one list may have: of webhooks each may have to be tried.
const KEYS_MAX: usize = 32;

/// Those that are named, also those that are wrong.
pub(super) type Signatures<'f> = BTreeMap<&'f str, Option<Arc<SignaturesPlan>>>;

/// What the configuration says of senders that sign.
pub(super) fn check<'f>(merged: &Merged<'f>, hasher: &mut DigestHasher, checker: &mut Checker<'_>) -> Signatures<'f> {
    let parts: &[Part<SignaturesSettings>] = merged.identity.map_or(&[], |identity| &identity.signatures.0);
    let mut named = BTreeMap::new();
    for part in parts {
        hasher.text(&part.name);
        hasher.text(&part.digest.to_string());
        let plan = part.value.as_ref().map(|settings| {
            Arc::new(SignaturesPlan {
                name: part.name.shared(),
                form: settings.form.form(),
                covers: covers(part, settings, checker),
                tag: settings.tag.as_ref().map(|tag| Arc::clone(&tag.value.0)),
                keys: keys(part, settings, checker),
                age_max: settings.age_max.as_secs(),
                leeway: settings.leeway.as_secs(),
            })
        });
        named.insert(&*part.name.value, plan);
    }
    named
}

/// What must be signed where it is there, when nothing is said: what a body is read as.
const COVERS: [&str; 2] = ["content-type", "content-encoding"];

fn covers(part: &Part<SignaturesSettings>, settings: &SignaturesSettings, checker: &mut Checker<'_>) -> Vec<Arc<str>> {
    if settings.form == SignatureFormName::StandardWebhooks {
        for (key, is_there) in [("covers", settings.covers.is_some()), ("tag", settings.tag.is_some())] {
            if is_there {
                let what = format!("`{key}` means nothing to webhooks, of which id, time and body are signed");
                let path = format!("/identity/signatures/{}/{key}", &*part.name.value);
                checker.error(&part.name, path, what, "remove it, or write `form: rfc9421`");
            }
        }
        return Vec::new();
    }
    match &settings.covers {
        Some(fields) => fields.iter().map(|field| Arc::clone(&field.value.0)).collect(),
        None => COVERS.map(Arc::from).to_vec(),
    }
}

fn keys(part: &Part<SignaturesSettings>, settings: &SignaturesSettings, checker: &mut Checker<'_>) -> Vec<SignatureKeyPlan> {
    let path = |end: &str| format!("/identity/signatures/{}/keys{end}", &*part.name.value);
    let (mut ids, mut files) = (BTreeMap::<&str, u32>::new(), BTreeMap::<PathBuf, u32>::new());
    let mut plans = Vec::new();
    if settings.keys.0.is_empty() {
        checker.error(&part.name, path(""), "there is no key, so that nobody could ever sign", "add one, or remove the list");
    }
    if let Some((_, key)) = settings.keys.0.get(KEYS_MAX) {
        let help = "make another list of them, for another API";
        checker.error(key, path(""), format!("more than {KEYS_MAX} keys"), help);
    }
    for (at, key) in &settings.keys.0 {
        let (id, file) = (&*key.id.value.0, key.file.resolve(checker.folder));
        if let Some(first) = ids.insert(id, *at) {
            let help = format!("give each an id of its own; the other is number {}", first + 1);
            checker.error(&key.id, path(&format!("/{at}/id")), format!("two keys have the id `{id}`"), help);
        }
        if let Some(first) = files.insert(file.clone(), *at) {
            let help = format!("keep one of the two, a key must not be two; the other is number {}", first + 1);
            checker.error(key, path(&format!("/{at}/file")), "two keys have the same file", help);
        }
        check_algorithm(settings.form, key, &|| path(&format!("/{at}/algorithm")), checker);
        let texts = |words: &[Spanned<_>]| words.iter().map(|word: &Spanned<crate::settings::Word>| Arc::clone(&word.0)).collect();
        plans.push(SignatureKeyPlan {
            id: Arc::clone(&key.id.value.0),
            algorithm: key.algorithm.algorithm(),
            file,
            caller: Arc::clone(key.caller.as_ref().map_or(&key.id.value.0, |caller| &caller.0)),
            roles: texts(&key.roles),
            scopes: texts(&key.scopes),
        });
    }
    plans
}

fn check_algorithm(form: SignatureFormName, key: &SignatureKeySettings, path: &dyn Fn() -> String, checker: &mut Checker<'_>) {
    let is_known = match form {
        SignatureFormName::StandardWebhooks => {
            matches!(key.algorithm.value, SignatureAlgorithmName::HmacSha256 | SignatureAlgorithmName::Ed25519)
        }
        SignatureFormName::Rfc9421 => true,
    };
    if !is_known {
        let what = format!("no {} is signed with {}", quoted(form), quoted(key.algorithm.value));
        checker.error(&key.algorithm, path(), what, "write `hmac-sha256`, or `ed25519`");
    }
}

/// Checks that of an API's lists no two could judge one request.
pub(super) fn check_api(named: &Signatures<'_>, api: &str, any_of: &[(u32, Spanned<Name>)], checker: &mut Checker<'_>) {
    let mut seen = Vec::new();
    for (at, name) in any_of {
        let Some(Some(plan)) = named.get(&*name.value) else { continue };
        if seen.contains(&plan.form) {
            let what = format!("another list of keys judges {} already", quoted(SignatureFormName::of(plan.form)));
            let help = "put the keys of both into one list";
            checker.error(name, format!("/apis/{api}/authenticate/any_of/{at}"), what, help);
        }
        seen.push(plan.form);
    }
}

/// A word of the configuration, to be told.
fn quoted(word: impl Decode) -> String {
    format!("`{}`", word.encode().as_str().unwrap_or_default())
}
