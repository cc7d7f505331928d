//! What a TLS listener offers: certificates by server name, protocols, tickets.

use super::TlsStream;
use super::certificates::CertificateFiles;
use super::clients::{ClientCertificates, ClientTrust};
use super::tickets::TicketKeys;
use portcullis_gateway_tls::{Side, check_coverage, crypto, load_certificate};
use portcullis_model::{Clock, Reason};
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConnectionData, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::unbuffered::UnbufferedStatus;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    /// The server name of the handshake that this thread is just taking a step of. rustls asks for a certificate inside that step
    /// and does not tell the name afterwards on its unbuffered interface.
    static NAME_SEEN: RefCell<Option<NameSeen>> = const { RefCell::new(None) };
}

/// The alert unrecognized_name (RFC 6066 section 3) as a record. It answers the first message, so it is not encrypted.
const UNRECOGNISED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A server name that a client asked for.
struct NameSeen {
    /// Lower case, without the dot of the root.
    name: Box<str>,
    /// Whether there is a certificate for it.
    is_served: bool,
}

/// Takes the server name that the last step of a handshake on this thread brought, if it brought one.
fn take_name_seen() -> Option<NameSeen> {
    NAME_SEEN.with_borrow_mut(Option::take)
}

/// What tickets are bound to where no certificates of clients are asked for, and so nobody's trust can be withdrawn.
const NO_CLIENT_TRUST: [u8; 32] = [0; 32];

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
    pub(super) clients: Option<ClientTrust>,
    names: Arc<Names>,
}

/// Time for the library, from the clock that tests can set.
#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.unix_seconds())))
    }
}

#[derive(Debug)]
struct Names {
    exact: HashMap<Box<str>, usize>,
    /// By what follows the first label, with its dot.
    wildcard: HashMap<Box<str>, usize>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl TlsContext {
    /// Reads the certificates and makes a context.
    ///
    /// # Errors
    /// The first certificate that cannot serve, or does not cover a host it is for: which file, why, and what to do; a host of two
    /// certificates; no certificate at all; trust in clients or a revocation list that is not understood.
    pub fn build(
        certificates: &[CertificateFiles],
        clients: Option<&ClientCertificates>,
        oldest: OldestVersion,
        tickets: &Arc<TicketKeys>,
        clock: &Clock,
    ) -> Result<Arc<Self>, String> {
        let crypto = Arc::new(crypto());
        let mut names = Names { exact: HashMap::new(), wildcard: HashMap::new(), keys: Vec::new() };
        if certificates.is_empty() {
            return Err("there is no certificate; a TLS listener needs at least one".to_owned());
        }
        for files in certificates {
            let key = load_certificate(&files.certificate, &files.key, &crypto, clock)?;
            check_coverage(&files.certificate, &key, &files.hosts)?;
            names.add(&files.hosts, key)?;
        }
        let names = Arc::new(names);
        let versions: &[_] = match oldest {
            OldestVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            OldestVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let clients = clients.map(|clients| ClientTrust::read(clients, &crypto, clock)).transpose()?;
        let builder = ServerConfig::builder_with_details(crypto, Arc::new(ClockTime(clock.clone())))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let verifier = clients.as_ref().map_or_else(WebPkiClientVerifier::no_client_auth, ClientTrust::verifier);
        let mut config =
            builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::clone(&names) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // SECURITY: a session resumes what was verified when it began, so it must not outlive what it was verified by (threats E 139).
        config.ticketer = tickets.bound_to(clients.as_ref().map_or(NO_CLIENT_TRUST, |clients| clients.binding));
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Arc::new(Self { config: Arc::new(config), clients, names }))
    }

    /// A hash of everything that decides which certificates of clients are taken.
    #[must_use]
    pub fn client_trust(&self) -> [u8; 32] {
        self.clients.as_ref().map_or(NO_CLIENT_TRUST, |clients| clients.binding)
    }

    /// The same context, which speaks these protocols; it prefers HTTP/2 where a client speaks both.
    #[must_use]
    pub fn speaking(&self, http1: bool, http2: bool) -> Arc<Self> {
        let mut config = ServerConfig::clone(&self.config);
        let offered = [(http2, b"h2".as_slice()), (http1, b"http/1.1")];
        config.alpn_protocols = offered.iter().filter(|(spoken, _)| *spoken).map(|(_, name)| name.to_vec()).collect();
        Arc::new(Self { config: Arc::new(config), names: Arc::clone(&self.names), clients: self.clients.clone() })
    }

    /// Whether a client that agreed on no protocol may speak HTTP/1.
    #[must_use]
    pub fn speaks_http1(&self) -> bool {
        self.config.alpn_protocols.iter().any(|name| name == b"http/1.1")
    }

    /// Whether the certificate that the client of a connection has shown would be taken now.
    ///
    /// # Errors
    /// Why not.
    pub fn takes_still(&self, connection: &TlsStream) -> Result<(), Reason> {
        let shown = connection.side().connection().peer_certificates();
        self.clients.as_ref().map_or(Ok(()), |clients| clients.verify_again(shown))
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
    fn add(&mut self, hosts: &[String], key: CertifiedKey) -> Result<(), String> {
        let index = self.keys.len();
        self.keys.push(Arc::new(key));
        for host in hosts {
            let canonical = host.to_ascii_lowercase();
            let before = match canonical.strip_prefix('*') {
                Some(suffix) => self.wildcard.insert(suffix.into(), index),
                None => self.exact.insert(canonical.into(), index),
            };
            if before.is_some() {
                return Err(format!("the host `{host}` has two certificates; keep one of them"));
            }
        }
        Ok(())
    }

    fn index(&self, name: &str) -> Option<usize> {
        if let Some(index) = self.exact.get(name) {
            return Some(*index);
        }
        // A wildcard stands for one label, which is not empty (RFC 6125 section 6.4.3).
        let suffix = name.find('.').filter(|dot| *dot > 0).and_then(|dot| name.get(dot..))?;
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
        NAME_SEEN.set(Some(NameSeen { name: name.into(), is_served: found.is_some() }));
        found
    }
}

/// The server's side of a TLS connection.
pub struct ServerSide {
    tls: UnbufferedServerConnection,
    name: Option<Box<str>>,
    /// Whether the client asked for a name that nobody has a certificate for.
    is_unknown: bool,
}

impl ServerSide {
    /// A side that has not begun its handshake.
    pub(super) fn new(context: &TlsContext) -> Result<Self, rustls::Error> {
        Ok(Self { tls: UnbufferedServerConnection::new(Arc::clone(&context.config))?, name: None, is_unknown: false })
    }

    /// The library's connection.
    pub(super) fn connection(&self) -> &UnbufferedServerConnection {
        &self.tls
    }

    /// The server name that the client asked for.
    pub(super) fn take_name(&mut self) -> Option<Box<str>> {
        self.name.take()
    }
}

impl Side for ServerSide {
    type Data = ServerConnectionData;

    fn step<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        let status = self.tls.process_tls_records(bytes);
        if let Some(seen) = take_name_seen() {
            self.is_unknown = !seen.is_served;
            self.name = Some(seen.name);
        }
        status
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The library would say access_denied to an unknown name, which tells the client's operator nothing.
    fn own_alert(&self) -> Option<&'static [u8]> {
        self.is_unknown.then_some(&UNRECOGNISED_NAME)
    }
}
