//! Host patterns.

use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Value, quoted, scalar_schema};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A host: `api.example.com`, `*.example.com` (any names below it), `*` (every host), or a literal IP address; lower case, without
/// port and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

impl Host {
    /// The pattern as shared text.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Whether it stands for every host.
    #[must_use]
    pub fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    /// Why it is not a host pattern, and what to do.
    pub(super) fn check(text: &str) -> Result<(), (String, String)> {
        let wrong = |why: &str, help: &str| Err((format!("{} is not a host: {why}", quoted(text)), help.to_owned()));
        let example = "write a name such as `api.example.com`, `*.example.com` or `*`";
        if text == "*" {
            return Ok(());
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match inner.parse::<Ipv6Addr>() {
                Ok(address) if address.to_string() == inner => Ok(()),
                Ok(address) => wrong("it is not in canonical form", &format!("write `[{address}]`")),
                Err(_) => wrong("it is not an IPv6 address", example),
            };
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        if !name.is_ascii() {
            return wrong("it has letters beyond ASCII", "write its ASCII form, which begins with `xn--`");
        }
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            return wrong("it has capital letters", &format!("write {}", quoted(&text.to_ascii_lowercase())));
        }
        if let Some(short) = text.strip_suffix('.') {
            return wrong("it ends with a dot", &format!("write {}", quoted(short)));
        }
        if name.contains("://") || name.contains('/') || name.contains(':') {
            return wrong("scheme, port and path do not belong here", example);
        }
        if name.contains('*') {
            return wrong("`*` stands only for whole labels at the beginning", example);
        }
        let label_is_right = |label: &str| {
            let edges = !label.starts_with('-') && !label.ends_with('-');
            !label.is_empty()
                && label.len() <= 63
                && edges
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if name.len() > 253 || !name.split('.').all(label_is_right) {
            return wrong("labels are 1 to 63 letters, digits and `-`", example);
        }
        // As requests are read: what ends in a number is an address to many programs, so it must be one in the plain form.
        let is_number = |label: &str| match label.strip_prefix("0x") {
            Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
            None => label.bytes().all(|b| b.is_ascii_digit()),
        };
        let last_is_number = name.rsplit('.').next().is_some_and(is_number);
        if last_is_number && (name != text || name.parse::<Ipv4Addr>().is_err()) {
            return wrong("it ends in a number but is not an IPv4 address", example);
        }
        Ok(())
    }
}

impl Decode for Host {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.written().filter(|text| !text.is_empty()) else {
            diagnostics.wrong(node, "a host such as `api.example.com`, `*.example.com` or `*`");
            return None;
        };
        match Self::check(text) {
            Ok(()) => Some(Self(text.into())),
            Err((what, help)) => {
                diagnostics.error_with_help(node, what, help);
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("host", None, "api.example.com")
    }
}
