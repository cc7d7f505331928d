//! A connection to the store: where it is, who we are there, and how long it may take.

use portcullis_control_names::forbidden;
use portcullis_model::Secret;
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisFuture, TlsCertificates};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::lookup_host;

/// How long a connection, its handshake and its log-in may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer may take; longer than an answer is waited for that comes when there is news.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The largest file of authorities.
const TRUST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads the password when it is needed, so that it can be changed without a reload.
pub type PasswordReader = Arc<dyn Fn() -> Result<Secret<String>, String> + Send + Sync>;

/// Where the store is, and who we are there.
#[derive(Clone)]
pub struct StoreSettings {
    /// Its host: a name or an address.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Whether it is reached by TLS.
    pub is_secure: bool,
    /// The user of its access control list; `default` when absent.
    pub user: Option<Arc<str>>,
    /// The password.
    pub password: Option<PasswordReader>,
    /// A file with the authorities to believe; the system's when there is none.
    pub trust: Option<PathBuf>,
    /// What names in the store begin with.
    pub prefix: Arc<str>,
    /// Until when it may be reached without encryption, in Unix seconds; for ever where that weakens nothing.
    pub plaintext_until: Option<u64>,
    /// A hash of what was written: with another one the connection is made anew.
    pub digest: [u8; 32],
}

impl StoreSettings {
    /// Where it is, in words.
    pub(crate) fn place(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// Makes a connection that is known to be taken.
    ///
    /// # Errors
    /// Why not, without secrets.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, String> {
        let client = self.client()?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_dns_resolver(Resolver);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let within = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
        within.map_err(|_| "no connection in time".to_owned())?.map_err(|error| told(&error))
    }

    fn client(&self) -> Result<Client, String> {
        let host = self.host.to_string();
        let addr = match self.is_secure {
            true => ConnectionAddr::TcpTls { host, port: self.port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, self.port),
        };
        let mut user = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(name) = &self.user {
            user = user.set_username(&**name);
        }
        if let Some(password) = &self.password {
            user = user.set_password(password()?.reveal());
        }
        let info = addr.into_connection_info().map_err(|error| told(&error))?.set_redis_settings(user);
        let client = match &self.trust {
            Some(path) => {
                let root_cert = Some(read(path)?);
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(info),
        };
        client.map_err(|error| told(&error))
    }
}

/// An error of the store in words. What a server says may be anything, so it is cut and cleaned.
pub(crate) fn told(error: &redis::RedisError) -> String {
    let text: String = error.to_string().chars().filter(|one| !one.is_control()).take(200).collect();
    text
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("`{}` cannot be read: {}", path.display(), error.kind());
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > TRUST_BYTES_MAX {
        return Err(format!("`{}` is too large for a file of authorities", path.display()));
    }
    std::fs::read(path).map_err(failed)
}

/// Asks the system for addresses.
///
/// SECURITY: as for upstreams, an answer never makes loopback, the local link or metadata reachable; an address that is written is named.
struct Resolver;

impl AsyncDNSResolver for Resolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            if let Ok(address) = host.parse::<IpAddr>() {
                let one: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(std::iter::once(SocketAddr::new(address, port)));
                return Ok(one);
            }
            let found: Vec<SocketAddr> = lookup_host((host, port)).await?.filter(|one| forbidden(one.ip()).is_none()).collect();
            let found: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(found.into_iter());
            Ok(found)
        })
    }
}
