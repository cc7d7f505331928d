//! Checks of `identity.logins`.

use super::Checker;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::plan::ApiPlan;
use crate::settings::{ApiSettings, LoginSettings, Part};
use portcullis_gateway_policy::{KeySource, LoginPlan, ProviderPlan, SecretSource};
use portcullis_model_settings::{Decode, Name, SecretRef, Spanned, nearest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Those that are named, also those that are wrong.
pub(super) type Logins<'f> = BTreeMap<&'f str, Option<Arc<LoginPlan>>>;

/// The providers, likewise.
type Providers<'f> = BTreeMap<&'f str, Option<Arc<ProviderPlan>>>;

/// What the configuration says of logins.
pub(super) fn check<'f>(
    merged: &Merged<'f>,
    providers: &Providers<'f>,
    hasher: &mut DigestHasher,
    checker: &mut Checker<'_>,
) -> Logins<'f> {
    let parts: &[Part<LoginSettings>] = merged.identity.map_or(&[], |identity| &identity.logins.0);
    let mut named = BTreeMap::new();
    for part in parts {
        hasher.text(&part.name);
        hasher.text(&part.digest.to_string());
        let plan = part.value.as_ref().and_then(|settings| plan(part, settings, providers, checker)).map(Arc::new);
        named.insert(&*part.name.value, plan);
    }
    named
}

fn plan(
    part: &Part<LoginSettings>,
    settings: &LoginSettings,
    providers: &Providers<'_>,
    checker: &mut Checker<'_>,
) -> Option<LoginPlan> {
    let path = format!("/identity/logins/{}", &*part.name.value);
    let scopes: Vec<&str> = settings.scopes.0.iter().map(|(_, scope)| &*scope.0).collect();
    if !scopes.contains(&"openid") {
        let what = "without the scope `openid` there is no ID token, and nobody is known by the login";
        checker.error(&part.name, format!("{path}/scopes"), what, "add `openid`");
    }
    if settings.idle > settings.lifetime {
        let help = "shorten `idle`, or lengthen `lifetime`";
        checker.error(&part.name, format!("{path}/idle"), "a session would end before it may be unused for so long", help);
    }
    let provider = match providers.get(&**settings.provider) {
        Some(provider) => provider.as_ref()?,
        None => {
            let help = match nearest(&settings.provider, providers.keys().copied()) {
                Some(meant) => format!("did you mean `{meant}`"),
                None => "add it to `identity.providers`".to_owned(),
            };
            let what = format!("there is no provider `{}`", &**settings.provider);
            checker.error(&settings.provider, format!("{path}/provider"), what, help);
            return None;
        }
    };
    if !matches!(provider.keys, KeySource::Discover(_)) {
        let what = format!("the provider `{}` is not asked where to log in: its keys come from a file", provider.name);
        let help = format!("write `identity.providers.{}.keys: {{ discover: {{ upstream: … }} }}`", provider.name);
        checker.error(&settings.provider, format!("{path}/provider"), what, help);
    }
    let client_secret = match &settings.client_secret.value {
        SecretRef::Env(name) => SecretSource::Env(name.clone()),
        SecretRef::File(file) => SecretSource::File(file.resolve(checker.folder)),
    };
    Some(LoginPlan {
        name: part.name.shared(),
        provider: Arc::clone(provider),
        client_id: Arc::clone(&settings.client_id.0),
        client_secret,
        origin: Arc::clone(&settings.origin.text),
        host: Arc::clone(&settings.origin.host),
        scopes: scopes.join(" ").into(),
        prompt: settings.prompt.and_then(|prompt| prompt.encode().as_str().map(Arc::from)),
        after_logout: settings.after_logout.as_ref().map(|path| path.shared()),
        idle: settings.idle,
        lifetime: settings.lifetime,
    })
}

/// What an API says that takes logins: it has one, and is served on its host alone.
pub(super) fn check_api(
    logins: &Logins<'_>,
    api: &str,
    settings: &ApiSettings,
    any_of: &[(u32, Spanned<Name>)],
    checker: &mut Checker<'_>,
) {
    let mut first: Option<&Spanned<Name>> = None;
    for (at, name) in any_of {
        let Some(Some(plan)) = logins.get(&*name.value) else { continue };
        let path = format!("/apis/{api}/authenticate/any_of/{at}");
        if let Some(first) = first {
            let what = format!("`{}` and `{}` are both logins: nobody could say where to send a browser", &***first, &***name);
            checker.error(name, path, what, "keep one of the two");
            continue;
        }
        first = Some(name);
        for (_, host) in settings.hosts.0.iter().filter(|(_, host)| *host.shared() != *plan.host) {
            let what = format!(
                "the login `{}` is for `{}` alone, and the API is also served on `{}`",
                plan.name,
                plan.host,
                host.shared()
            );
            let help = "serve the API on the host of the login alone; another host needs a login of its own";
            checker.error(name, path.clone(), what, help);
        }
    }
}

/// Paths of the gateway's own must not be anybody's else.
pub(super) fn check_routes(logins: &Logins<'_>, apis: &[Arc<ApiPlan>], merged: &Merged<'_>, checker: &mut Checker<'_>) {
    for plan in logins.values().flatten() {
        let below = format!("{}/", plan.path());
        for api in apis.iter().filter(|api| api.hosts.contains(&plan.host)) {
            let Some(route) = api.routes.iter().find(|route| route.path.starts_with(&below)) else { continue };
            let part = merged.apis.iter().find(|part| *part.name.value == *api.name);
            if let Some(part) = part {
                let what = format!("the route `{}` lies where the login `{}` has its own paths", route.name, plan.name);
                checker.error(
                    &part.name,
                    format!("/apis/{}", api.name),
                    what,
                    format!("choose a path that does not begin with `{below}`"),
                );
            }
        }
    }
}
