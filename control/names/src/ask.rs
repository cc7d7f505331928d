//! Asking the DNS and the system's own list of hosts.

use crate::state::Answer;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long one answer is waited for, all attempts at all servers together.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What the system's configuration may at most ask for.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
const ATTEMPTS_MAX: usize = 3;
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// When the system's files were last changed.
type Stamps = [Option<(SystemTime, u64)>; 2];

fn stamps() -> Stamps {
    FILES.map(|path| {
        let metadata = std::fs::metadata(Path::new(path)).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

/// Asks the servers that are configured, or else the system's; the system's list of hosts comes first in both cases.
pub(crate) struct Asker {
    resolver: Result<TokioResolver, String>,
    servers: Vec<SocketAddr>,
    stamps: Stamps,
}

impl Asker {
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { resolver: resolver(&servers), servers, stamps: stamps() }
    }

    /// Follows changes of the configuration and of the system's files.
    pub(crate) fn renew(&mut self, servers: &[SocketAddr]) {
        let now = stamps();
        if now != self.stamps || self.servers != servers {
            *self = Self::new(servers.to_vec());
        }
    }

    /// The addresses of a name.
    pub(crate) fn ask(&self, name: &str) -> impl Future<Output = Result<Answer, String>> + Send + use<> {
        let (resolver, name) = (self.resolver.clone(), name.to_owned());
        async move {
            let looked_up = tokio::time::timeout(ANSWER_WITHIN, resolver?.lookup_ip(name.as_str())).await;
            let found = match looked_up {
                Err(_) => return Err(format!("`{name}` cannot be resolved: no answer in time")),
                Ok(Err(error)) => return Err(format!("`{name}` cannot be resolved: {error}")),
                Ok(Ok(found)) => found,
            };
            let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or(0);
            Ok(Answer { addresses: found.iter().collect(), ttl: Duration::from_secs(ttl.into()) })
        }
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let described = |error: &dyn std::fmt::Display| format!("names cannot be resolved: /etc/resolv.conf: {error}");
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| described(&error))?
    } else {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // We keep answers ourselves.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = options.timeout.min(ATTEMPT_MAX);
    options.attempts = options.attempts.min(ATTEMPTS_MAX);
    builder.build().map_err(|error| described(&error))
}
