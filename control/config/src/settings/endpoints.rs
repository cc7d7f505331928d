//! URLs of endpoints, and names of servers.

use super::Host;
use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Value, quoted, scalar_schema};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What can be written for an endpoint.
const EXAMPLE: &str = "write `https://`, a host name or IP address and a port, such as `https://orders.internal:8443`; `http://` \
                       is for this machine, such as `http://127.0.0.1:8080`";

/// Why something cannot be used, and what to do.
type Problem = (String, String);

/// The URL of an endpoint: scheme, host and port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    /// Whether it is reached by TLS (`https://`).
    pub is_secure: bool,
    /// Where it is.
    pub host: EndpointHost,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointHost {
    /// At an address, which is thereby named: nothing else decides where the gateway connects to.
    Address(SocketAddr),
    /// At the addresses of a host name, and a port.
    Name(Arc<str>, u16),
}

impl EndpointHost {
    /// The address, where it is written.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(..) => None,
        }
    }

    /// The host name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Address(_) => None,
            Self::Name(name, _) => Some(name),
        }
    }

    pub(super) fn parse(authority: &str, default_port: u16) -> Result<Self, Problem> {
        let address = authority.parse::<SocketAddr>().ok().or_else(|| {
            let ip = authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(authority);
            ip.parse().ok().filter(|_| ip.contains(':') == (ip != authority)).map(|ip| SocketAddr::new(ip, default_port))
        });
        match address {
            None => Self::parse_name(authority, default_port),
            Some(address) if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() => {
                Err((format!("{} cannot be connected to", quoted(authority)), EXAMPLE.to_owned()))
            }
            Some(address) => Ok(Self::Address(address)),
        }
    }

    fn parse_name(authority: &str, default_port: u16) -> Result<Self, Problem> {
        let wrong = || (format!("{} is not an address", quoted(authority)), EXAMPLE.to_owned());
        let (name, port) = match authority.rsplit_once(':') {
            None => (authority, default_port),
            Some((name, port)) => {
                let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|port| *port != 0 && digits);
                (name, port.ok_or_else(wrong)?)
            }
        };
        if name.is_empty() || name.parse::<IpAddr>().is_ok() || name.contains(['*', '[', ']', ':']) {
            return Err(wrong());
        }
        // What helps with hosts of APIs may speak of patterns, which have no place here.
        Host::check(name).map_err(|(what, help)| (what, if help.contains('*') { EXAMPLE.to_owned() } else { help }))?;
        // SECURITY: what `localhost` is decides whoever answers for it; and an answer never makes loopback reachable.
        if name == "localhost" || name.ends_with(".localhost") {
            return Err((
                format!("{} is a name for this machine, and no name leads there", quoted(name)),
                format!("write its address: `127.0.0.1:{port}` or `[::1]:{port}`"),
            ));
        }
        Ok(Self::Name(name.into(), port))
    }
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl EndpointUrl {
    fn parse(text: &str) -> Result<Self, Problem> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err((format!("{} is not a URL", quoted(text)), EXAMPLE.to_owned()));
        };
        let (is_secure, default_port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err((format!("{} is not a scheme for an upstream", quoted(scheme)), EXAMPLE.to_owned())),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err((
                "the URL of an endpoint has no path and no query".to_owned(),
                "the canonical path of the request is sent; remove the rest".to_owned(),
            ));
        }
        Ok(Self { is_secure, host: EndpointHost::parse(authority, default_port)? })
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)
    }
}

impl Decode for EndpointUrl {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.as_str() else {
            diagnostics.wrong(node, "a URL such as `https://orders.internal:8443`");
            return None;
        };
        // SECURITY: what stands before `@` may be a password, so the line is not shown.
        if text.contains('@') {
            diagnostics.error_at_secret(node, "credentials do not belong in a URL", "remove them, and take them out of use");
            return None;
        }
        Self::parse(text).map_err(|(what, help)| diagnostics.error_with_help(node, what, help)).ok()
    }

    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("URL", Some("^https?://"), "https://orders.internal:8443")
    }
}

/// The name of a server, as certificates have it: a host name, or a literal IP address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// The name as shared text.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.into()));
        }
        let example = "write the name that the certificate is for, such as `orders.internal`";
        if text.contains('*') || text.starts_with('[') {
            return Err((format!("{} is not the name of a server", quoted(text)), example.to_owned()));
        }
        Host::check(text).map_err(|(what, _)| (what, example.to_owned()))?;
        Ok(Self(text.into()))
    }
}

impl Decode for ServerName {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.written().filter(|text| !text.is_empty()) else {
            diagnostics.wrong(node, "the name of a server such as `orders.internal`");
            return None;
        };
        Self::parse(text).map_err(|(what, help)| diagnostics.error_with_help(node, what, help)).ok()
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("name of a server", None, "orders.internal")
    }
}
