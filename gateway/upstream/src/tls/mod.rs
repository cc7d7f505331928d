//! TLS to an endpoint: always verified, against trust that the operator named or the system's.
//!
//! SECURITY: nothing here can be told to accept what does not verify (threats F 137, 138); there is no setting for it to come from.

use crate::upstream::UpstreamProtocol;
use portcullis_gateway_tls::{Side, TlsStream, chain_counts_until, crypto, load_certificate};
use portcullis_model::{Clock, Reason, Rejection};
use rustls::client::{ClientConnectionData, ClientSessionMemoryCache, ClientSessionStore, Resumption, UnbufferedClientConnection};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::unbuffered::UnbufferedStatus;
use rustls::{CertificateError, ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::{ServerName, UnixTime};
use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// The protocol offered (RFC 7301): the one that is spoken, and no other.
const fn offered(protocol: UpstreamProtocol) -> &'static [u8] {
    match protocol {
        UpstreamProtocol::Http1 => b"http/1.1",
        UpstreamProtocol::Http2 => b"h2",
    }
}
/// Names of servers for which sessions are kept, so that connections to them need no full handshake.
const SESSIONS_MAX: usize = 256;

/// A certificate that the gateway shows upstreams, and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificateFiles {
    /// The chain in PEM, the gateway's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// Whom to believe, and what to show. Immutable: other trust is another context, with sessions of its own, so that none is resumed
/// past a change (threats F 139).
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    /// The same without sessions.
    unresumed: Arc<ClientConfig>,
    sessions: Arc<ClientSessionMemoryCache>,
    clock: Clock,
    protocol: UpstreamProtocol,
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamTls")
    }
}

/// The wall clock, as the library asks for it.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.unix_seconds())))
    }
}

impl UpstreamTls {
    /// A context that believes `trust`, shows the certificate if there is one, and offers `protocol`.
    ///
    /// # Errors
    /// What is wrong with the certificate, in which file, and what to do.
    pub fn build(
        trust: &Arc<RootCertStore>,
        certificate: Option<&ClientCertificateFiles>,
        protocol: UpstreamProtocol,
        clock: &Clock,
    ) -> Result<Arc<Self>, String> {
        let crypto = Arc::new(crypto());
        let own = match certificate {
            Some(files) => Some(load_certificate(&files.certificate, &files.key, &crypto, clock)?),
            None => None,
        };
        let builder = ClientConfig::builder_with_details(crypto, Arc::new(Time(clock.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| error.to_string())?
            .with_root_certificates(Arc::clone(trust));
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![offered(protocol).to_vec()];
        config.resumption = Resumption::disabled();
        let unresumed = Arc::new(config.clone());
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX));
        config.resumption = Resumption::store(Arc::clone(&sessions) as Arc<dyn ClientSessionStore>);
        Ok(Arc::new(Self { config: Arc::new(config), unresumed, sessions, clock: clock.clone(), protocol }))
    }

    /// Forgets the sessions with a server, so that it has to show its certificate.
    fn forget(&self, name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(name);
        while self.sessions.take_tls13_ticket(name).is_some() {}
    }
}

/// How an endpoint is reached by TLS, and which name its certificate must be for.
#[derive(Clone, Debug)]
pub struct EndpointTls {
    context: Arc<UpstreamTls>,
    name: ServerName<'static>,
}

impl PartialEq for EndpointTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.context, &other.context) && self.name == other.name
    }
}

impl Eq for EndpointTls {}

impl EndpointTls {
    /// TLS by `context`; `name` is a host name or a literal IP address.
    ///
    /// # Errors
    /// When `name` is neither.
    pub fn new(context: &Arc<UpstreamTls>, name: &str) -> Result<Self, String> {
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is no name that a certificate can be for"))?;
        Ok(Self { context: Arc::clone(context), name })
    }

    /// Takes a connection through its handshake. Until it has succeeded nothing is read as an answer and nothing of a request is
    /// written (threats A 34). A session of an earlier connection is gone on with if `may_resume`; the server does not show its certificate again then.
    /// None when that was shown with a certificate that has expired since: the sessions are forgotten, and the server is to be asked by
    /// another connection, without resuming, what it shows now.
    ///
    /// # Errors
    /// A rejection that blames the upstream and says what was wrong, in words for the logs.
    pub(crate) async fn handshake(&self, tcp: TcpStream, may_resume: bool) -> Result<Option<ClientStream>, Rejection> {
        let config = if may_resume { &self.context.config } else { &self.context.unresumed };
        let tls = UnbufferedClientConnection::new(Arc::clone(config), self.name.clone());
        let tls = tls.map_err(|error| Rejection::new(Reason::UpstreamTlsFailed, error.to_string()))?;
        let mut stream = TlsStream::new(tcp, ClientSide(tls));
        match poll_fn(|cx| stream.poll_handshake(cx)).await {
            // A server that has chosen nothing would speak HTTP/1.1.
            Ok(()) if self.context.protocol == UpstreamProtocol::Http2 && stream.side().protocol() != Some(b"h2") => {
                Err(Rejection::new(Reason::UpstreamNotHttp2, "the upstream did not agree on HTTP/2 in the TLS handshake"))
            }
            // SECURITY: a session does not outlive the certificate that it began with (threats F 138).
            Ok(()) if stream.side().is_outlived(&self.context.clock) => {
                self.context.forget(&self.name);
                Ok(None)
            }
            Ok(()) => Ok(Some(stream)),
            Err(error) if refuses_protocol(&error) && self.context.protocol == UpstreamProtocol::Http2 => {
                Err(Rejection::new(Reason::UpstreamNotHttp2, "the upstream refused HTTP/2 in the TLS handshake"))
            }
            Err(error) => {
                // The alert tells the upstream's operator what we did not like; one that does not go out at once is not waited for.
                let _told = poll_fn(|cx| std::task::Poll::Ready(stream.poll_flush(cx))).await;
                Err(Rejection::new(Reason::UpstreamTlsFailed, described(&error)))
            }
        }
    }
}

/// Whether the other side ended the handshake because it speaks none of the protocols offered (RFC 7301 section 3.2).
fn refuses_protocol(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)))
}

/// What went wrong, for the operator.
fn described(error: &io::Error) -> Cow<'static, str> {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return "the connection ended during the TLS handshake".into();
    };
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired".into(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet; compare the clocks".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name than the endpoint's host or `tls.server_name`".into()
            }
            // A stranger may bear the name of an authority that is trusted; then only the signature tells.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the certificate is from an authority that is not trusted".into()
            }
            // The library has no type of its own for this.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "the certificate is an authority's own; the server needs one that the authority has signed".into()
            }
            other => format!("the certificate was refused: {other:?}").into(),
        },
        rustls::Error::AlertReceived(alert) => format!("the upstream ended the TLS handshake with the alert {alert:?}").into(),
        rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => "what came is not TLS".into(),
        other => format!("the TLS handshake failed: {other}").into(),
    }
}

/// The client's side of a TLS connection.
pub(crate) type ClientStream = TlsStream<ClientSide>;

/// What the gateway knows of its own side.
pub(crate) struct ClientSide(UnbufferedClientConnection);

impl ClientSide {
    /// The protocol that was agreed on (RFC 7301); none when the upstream did not choose, which means HTTP/1.1.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.0.alpn_protocol()
    }

    /// Whether it goes on with a session that began with a certificate which does not count any more.
    fn is_outlived(&self, clock: &Clock) -> bool {
        let is_resumed = self.0.handshake_kind() == Some(HandshakeKind::Resumed);
        let until = || self.0.peer_certificates().and_then(chain_counts_until);
        is_resumed && until().and_then(|until| u64::try_from(until).ok()).is_none_or(|until| until < clock.unix_seconds())
    }
}

impl Side for ClientSide {
    type Data = ClientConnectionData;

    fn step<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.0.process_tls_records(bytes)
    }

    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }
}

#[cfg(test)]
mod tests;
