//! `dns`: where host names of upstreams are asked for.

use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Spanned, Value, quoted, scalar_schema, section};
use std::net::{IpAddr, SocketAddr};

section! {
    /// How host names of upstreams are resolved. The system's list of hosts (`/etc/hosts`) comes first. An answer holds for its TTL, but
    /// for at least a second and at most five minutes; while there is no new one, the last good answer is used for up to a day. At
    /// most 64 addresses of an answer are used, and never one of loopback, of the local link, or where clouds keep metadata.
    pub struct DnsSettings {
        /// The servers to ask, instead of those of the system (`/etc/resolv.conf`).
        pub servers: Vec<Spanned<DnsServer>> = Vec::new(),
    }
}

/// The address of a server of names: an IP address, with a port unless it is 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DnsServer(pub SocketAddr);

impl Decode for DnsServer {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.as_str().unwrap_or_default();
        let address = text.parse::<SocketAddr>().ok().or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53)));
        match address {
            None => diagnostics.wrong(node, "the address of a server of names, such as `10.0.0.2` or `10.0.0.2:5353`"),
            Some(address) if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() => {
                let help = "write the address of a server of names, such as `10.0.0.2` or `10.0.0.2:5353`";
                diagnostics.error_with_help(node, format!("{} cannot be asked", quoted(text)), help);
            }
            Some(address) => return Some(Self(address)),
        }
        None
    }

    fn encode(&self) -> Value {
        Value::String(self.0.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("address of a server of names", None, "10.0.0.2:53")
    }
}
