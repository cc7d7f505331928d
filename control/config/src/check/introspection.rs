//! Checks of `identity.providers.*.introspection`.

use super::Checker;
use super::identity::check_upstream;
use crate::merge::Merged;
use crate::settings::{AcceptName, AskedTokens, HealthPath, IntrospectionSettings, Part, ProviderSettings};
use portcullis_gateway_policy::{IntrospectionPlan, ProviderPlan, SecretSource};
use portcullis_model_settings::{Name, SecretRef, Spanned};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn is_asked(settings: &ProviderSettings) -> bool {
    settings.accept.0.iter().any(|(_, name)| *name == AcceptName::Introspection)
}

/// What is said about asking a provider.
pub(super) fn check(part: &Part<ProviderSettings>, settings: &ProviderSettings, merged: &Merged<'_>, checker: &mut Checker<'_>) {
    let path = format!("/identity/providers/{}", &*part.name.value);
    let written: &Spanned<IntrospectionSettings> = match (&settings.introspection, is_asked(settings)) {
        (None, false) => return,
        (None, true) => {
            let help = "add `introspection: { client_id: …, client_secret: … }`, or leave it out of `accept`";
            let what = "`accept` has `introspection`, and nothing is said about how the provider is asked";
            return checker.error(&part.name, format!("{path}/accept"), what, help);
        }
        (Some(written), false) => {
            let help = "add `introspection` to `accept`, or remove it here";
            let what = "it says how the provider is asked about tokens, and `accept` does not have `introspection`";
            return checker.error(written, format!("{path}/introspection"), what, help);
        }
        (Some(written), true) => written,
    };
    if let Some(upstream) = &written.upstream {
        check_upstream(upstream, &format!("{path}/introspection/upstream"), "providers are asked", merged, checker);
    }
    if settings.keys.discover.is_none() && (written.upstream.is_none() || written.path.is_none()) {
        let help = "add `upstream` and `path`, or find them with `keys: { discover: { upstream: … } }`";
        let what = "nothing is said about where the provider is asked";
        checker.error(written, format!("{path}/introspection"), what, help);
    }
}

/// How a provider is asked, if it is.
pub(super) fn plan(settings: &ProviderSettings, folder: &Path) -> Option<IntrospectionPlan> {
    let written = settings.introspection.as_ref().filter(|_| is_asked(settings))?;
    let discovered = settings.keys.discover.as_ref().map(|discover| discover.upstream.shared());
    Some(IntrospectionPlan {
        // Where neither is written that is an error already.
        upstream: written.upstream.as_ref().map(|upstream| upstream.shared()).or(discovered).unwrap_or_default(),
        path: written.path.as_ref().map(HealthPath::shared),
        client_id: Arc::clone(&written.client_id.0),
        client_secret: match &written.client_secret.value {
            SecretRef::Env(name) => SecretSource::Env(name.clone()),
            SecretRef::File(file) => SecretSource::File(file.resolve(folder)),
        },
        asks_all: written.tokens == AskedTokens::All,
        cache: written.cache,
        negative_cache: written.negative_cache,
        deadline: written.deadline,
    })
}

/// Checks that an API asks one provider at the most: a token that says nothing of its provider would be shown to the wrong one.
pub(super) fn check_api(
    providers: &BTreeMap<&str, Option<Arc<ProviderPlan>>>,
    api: &str,
    any_of: &[(u32, Spanned<Name>)],
    checker: &mut Checker<'_>,
) {
    let mut first: Option<&Spanned<Name>> = None;
    for (at, name) in any_of {
        let is_asked =
            providers.get(&*name.value).is_some_and(|plan| plan.as_ref().is_some_and(|plan| plan.introspection.is_some()));
        match (is_asked, first) {
            (false, _) => {}
            (true, None) => first = Some(name),
            (true, Some(first)) => {
                let what =
                    format!("`{}` and `{}` are both asked about tokens: nobody could say which of them", &***first, &***name);
                checker.error(name, format!("/apis/{api}/authenticate/any_of/{at}"), what, "keep one of the two");
            }
        }
    }
}
