//! Checks of `identity.signers`, and of what APIs say their upstreams get as credentials.

use super::Checker;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::plan::ApiPlan;
use crate::settings::{
    ApiSettings, AuthenticateSettings, ClientCredentialsSettings, ExchangeSettings, Numbered, Part, SignSettings, SignerSettings,
    Word,
};
use portcullis_gateway_policy::{
    ClientTokenPlan, Credentials, CredentialsPlan, ExchangePlan, KeySource, ProviderPlan, SecretSource, SignPlan, SignerPlan,
};
use portcullis_model_settings::{Name, SecretRef, Spanned, nearest};
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
    // Only where each is written counts.
    let at = |position, width| Spanned { value: (), position, width };
    let said = [
        ("sign", written.sign.as_ref().map(|one| at(one.position, one.width))),
        ("client_credentials", written.client_credentials.as_ref().map(|one| at(one.position, one.width))),
        ("exchange", written.exchange.as_ref().map(|one| at(one.position, one.width))),
    ];
    let said: Vec<_> = said.into_iter().filter_map(|(name, at)| at.map(|at| (name, at))).collect();
    match &*said {
        [] => {
            let help = "write `sign: { signer: …, audience: … }`, `client_credentials: { provider: …, … }` or `exchange: { provider: …, … }`, or remove \
                        `credentials`";
            checker.error(written, path, "nothing is said about what the upstream gets", help);
            return None;
        }
        [_] => {}
        [(first, _), (second, at), ..] => {
            let what = format!("`{first}` and `{second}` both say what the upstream gets");
            checker.error(at, format!("{path}/{second}"), what, "keep one of the two");
            return None;
        }
    }
    if let Some(client) = &written.client_credentials {
        return client_plan(providers, client, &path, checker).map(CredentialsPlan::ClientCredentials).map(Arc::new);
    }
    if let Some(exchange) = &written.exchange {
        let plan = exchange_plan(providers, exchange, asks, &path, checker)?;
        return Some(Arc::new(CredentialsPlan::Exchange(Arc::new(plan))));
    }
    let sign = written.sign.as_ref()?;
    if asks.is_none() {
        let help = "add `authenticate: { any_of: […], audiences: […] }`, or remove `credentials`";
        checker.error(sign, format!("{path}/sign"), "the API does not say how it is found out who is calling", help);
    }
    sign_plan(signers, sign, &path, checker).map(CredentialsPlan::Sign).map(Arc::new)
}

/// The provider that is asked for a token.
fn provider_of(
    providers: &Providers<'_>,
    written: &Spanned<Name>,
    path: String,
    checker: &mut Checker<'_>,
) -> Option<Arc<ProviderPlan>> {
    let Some(provider) = providers.get(&***written) else {
        let help = match nearest(written, providers.keys().copied()) {
            Some(meant) => format!("did you mean `{meant}`"),
            None => "add it to `identity.providers`".to_owned(),
        };
        checker.error(written, path, format!("there is no provider `{}`", &***written), help);
        return None;
    };
    let provider = provider.clone()?;
    if !matches!(provider.keys, KeySource::Discover(_)) {
        let what = format!("the provider `{}` is not asked where it gives tokens: its keys come from a file", provider.name);
        let help = format!("write `identity.providers.{}.keys: {{ discover: {{ upstream: … }} }}`", provider.name);
        checker.error(written, path, what, help);
    }
    Some(provider)
}

fn secret_source(written: &Spanned<SecretRef>, checker: &Checker<'_>) -> SecretSource {
    match &written.value {
        SecretRef::Env(name) => SecretSource::Env(name.clone()),
        SecretRef::File(file) => SecretSource::File(file.resolve(checker.folder)),
    }
}

fn scopes_of(written: Option<&Numbered<Word>>) -> Vec<Arc<str>> {
    written.iter().flat_map(|scopes| &scopes.0).map(|(_, scope)| Arc::clone(&scope.0)).collect()
}

fn client_plan(
    providers: &Providers<'_>,
    client: &Spanned<ClientCredentialsSettings>,
    path: &str,
    checker: &mut Checker<'_>,
) -> Option<ClientTokenPlan> {
    let path = format!("{path}/client_credentials/provider");
    Some(ClientTokenPlan {
        provider: provider_of(providers, &client.provider, path, checker)?,
        client_id: Arc::clone(&client.client_id.0),
        client_secret: secret_source(&client.client_secret, checker),
        scopes: scopes_of(client.scopes.as_ref()),
        resource: client.resource.clone(),
    })
}

fn exchange_plan(
    providers: &Providers<'_>,
    exchange: &Spanned<ExchangeSettings>,
    asks: Option<&Spanned<AuthenticateSettings>>,
    path: &str,
    checker: &mut Checker<'_>,
) -> Option<ExchangePlan> {
    let path = format!("{path}/exchange");
    let provider = provider_of(providers, &exchange.provider, format!("{path}/provider"), checker)?;
    // SECURITY: a token of another provider is none of this one's business, and whoever is known by something else has none.
    let is_sole = asks.is_some_and(|asks| asks.any_of.0.iter().all(|(_, name)| ***name == *provider.name));
    if !is_sole {
        let what = format!(
            "callers of the API may show something else than a token of `{}`, which alone is exchanged there",
            provider.name
        );
        let help =
            format!("write `authenticate: {{ any_of: [{}], audiences: […] }}`, and the rest in an API of its own", provider.name);
        checker.error(&exchange.provider, format!("{path}/provider"), what, help);
    }
    if exchange.audience.is_none() && exchange.resource.is_none() {
        let help = "add `audience` (what the upstream is called at the provider) or `resource` (its URI)";
        checker.error(exchange, path, "it is not said for whom the token is to be", help);
    }
    Some(ExchangePlan {
        provider,
        client_id: Arc::clone(&exchange.client_id.0),
        client_secret: secret_source(&exchange.client_secret, checker),
        audience: exchange.audience.clone(),
        resource: exchange.resource.clone(),
        scopes: scopes_of(exchange.scopes.as_ref()),
        deadline: exchange.deadline,
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
