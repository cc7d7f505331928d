//! Checks of `identity.client_certificates`.

use super::Checker;
use super::identity::asks_for_certificates;
use crate::digest::DigestHasher;
use crate::merge::Merged;
use crate::settings::{CertificateClientSettings, CertificatesSettings, Part};
use portcullis_gateway_policy::{CertificateClient, CertificateMatch, CertificatesPlan};
use portcullis_model_settings::Spanned;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// How many clients may be listed under one name.
const CLIENTS_MAX: usize = 10_000;
/// How many of them may stand for many: each is compared with each new certificate.
const PATTERNS_MAX: usize = 256;

/// Those that are named, also those that are wrong.
pub(super) type Certificates<'f> = BTreeMap<&'f str, Option<Arc<CertificatesPlan>>>;

/// What the configuration says of clients with certificates.
pub(super) fn check<'f>(merged: &Merged<'f>, hasher: &mut DigestHasher, checker: &mut Checker<'_>) -> Certificates<'f> {
    let parts: &[Part<CertificatesSettings>] = merged.identity.map_or(&[], |identity| &identity.client_certificates.0);
    let asked = asks_for_certificates(merged);
    let mut named = BTreeMap::new();
    for part in parts {
        hasher.text(&part.name);
        hasher.text(&part.digest.to_string());
        let path = format!("/identity/client_certificates/{}", &*part.name.value);
        if !asked {
            let help = "add `client_certificates` to the `tls` of a listener";
            checker.error(&part.name, path.clone(), "no listener asks its clients for certificates", help);
        }
        let plan = part.value.as_ref().map(|settings| Arc::new(plan(part, settings, &path, checker)));
        named.insert(&*part.name.value, plan);
    }
    named
}

fn plan(
    part: &Part<CertificatesSettings>,
    settings: &CertificatesSettings,
    path: &str,
    checker: &mut Checker<'_>,
) -> CertificatesPlan {
    if !settings.issuer.contains('=') || settings.issuer.len() > 512 {
        let help = "write it as in the record of such a client, `tls.client_certificate.issuer`: `CN=Machines,O=Example`";
        checker.error(&settings.issuer, format!("{path}/issuer"), "this is not the name of an authority", help);
    }
    let written = &settings.clients.0;
    let mut seen = HashSet::new();
    let mut clients = Vec::with_capacity(written.len().min(CLIENTS_MAX));
    for (at, client) in written.iter().take(CLIENTS_MAX) {
        let path = format!("{path}/clients/{at}");
        let Some(client_plan) = one(client, &path, checker) else { continue };
        if !seen.insert(client_plan.fits.clone()) {
            checker.error(client, path, "the same certificate is listed twice", "keep one of the two: the first that fits counts");
        }
        clients.push(client_plan);
    }
    let patterns = clients.iter().filter(|client| is_pattern(&client.fits)).count();
    if written.len() > CLIENTS_MAX || patterns > PATTERNS_MAX {
        let help = format!("at most {CLIENTS_MAX}, of which {PATTERNS_MAX} with `*`");
        checker.error(&part.name, format!("{path}/clients"), "there are too many clients", help);
    }
    CertificatesPlan { name: part.name.shared(), issuer: Arc::clone(&settings.issuer.value), clients }
}

fn is_pattern(fits: &CertificateMatch) -> bool {
    matches!(fits, CertificateMatch::DnsBelow(_) | CertificateMatch::UriBelow(_))
}

fn one(client: &Spanned<CertificateClientSettings>, path: &str, checker: &mut Checker<'_>) -> Option<CertificateClient> {
    let dns = client.dns.as_ref().map(|dns| dns.0.clone());
    let uri = client.uri.as_ref().map(|uri| uri.0.clone());
    let print = client.fingerprint.as_ref().map(|print| CertificateMatch::Fingerprint(print.0));
    let mut said = [dns, uri, print].into_iter().flatten();
    let (first, more) = (said.next(), said.next());
    let (Some(fits), None) = (first, more) else {
        let help = "write exactly one of `dns`, `uri` and `fingerprint`";
        checker.error(client, path.to_owned(), "it is not said by what alone the certificate is known", help);
        return None;
    };
    match (&client.name, &fits) {
        (Some(name), fits) if is_pattern(fits) => {
            let help = "leave `name` out: the name in each certificate tells who it is";
            checker.error(name, format!("{path}/name"), "one name would stand for many clients", help);
        }
        (None, CertificateMatch::Fingerprint(_)) => {
            let help = "add `name`: a fingerprint changes with each renewal and says nothing to who reads the record";
            checker.error(client, path.to_owned(), "it is not said who this is", help);
        }
        _ => {}
    }
    let texts = |words: &[Spanned<crate::settings::Word>]| words.iter().map(|word| Arc::clone(&word.0)).collect();
    let name = client.name.as_ref().map(|name| Arc::clone(&name.0));
    Some(CertificateClient { fits, name, roles: texts(&client.roles), scopes: texts(&client.scopes) })
}
