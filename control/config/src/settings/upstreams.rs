//! `upstreams`: where requests go.

use super::listeners::DEADLINES;
use super::{DangerSettings, Numbered};
use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Spanned, Value, quoted, scalar_schema, section};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

section! {
    /// A named destination of requests.
    pub struct UpstreamSettings {
        /// The addresses it has; they are used in turn.
        pub endpoints: Numbered<EndpointSettings>,
        /// Sends requests to other machines without encryption, which everybody on the way can read and change.
        pub danger_plaintext: Option<Spanned<DangerSettings>>,
        /// How long it may take.
        pub timeouts: UpstreamTimeouts,
        /// How much of it is used.
        pub limits: UpstreamLimits,
    }
}

section! {
    /// One address of an upstream.
    pub struct EndpointSettings {
        /// `http://` with a literal IP address and a port; other addresses than loopback need `danger_plaintext`.
        pub url: Spanned<EndpointUrl>,
    }
}

section! {
    /// Deadlines of an exchange with an upstream.
    pub struct UpstreamTimeouts {
        /// Until a connection is there.
        pub connect: Duration where (DEADLINES.0, DEADLINES.1) = Duration::from_secs(1),
        /// From then until the head of the answer is there.
        pub first_byte: Duration where (DEADLINES.0, DEADLINES.1) = Duration::from_secs(10),
        /// Between two pieces of a body. An upgraded connection may be silent as long, and at least for 5m.
        pub idle: Duration where (DEADLINES.0, DEADLINES.1) = Duration::from_secs(30),
        /// For the whole exchange, body included; without it long downloads and event streams may go on as long as they move. An
        /// upgraded connection is not bound by it.
        pub total: Option<Duration> where (Some(DEADLINES.0), Some(Duration::from_hours(365 * 24))),
    }
}

section! {
    /// Limits of an upstream.
    pub struct UpstreamLimits {
        /// Connections to each endpoint at the same time.
        pub connections: u32 where (1, 1_000_000) = 512,
        /// Idle connections that each worker keeps for each endpoint.
        pub idle_per_worker: u32 where (0, 10_000) = 64,
    }
}

/// The address of an endpoint, from `http://IP:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointUrl(pub SocketAddr);

impl EndpointUrl {
    /// Why it cannot be used, and what to do.
    fn parse(text: &str) -> Result<Self, (String, String)> {
        let example = "write `http://`, a literal IP address and a port, such as `http://127.0.0.1:8080`";
        let not_yet = |what: &str, help: &str| Err((format!("{what} is not available in this version"), help.to_owned()));
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err((format!("{} is not a URL", quoted(text)), example.to_owned()));
        };
        match scheme {
            "http" => {}
            "https" => return not_yet("an upstream over `https://`", example),
            _ => return Err((format!("{} is not a scheme for an upstream", quoted(scheme)), example.to_owned())),
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err((
                "the URL of an endpoint has no path and no query".to_owned(),
                "the canonical path of the request is sent; remove the rest".to_owned(),
            ));
        }
        let address = authority.parse::<SocketAddr>().ok().or_else(|| {
            let ip = authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(authority);
            ip.parse().ok().filter(|_| ip.contains(':') == (ip != authority)).map(|ip| SocketAddr::new(ip, 80))
        });
        match address {
            None => {
                let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
                if host.is_empty()
                    || host.parse::<IpAddr>().is_ok()
                    || host.bytes().any(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')))
                {
                    return Err((format!("{} is not an address", quoted(authority)), example.to_owned()));
                }
                not_yet(&format!("the host name {}", quoted(host)), example)
            }
            Some(address) if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() => {
                Err((format!("{} cannot be connected to", quoted(authority)), example.to_owned()))
            }
            Some(address) => Ok(Self(address)),
        }
    }
}

impl Decode for EndpointUrl {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.as_str() else {
            diagnostics.wrong(node, "a URL such as `http://127.0.0.1:8080`");
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
        Value::String(format!("http://{}", self.0))
    }

    fn schema() -> Schema {
        scalar_schema("URL", Some("^http://"), "http://127.0.0.1:8080")
    }
}
