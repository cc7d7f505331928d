//! Checks of `consumers`.

use super::Checker;
use super::identity::Identity;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::settings::{CallerName, ConsumerMatch, ConsumerSettings, Part};
use portcullis_gateway_policy::{AuthenticatePlan, ConsumerFits, ConsumerPlan};
use portcullis_model::UsagePlan;
use portcullis_model_settings::{Name, Spanned, nearest};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How many there may be.
const CONSUMERS_MAX: usize = 20_000;

/// Whom lines of `allow` may name: by name, who vouches for them; nothing where that is wrong.
pub(super) struct ConsumerNames<'f>(BTreeMap<&'f str, Option<&'f str>>);

/// The names of all consumers.
pub(super) fn names<'f>(merged: &Merged<'f>, hasher: &mut DigestHasher) -> ConsumerNames<'f> {
    let one = |part: &'f Part<ConsumerSettings>| {
        let fits = part.value.as_ref().map(|settings| &settings.fits);
        let caller = |fits: &'f ConsumerMatch| fits.api_key.as_ref().or(fits.certificate.as_ref()).or(fits.signature.as_ref());
        let provider = fits.and_then(|fits| fits.provider.as_deref().map(|name| &**name));
        (&*part.name.value, provider.or_else(|| fits.and_then(caller).map(|caller| &*caller.provider)))
    };
    let names: BTreeMap<&str, Option<&str>> = merged.consumers.iter().copied().map(one).collect();
    for (name, provider) in &names {
        hasher.text(name);
        hasher.text(provider.unwrap_or_default());
    }
    ConsumerNames(names)
}

impl ConsumerNames<'_> {
    /// Checks that somebody could be this consumer on an API.
    pub(super) fn check_named(
        &self,
        name: &Spanned<Name>,
        plan: &AuthenticatePlan,
        path: &dyn Fn() -> String,
        checker: &mut Checker<'_>,
    ) {
        match self.0.get(&***name) {
            None => {
                let near = nearest(name, self.0.keys().copied());
                let help = near.map_or_else(|| "add it to `consumers`".to_owned(), |near| format!("did you mean `{near}`"));
                checker.error(name, path(), format!("there is no consumer `{}`", &***name), help);
            }
            Some(Some(provider)) if !plan.any_of.iter().any(|known| **known == **provider) => {
                let help = format!("name a consumer whom one of `any_of` vouches for, or add `{provider}` there");
                checker.error(name, path(), format!("nobody who calls this API is the consumer `{}`", &***name), help);
            }
            Some(_) => {}
        }
    }
}

/// Who is who. Nobody may be two, and everybody must be somebody that there can be.
pub(super) fn check(
    identity: &Identity<'_>,
    merged: &Merged<'_>,
    known: &BTreeMap<&str, Option<Arc<UsagePlan>>>,
    checker: &mut Checker<'_>,
) -> Vec<Arc<ConsumerPlan>> {
    let mut seen: HashMap<ConsumerFits, &str> = HashMap::new();
    let mut claims: HashMap<Arc<str>, (Arc<str>, &str)> = HashMap::new();
    let mut plans = Vec::new();
    for part in &merged.consumers {
        let name = &*part.name.value;
        let Some(settings) = &part.value else { continue };
        let plan = settings.plan.as_ref().and_then(|plan| plan_of(part, plan, known, checker));
        let Some(fits) = fits(part, &settings.fits, identity, checker) else { continue };
        if let ConsumerFits::Claim { provider, claim, .. } = &fits {
            let (first, of) = claims.entry(Arc::clone(provider)).or_insert_with(|| (Arc::clone(claim), name));
            if first != claim {
                let help = format!("use one claim for all: `{of}` is told by `{first}`");
                let what = format!("a token of `{provider}` could be of two consumers, since they are told by different claims");
                checker.error(&part.name, path(part, "/claim"), what, help);
            }
        }
        if let Some(first) = seen.insert(fits.clone(), name) {
            let help = format!("keep one of the two; the other is `{first}`");
            checker.error(&part.name, path(part, ""), "two consumers are the same callers", help);
        }
        plans.push(Arc::new(ConsumerPlan { name: part.name.shared(), fits, plan }));
    }
    if let Some(part) = merged.consumers.get(CONSUMERS_MAX) {
        checker.error(&part.name, "/consumers", format!("more than {CONSUMERS_MAX} consumers"), "join some of them");
    }
    plans
}

fn plan_of(
    part: &Part<ConsumerSettings>,
    plan: &Spanned<Name>,
    known: &BTreeMap<&str, Option<Arc<UsagePlan>>>,
    checker: &mut Checker<'_>,
) -> Option<Arc<UsagePlan>> {
    let found = known.get(&***plan);
    if found.is_none() {
        let path = format!("/consumers/{}/plan", &*part.name.value);
        let near = nearest(plan, known.keys().copied());
        let help = near.map_or_else(|| "add it to `plans`".to_owned(), |near| format!("did you mean `{near}`"));
        checker.error(plan, path, format!("there is no plan `{}`", &***plan), help);
    }
    found.cloned().flatten()
}

fn path(part: &Part<ConsumerSettings>, end: &str) -> String {
    format!("/consumers/{}/match{end}", &*part.name.value)
}

fn fits(
    part: &Part<ConsumerSettings>,
    written: &ConsumerMatch,
    identity: &Identity<'_>,
    checker: &mut Checker<'_>,
) -> Option<ConsumerFits> {
    match (&written.provider, &written.claim, &written.api_key, &written.certificate, &written.signature) {
        (Some(provider), Some(claim), None, None, None) => {
            if !identity.has_provider(provider) {
                let help = "add it to `identity.providers`; sessions of browsers cannot be told apart so far";
                let what = format!("there is no provider `{}`", &***provider);
                checker.error(provider, path(part, "/provider"), what, help);
                return None;
            }
            let (claim, value) = (claim.claim.as_str().into(), Arc::clone(&claim.text));
            Some(ConsumerFits::Claim { provider: provider.shared(), claim, value })
        }
        (None, None, Some(key), None, None) => {
            let is_known = identity.has_store(&key.provider);
            known(part, key, is_known, "/api_key", "`identity.api_keys` has no such store", checker)
        }
        (None, None, None, Some(client), None) => {
            let is_known = identity.has_client(&client.provider, &client.name);
            let what = "no client of `identity.client_certificates` has this name";
            known(part, client, is_known, "/certificate", what, checker)
        }
        (None, None, None, None, Some(sender)) => {
            let is_known = identity.has_signer(&sender.provider, &sender.name);
            let what = "no key of `identity.signatures` is of this caller";
            known(part, sender, is_known, "/signature", what, checker)
        }
        _ => {
            let help = "write `provider` with `claim`, or `api_key`, `certificate` or `signature`";
            checker.error(&part.name, path(part, ""), "it is not said in exactly one way who this is", help);
            None
        }
    }
}

fn known(
    part: &Part<ConsumerSettings>,
    caller: &Spanned<CallerName>,
    is_known: bool,
    end: &str,
    what: &str,
    checker: &mut Checker<'_>,
) -> Option<ConsumerFits> {
    if !is_known {
        checker.error(caller, path(part, end), what, "nobody could ever be this consumer: correct the name, or add it there");
        return None;
    }
    Some(ConsumerFits::Caller { provider: Arc::clone(&caller.provider), name: Arc::clone(&caller.name) })
}
