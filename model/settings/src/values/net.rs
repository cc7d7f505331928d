//! Networks and socket addresses.

use crate::{Decode, Diagnostics, Node, Schema, Value, quoted, scalar_schema};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

impl Decode for IpNet {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.written().unwrap_or("");
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        match network {
            Some(network) if network.trunc() == network => Some(network),
            Some(network) => {
                let (what, meant) = (format!("{} has bits set beyond its prefix", quoted(text)), network.trunc());
                diagnostics.error_with_help(
                    node,
                    what,
                    format!("write `{meant}`, or the address with the longest prefix for that address alone"),
                );
                None
            }
            None => {
                diagnostics.wrong(node, "an address or network such as `10.0.0.5` or `10.0.0.0/8`");
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("network", None, "10.0.0.0/8")
    }
}

impl Decode for SocketAddr {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.written().unwrap_or("");
        let address = text.parse().ok();
        if address.is_none() {
            let what = format!(
                "expected an address with its port, found {}",
                if text.is_empty() { node.describe().to_owned() } else { quoted(text) }
            );
            let help = match text.strip_prefix(':').map(str::parse::<u16>) {
                Some(Ok(port)) => format!("write `0.0.0.0:{port}` for every IPv4 address, `[::]:{port}` for every IPv6 address"),
                _ if text.parse::<IpAddr>().is_ok() => format!("add the port, such as `{text}:8443`"),
                _ => "write a literal IP address and a port, such as `0.0.0.0:8443` or `[::1]:8443`".to_owned(),
            };
            diagnostics.error_with_help(node, what, help);
        }
        address
    }

    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("address and port", None, "0.0.0.0:8443")
    }
}
