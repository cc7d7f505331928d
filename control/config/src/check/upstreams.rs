//! Checks of `upstreams`.

use super::{Checker, listeners};
use crate::merge::Merged;
use crate::plan::{ListenerPlan, ManagementPlan, UpstreamPlan, UpstreamTlsPlan};
use crate::settings::{EndpointUrl, Part, ServerName, UpstreamSettings};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

/// Checks every upstream.
pub(super) fn check(
    parts: &[&Part<UpstreamSettings>],
    own: &[Arc<ListenerPlan>],
    management: &ManagementPlan,
    checker: &mut Checker<'_>,
) -> Vec<Arc<UpstreamPlan>> {
    let mut plans = Vec::new();
    for part in parts {
        let Some(settings) = &part.value else { continue };
        let path = format!("/upstreams/{}", &*part.name.value);
        check_endpoints(settings, own, management, &path, checker);
        let danger_plaintext = settings.danger_plaintext.as_ref().map(|danger| {
            let path = format!("{path}/danger_plaintext");
            if !settings.endpoints.0.iter().any(|(_, endpoint)| exposes(&endpoint.url)) {
                let what = "every endpoint is on this machine or reached by TLS, so nothing is weakened";
                checker.warning(danger, path.clone(), what, "remove `danger_plaintext`");
            }
            checker.danger(danger, path)
        });
        let tls = check_tls(settings, &path, checker);
        if settings.timeouts.total.is_some_and(|total| settings.timeouts.first_byte > total) {
            let what = "`first_byte` is longer than `total`, so it never ends first";
            checker.error(&part.name, format!("{path}/timeouts/first_byte"), what, "lower `first_byte`, or raise `total`");
        }
        plans.push(Arc::new(UpstreamPlan {
            name: part.name.shared(),
            endpoints: settings.endpoints.0.iter().map(|(_, endpoint)| endpoint.url.value.clone()).collect(),
            protocol: settings.protocol,
            tls,
            danger_plaintext,
            timeouts: settings.timeouts.clone(),
            limits: settings.limits.clone(),
            concurrency: settings.concurrency.clone(),
            weights: settings.endpoints.0.iter().map(|(_, endpoint)| endpoint.weight).collect(),
            care: super::care::check(&part.name, settings, &path, checker),
            digest: part.digest,
        }));
    }
    plans
}

fn is_here(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether requests to it leave this machine without encryption.
fn exposes(url: &EndpointUrl) -> bool {
    !url.is_secure && !url.host.address().is_some_and(is_here)
}

fn check_tls(settings: &UpstreamSettings, path: &str, checker: &mut Checker<'_>) -> UpstreamTlsPlan {
    let Some(tls) = &settings.tls else { return UpstreamTlsPlan::default() };
    if !settings.endpoints.0.iter().any(|(_, endpoint)| endpoint.url.is_secure) {
        let what = "no endpoint of this upstream is reached by TLS, so nothing would be verified";
        checker.error(tls, format!("{path}/tls"), what, "write `https://` in its URLs, or remove `tls`");
    }
    let own = tls.client_certificate.as_ref();
    UpstreamTlsPlan {
        trust: tls.trust.as_ref().map(|file| file.resolve(checker.folder)),
        server_name: tls.server_name.as_ref().map(ServerName::shared),
        client_certificate: own.map(|own| (own.certificate.resolve(checker.folder), own.key.resolve(checker.folder))),
    }
}

fn check_endpoints(
    settings: &UpstreamSettings,
    own: &[Arc<ListenerPlan>],
    management: &ManagementPlan,
    path: &str,
    checker: &mut Checker<'_>,
) {
    let mut seen = HashSet::new();
    for (at, endpoint) in &settings.endpoints.0 {
        let (url, host) = (&endpoint.url, &endpoint.url.host);
        let path = format!("{path}/endpoints/{at}/url");
        if !seen.insert(host) {
            checker.error(url, path.clone(), format!("the endpoint `{host}` is listed twice"), "remove one of the two");
        }
        if exposes(url) && settings.danger_plaintext.is_none() {
            let help = "write `https://`, or say `danger_plaintext` with reason, owner and expires in this upstream";
            checker.error(url, path.clone(), format!("requests to `{host}` would leave this machine without encryption"), help);
        }
        let Some(address) = host.address() else { continue };
        // SECURITY: a route to the gateway's own probes would publish them (CVE-2020-13945 and its like).
        if management.probes.is_some_and(|probes| listeners::collide(probes, address)) {
            let help = "name the address of another program";
            checker.error(url, path.clone(), format!("`{address}` is the address of `management.probes`"), help);
        }
        let is_own = |listener: &&Arc<ListenerPlan>| {
            listener.address == address || (is_here(address) && listeners::collide(listener.address, address))
        };
        if let Some(listener) = own.iter().find(is_own) {
            let what = format!("`{address}` is the gateway's own listener `{}`, so requests would go in circles", listener.name);
            checker.error(url, path, what, "name the address of another program");
        }
    }
}

/// Warns about upstreams that nothing goes to.
pub(super) fn check_use(merged: &Merged<'_>, checker: &mut Checker<'_>) {
    if merged.apis.iter().any(|part| part.value.is_none()) {
        return;
    }
    let apis = merged.apis.iter().filter_map(|part| part.value.as_ref());
    let mut used: HashSet<&str> = apis.flat_map(|api| api.destinations().map(|(name, _)| &***name)).collect();
    let providers = merged.identity.iter().flat_map(|identity| &identity.providers.0).filter_map(|part| part.value.as_ref());
    used.extend(providers.filter_map(|provider| provider.keys.discover.as_ref()).map(|discover| &**discover.upstream));
    for part in merged.upstreams.iter().filter(|part| !used.contains(&*part.name.value)) {
        let name = &*part.name.value;
        checker.warning(
            &part.name,
            format!("/upstreams/{name}"),
            format!("nothing goes to the upstream `{name}`"),
            "remove it, or name it in an API",
        );
    }
}
