//! Checks of `identity.signers`, and of what APIs say their upstreams get as credentials.

use super::Checker;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::plan::ApiPlan;
use crate::settings::{ApiSettings, Part, SignSettings, SignerSettings};
use portcullis_gateway_policy::{Credentials, CredentialsPlan, SignPlan, SignerPlan};
use portcullis_model_settings::{Spanned, nearest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Those that are named, also those that are wrong.
pub(super) type Signers<'f> = BTreeMap<&'f str, Option<Arc<SignerPlan>>>;

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
    let Some(sign) = &written.sign else {
        let help = "write `sign: { signer: …, audience: … }`, or remove `credentials`";
        checker.error(written, path, "nothing is said about what the upstream gets", help);
        return None;
    };
    if asks.is_none() {
        let help = "add `authenticate: { any_of: […], audiences: […] }`, or remove `credentials`";
        checker.error(sign, format!("{path}/sign"), "the API does not say how it is found out who is calling", help);
    }
    sign_plan(signers, sign, &path, checker).map(CredentialsPlan::Sign).map(Arc::new)
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
