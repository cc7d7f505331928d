//! What a TLS listener offers: certificates by server name, protocols, tickets.

use super::certificates::{CertificateFiles, load};
use super::tickets::TicketKeys;
use portcullis_model::Clock;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

thread_local! {
    /// The server name of the handshake that this thread is just taking a step of. rustls asks for a certificate inside that step
    /// and does not tell the name afterwards on its unbuffered interface.
    static NAME_SEEN: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// Takes the server name that the last step of a handshake on this thread brought, if it brought one.
pub(super) fn take_name_seen() -> Option<Box<str>> {
    NAME_SEEN.with_borrow_mut(Option::take)
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldestVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Certificates by host, and the protocol's settings. Immutable; a change of certificates is another context.
#[derive(Debug)]
pub struct TlsContext {
    pub(super) config: Arc<ServerConfig>,
    names: Arc<Names>,
}

#[derive(Debug)]
struct Names {
    exact: HashMap<Box<str>, usize>,
    /// By what follows the first label, with its dot.
    wildcard: HashMap<Box<str>, usize>,
    keys: Vec<Arc<CertifiedKey>>,
}

/// Key exchange, post-quantum first, and cipher suites with forward secrecy and authenticated encryption only.
fn crypto() -> CryptoProvider {
    provider::default_provider()
}

impl TlsContext {
    /// Reads the certificates and makes a context.
    ///
    /// # Errors
    /// The first certificate that cannot serve: which file, why, and what to do.
    pub fn build(
        certificates: &[CertificateFiles],
        oldest: OldestVersion,
        tickets: &Arc<TicketKeys>,
        clock: &Clock,
    ) -> Result<Arc<Self>, String> {
        let crypto = Arc::new(crypto());
        let mut names = Names { exact: HashMap::new(), wildcard: HashMap::new(), keys: Vec::new() };
        for files in certificates {
            let index = names.keys.len();
            names.keys.push(Arc::new(load(files, &crypto, clock)?));
            for host in &files.hosts {
                let host = host.to_ascii_lowercase();
                match host.strip_prefix('*') {
                    Some(suffix) => names.wildcard.insert(suffix.into(), index),
                    None => names.exact.insert(host.into(), index),
                };
            }
        }
        let names = Arc::new(names);
        let versions: &[_] = match oldest {
            OldestVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            OldestVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(crypto)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&names) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = tickets.bound_to([0; 32]);
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Arc::new(Self { config: Arc::new(config), names }))
    }

    /// Whether `host` is served by the same certificate as the server name `name`; only then may a connection opened for the one
    /// carry requests for the other.
    #[must_use]
    pub fn covers_same(&self, name: &str, host: &str) -> bool {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        self.names.index(name).is_some_and(|index| self.names.index(host) == Some(index))
    }
}

impl Names {
    fn index(&self, name: &str) -> Option<usize> {
        if let Some(index) = self.exact.get(name) {
            return Some(*index);
        }
        let suffix = name.find('.').and_then(|dot| name.get(dot..))?;
        self.wildcard.get(suffix).copied()
    }
}

impl ResolvesServerCert for Names {
    /// The certificate for a name; without a name the first one; for a name that nobody listed none, and the handshake fails:
    /// another host's certificate, and with it another host's rules, are never given (threats B 45, E 115).
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = hello.server_name() else { return self.keys.first().cloned() };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let found = self.index(&name).and_then(|index| self.keys.get(index)).cloned();
        NAME_SEEN.set(Some(name.into()));
        found
    }
}
