//! Checks of `listeners`.

use super::Checker;
use crate::merge::Merged;
use crate::plan::{CertificatePlan, ClientCertificatePlan, ListenerMode, ListenerPlan, TlsPlan};
use crate::settings::{
    ClientCertificateMode, ClientCertificateSettings, Host, ListenerLimits, ListenerProtocol, ListenerSettings, Part, StaleList,
    TlsSettings,
};
use portcullis_gateway_policy::ConnectionRate;
use portcullis_model_settings::{Decode, IpNetwork, Spanned};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Checks every listener.
pub(super) fn check(parts: &[&Part<ListenerSettings>], checker: &mut Checker<'_>) -> Vec<Arc<ListenerPlan>> {
    let mut plans: Vec<Arc<ListenerPlan>> = Vec::new();
    for part in parts {
        let Some(settings) = &part.value else { continue };
        let path = format!("/listeners/{}", &*part.name.value);
        for other in plans.iter().filter(|other| collide(other.address, settings.address.value)) {
            let what = format!("the listener `{}` has the same address", other.name);
            checker.error(&settings.address, format!("{path}/address"), what, "give one of them another address or port");
        }
        let protocols = check_protocols(settings, &part.name, &path, checker);
        check_limits(&settings.limits, &part.name, &path, checker);
        let Some(mode) = check_mode(settings, &part.name, &path, checker) else { continue };
        plans.push(Arc::new(ListenerPlan {
            name: part.name.shared(),
            address: settings.address.value,
            protocols,
            mode,
            limits: settings.limits.clone(),
            balancers: check_proxy_protocol(settings, &path, checker),
            digest: part.digest,
        }));
    }
    plans
}

/// How many files of revocation lists a listener can have.
const CRL_MAX: usize = 64;
/// How many balancers a listener can have; each connection is compared with them.
const BALANCERS_MAX: usize = 256;

fn check_proxy_protocol(settings: &ListenerSettings, path: &str, checker: &mut Checker<'_>) -> Vec<IpNetwork> {
    let Some(proxy_protocol) = &settings.proxy_protocol else { return Vec::new() };
    let path = format!("{path}/proxy_protocol/from");
    if proxy_protocol.from.is_empty() {
        let help = "list the addresses of your balancers, or remove `proxy_protocol`";
        checker.error(proxy_protocol, path, "nobody is listed, so no header would be read", help);
        return Vec::new();
    }
    for (at, network) in proxy_protocol.from.iter().enumerate() {
        let path = format!("{path}/{at}");
        if network.prefix_len() == 0 {
            let help = "list the addresses of your own balancers; whoever is listed can claim any address";
            checker.error(network, path, format!("`{}` believes everybody", network.value), help);
        } else if at == BALANCERS_MAX {
            checker.error(network, path, format!("more than {BALANCERS_MAX} balancers"), "join neighbours into networks");
        }
    }
    proxy_protocol.from.iter().map(|network| network.value).collect()
}

/// Whether both cannot be bound at the same time. Port 0 takes any free port.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn check_protocols<T>(
    settings: &ListenerSettings,
    name: &Spanned<T>,
    path: &str,
    checker: &mut Checker<'_>,
) -> Vec<ListenerProtocol> {
    let path = format!("{path}/protocols");
    let secured = settings.tls.is_some();
    let Some(protocols) = &settings.protocols else {
        let all = vec![ListenerProtocol::Http1, ListenerProtocol::Http2];
        return if secured { all } else { vec![ListenerProtocol::Http1] };
    };
    let mut seen = HashSet::new();
    if protocols.is_empty() {
        checker.error(name, path, "the listener speaks no protocol", "write `protocols: [h1]`");
    } else if !protocols.iter().all(|protocol| seen.insert(*protocol)) {
        checker.error(name, path, "a protocol is listed twice", "remove one of the two");
    } else if seen.contains(&ListenerProtocol::Http2) && !secured {
        checker.error(name, path, "`h2` is only spoken over TLS", "write `protocols: [h1]`, or add `tls` with a certificate");
    }
    protocols.clone()
}

fn check_limits<T>(limits: &ListenerLimits, name: &Spanned<T>, path: &str, checker: &mut Checker<'_>) {
    if limits.connections_per_client > limits.connections {
        let what = format!(
            "one client may have {} connections, but all together only {}",
            limits.connections_per_client, limits.connections
        );
        checker.error(
            name,
            format!("{path}/limits/connections_per_client"),
            what,
            "lower `connections_per_client`, or raise `connections`",
        );
    }
    let rate = limits.connection_rate_per_client;
    if ConnectionRate::new(rate.count(), rate.period_nanos(), limits.connections_per_client).is_none() {
        let what = "this rate cannot be counted: it is none, more than one in a nanosecond, or so low that what may come at once takes 100 \
                    days to come back";
        let help = "write at least `1/m` and at most `1000000/s`";
        checker.error(name, format!("{path}/limits/connection_rate_per_client"), what, help);
    }
    if limits.uri_bytes_max > limits.headers_bytes_max {
        let what = format!("a target of {} does not fit into a head of {}", limits.uri_bytes_max, limits.headers_bytes_max);
        checker.error(name, format!("{path}/limits/uri_bytes_max"), what, "lower `uri_bytes_max`, or raise `headers_bytes_max`");
    }
}

fn check_mode<T>(settings: &ListenerSettings, name: &Spanned<T>, path: &str, checker: &mut Checker<'_>) -> Option<ListenerMode> {
    let redirect = settings.redirect_to_https.as_ref();
    if let Some(redirect) = redirect.filter(|redirect| !redirect.value) {
        checker.error(redirect, format!("{path}/redirect_to_https"), "`redirect_to_https: false` says nothing", "remove it");
        return None;
    }
    match (&settings.tls, redirect, &settings.danger_plaintext) {
        (Some(tls), None, None) => Some(ListenerMode::Tls(check_tls(tls, path, checker))),
        (None, Some(_), None) => Some(ListenerMode::RedirectToHttps),
        (None, None, Some(danger)) => {
            Some(ListenerMode::DangerPlaintext(checker.danger(danger, format!("{path}/danger_plaintext"))))
        }
        (None, None, None) => {
            let help = "add `tls` with a certificate; a listener without encryption can only say `redirect_to_https: true`, \
                        or `danger_plaintext` with reason, owner and expires";
            checker.error(name, path, "the listener does not encrypt", help);
            None
        }
        _ => {
            let help = "keep the one that is meant";
            checker.error(name, path, "only one of `tls`, `redirect_to_https` and `danger_plaintext` can be", help);
            None
        }
    }
}

fn check_tls(tls: &TlsSettings, path: &str, checker: &mut Checker<'_>) -> TlsPlan {
    let mut seen: HashMap<Host, u32> = HashMap::new();
    let mut certificates = Vec::new();
    for (at, certificate) in &tls.certificates.0 {
        for (host_at, host) in &certificate.hosts.0 {
            let host_path = format!("{path}/tls/certificates/{at}/hosts/{host_at}");
            let shown = host.encode();
            if host.is_any() {
                let help = "write the names it holds; clients that send no name get the first certificate";
                checker.error(host, host_path, "a certificate is for names, not for every host", help);
            } else if let Some(first) = seen.insert(host.value.clone(), *at) {
                let help = "leave the host with one of them";
                checker.error(
                    host,
                    host_path,
                    format!("the host `{}` is also served by certificate {first}", shown.as_str().unwrap_or_default()),
                    help,
                );
            }
        }
        certificates.push(CertificatePlan {
            hosts: certificate.hosts.0.iter().map(|(_, host)| host.shared()).collect(),
            certificate: certificate.files.certificate.resolve(checker.folder),
            key: certificate.files.key.resolve(checker.folder),
        });
    }
    let client_certificates = tls.client_certificates.as_ref().and_then(|clients| check_clients(clients, path, checker));
    TlsPlan { certificates, version_min: tls.versions.min, client_certificates }
}

fn check_clients(
    clients: &Spanned<ClientCertificateSettings>,
    path: &str,
    checker: &mut Checker<'_>,
) -> Option<ClientCertificatePlan> {
    let path = format!("{path}/tls/client_certificates");
    if clients.mode == ClientCertificateMode::Off {
        if clients.trust.is_some() || clients.revocation.is_some() {
            let help = "write `mode: optional` or `mode: required`, or remove what belongs to them";
            checker.error(clients, path, "with `mode: off` no certificate is asked for, so nothing here is used", help);
        }
        return None;
    }
    let Some(trust) = &clients.trust else {
        let help = "add `trust`: a file with the certificates of your own authorities, PEM";
        checker.error(clients, path, "`trust` is missing, so no certificate could be taken", help);
        return None;
    };
    let revocation = clients.revocation.as_ref();
    if let Some(revocation) = revocation.filter(|revocation| revocation.crl.0.len() > CRL_MAX) {
        let path = format!("{path}/revocation/crl");
        checker.error(revocation, path, format!("more than {CRL_MAX} files"), "join lists in PEM into one file");
    }
    let crl = revocation.into_iter().flat_map(|revocation| &revocation.crl.0).map(|(_, file)| file.resolve(checker.folder));
    Some(ClientCertificatePlan {
        is_required: clients.mode == ClientCertificateMode::Required,
        trust: trust.resolve(checker.folder),
        crl: crl.collect(),
        stale: revocation.map_or(StaleList::Refuse, |revocation| revocation.stale),
    })
}

/// Whether what is served can be reached at all, and under a certificate that holds its name.
pub(super) fn check_reach(merged: &Merged<'_>, checker: &mut Checker<'_>) {
    let listeners: Vec<&ListenerSettings> = merged.listeners.iter().filter_map(|part| part.value.as_deref()).collect();
    let all_decoded = listeners.len() == merged.listeners.len();
    let only_redirects = |listener: &&ListenerSettings| {
        listener.redirect_to_https.as_ref().is_some_and(|redirect| redirect.value)
            && listener.tls.is_none()
            && listener.danger_plaintext.is_none()
    };
    let serves = !listeners.iter().all(only_redirects);
    if let Some(first) = merged.apis.first().filter(|_| all_decoded && !listeners.is_empty() && !serves) {
        let path = format!("/apis/{}", &*first.name.value);
        checker.error(&first.name, path, "every listener only redirects, so no API could be reached", "add a listener with `tls`");
    }
    if !all_decoded || listeners.iter().any(|listener| listener.danger_plaintext.is_some()) {
        return;
    }
    let certificates = listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| &tls.certificates.0);
    let covered: HashSet<Arc<str>> =
        certificates.flat_map(|(_, certificate)| &certificate.hosts.0).map(|(_, host)| host.shared()).collect();
    for part in merged.apis.iter() {
        let Some(api) = &part.value else { continue };
        for (at, host) in api.hosts.0.iter().filter(|(_, host)| !is_covered(host, &covered)) {
            let path = format!("/apis/{}/hosts/{at}", &*part.name.value);
            let what = format!("no certificate is for the host `{}`", &*host.shared());
            checker.warning(host, path, what, "add the host to a certificate of a listener, or clients will be refused");
        }
    }
}

fn is_covered(host: &Host, covered: &HashSet<Arc<str>>) -> bool {
    let name = host.shared();
    // A client that asks for an address sends no server name and gets the first certificate.
    let is_address = name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok();
    let parent = || name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    host.is_any() || is_address || covered.contains(&name) || parent().is_some_and(|parent| covered.contains(&*parent))
}
