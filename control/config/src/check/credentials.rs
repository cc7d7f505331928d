//! Checks of `identity.signers`, and of what APIs say their upstreams get as credentials.

use super::Checker;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::plan::ApiPlan;
use crate::settings::{ApiSettings, ClientCredentialsSettings, Part, SignSettings, SignerSettings};
use portcullis_gateway_policy::{
    ClientTokenPlan, Credentials, CredentialsPlan, KeySource, ProviderPlan, SecretSource, SignPlan, SignerPlan,
};
use portcullis_model_settings::{SecretRef, Spanned, nearest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Those that are named, also those that are wrong.
pub(super) type Signers<'f> = BTreeMap<&'f str, Option<Arc<SignerPlan>>>;

/// The providers, likewise.
type Providers<'f> = BTreeMap<&'f str, Option<Arc<ProviderPlan>>>;

/// What the configuration says of signers.
pub(super) fn check<'f>(merged: &Merged<'f>, hasher: &mut DigestHasher, checker: &mut Checker<'_>) -> Signers<'f> {
    let parts: &[Part<SignerSettings>] = merged.identity.map_or(&[], |identity| &identity.signers.0);
    let (mut named, mut issuers) = (BTreeMap::new(), BTreeMap::<&str, &Spanned<_>>::new());
    for part in parts {
        hasher.text(&part.name);
        hasher.text(&part.digest.to_string());
        let plan = part.value.as_ref().map(|settings| {
            if let Some(first) = issuers.insert(&settings.issuer.text, &settings.issuer) {
                let help = format!("give it another, or keep one of the two; the first is in {}", checker.place(first.position));
                let path = format!("/identity/signers/{}/issuer", &*part.name.value);
                checker.error(&settings.issuer, path, "two signers have the same issuer", help);
            }
            Arc::new(SignerPlan {
                name: part.name.shared(),
                issuer: Arc::clone(&settings.issuer.text),
                host: Arc::clone(&settings.issuer.host),
                keys: settings.keys.file.resolve(checker.folder),
            })
        });
        named.insert(&*part.name.value, plan);
    }
    named
}

/// What the upstream of an API gets, if the API says.
pub(super) fn check_api(
    signers: &Signers<'_>,
    providers: &Providers<'_>,
    api: &str,
    settings: &ApiSettings,
    checker: &mut Checker<'_>,
) -> Option<Arc<CredentialsPlan>> {
    let written = settings.credentials.as_ref()?;
    let path = format!("/apis/{api}/credentials");
    let asks = settings.authenticate.as_ref();
    if asks.is_some_and(|asks| asks.credentials.decided() == Credentials::Pass) {
        let what = "`authenticate.credentials: pass` says that the upstream gets the client's token, and here it gets another";
        checker.error(written, path.clone(), what, "keep one of the two");
    }
    let sign = match (&written.sign, &written.client_credentials) {
        (Some(_), Some(client)) => {
            let what = "`sign` and `client_credentials` both say what the upstream gets";
            checker.error(client, format!("{path}/client_credentials"), what, "keep one of the two");
            return None;
        }
        (None, Some(client)) => {
            return client_plan(providers, client, &path, checker).map(CredentialsPlan::ClientCredentials).map(Arc::new);
        }
        (None, None) => {
            let help =
                "write `sign: { signer: …, audience: … }` or `client_credentials: { provider: …, … }`, or remove `credentials`";
            checker.error(written, path, "nothing is said about what the upstream gets", help);
            return None;
        }
        (Some(sign), None) => sign,
    };
    if asks.is_none() {
        let help = "add `authenticate: { any_of: […], audiences: […] }`, or remove `credentials`";
        checker.error(sign, format!("{path}/sign"), "the API does not say how it is found out who is calling", help);
    }
    sign_plan(signers, sign, &path, checker).map(CredentialsPlan::Sign).map(Arc::new)
}

fn client_plan(
    providers: &Providers<'_>,
    client: &Spanned<ClientCredentialsSettings>,
    path: &str,
    checker: &mut Checker<'_>,
) -> Option<ClientTokenPlan> {
    let path = format!("{path}/client_credentials/provider");
    let Some(provider) = providers.get(&**client.provider) else {
        let help = match nearest(&client.provider, providers.keys().copied()) {
            Some(meant) => format!("did you mean `{meant}`"),
            None => "add it to `identity.providers`".to_owned(),
        };
        checker.error(&client.provider, path, format!("there is no provider `{}`", &**client.provider), help);
        return None;
    };
    let provider = provider.clone()?;
    if !matches!(provider.keys, KeySource::Discover(_)) {
        let what = format!("the provider `{}` is not asked where it gives tokens: its keys come from a file", provider.name);
        let help = format!("write `identity.providers.{}.keys: {{ discover: {{ upstream: … }} }}`", provider.name);
        checker.error(&client.provider, path, what, help);
    }
    Some(ClientTokenPlan {
        provider,
        client_id: Arc::clone(&client.client_id.0),
        client_secret: match &client.client_secret.value {
            SecretRef::Env(name) => SecretSource::Env(name.clone()),
            SecretRef::File(file) => SecretSource::File(file.resolve(checker.folder)),
        },
        scopes: client.scopes.iter().flat_map(|scopes| &scopes.0).map(|(_, scope)| Arc::clone(&scope.0)).collect(),
        resource: client.resource.clone(),
    })
}

fn sign_plan(signers: &Signers<'_>, sign: &Spanned<SignSettings>, path: &str, checker: &mut Checker<'_>) -> Option<SignPlan> {
    let Some(signer) = signers.get(&**sign.signer) else {
        let help = match nearest(&sign.signer, signers.keys().copied()) {
            Some(meant) => format!("did you mean `{meant}`"),
            None => "add it to `identity.signers`".to_owned(),
        };
        let what = format!("there is no signer `{}`", &**sign.signer);
        checker.error(&sign.signer, format!("{path}/sign/signer"), what, help);
        return None;
    };
    Some(SignPlan { signer: signer.clone()?, audience: Arc::clone(&sign.audience), life: sign.life })
}

/// Where keys are published nothing else may be.
pub(super) fn check_routes(signers: &Signers<'_>, apis: &[Arc<ApiPlan>], merged: &Merged<'_>, checker: &mut Checker<'_>) {
    for plan in signers.values().flatten() {
        for api in apis.iter().filter(|api| api.hosts.contains(&plan.host)) {
            let Some(route) = api.routes.iter().find(|route| *route.path == *SignerPlan::PATH) else { continue };
            if let Some(part) = merged.apis.iter().find(|part| *part.name.value == *api.name) {
                let what = format!("the route `{}` lies where the keys of the signer `{}` are published", route.name, plan.name);
                checker.error(&part.name, format!("/apis/{}", api.name), what, "choose another path, or another issuer");
            }
        }
    }
}
