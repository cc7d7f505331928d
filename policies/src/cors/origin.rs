//! Origins (RFC 6454) and names of header fields, as the operator lists them.

use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Value, quoted, scalar_schema};
use serde_json::json;
use std::sync::Arc;

/// How many names one list may have.
const NAMES_MAX: usize = 64;

/// An origin as browsers send it, or `*` for every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Arc<str>);

/// The parts of an origin: scheme, host, and the port also when it is the scheme's own.
pub(super) fn parts(origin: &str) -> Option<(&str, &str, u16)> {
    let (scheme, authority) = origin.split_once("://")?;
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    match authority.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
        Some((host, port)) if !port.contains(']') => {
            let is_number = !port.is_empty() && !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
            Some((scheme, host, port.parse().ok().filter(|_| is_number)?))
        }
        _ => Some((scheme, authority, default)),
    }
}

impl Origin {
    /// As it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for every origin.
    pub(super) fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    /// Whether others on the way could speak in its name: plain http to another machine.
    pub(super) fn is_plain(&self) -> bool {
        let local = |host: &str| host == "localhost" || host.ends_with(".localhost") || host == "[::1]" || host.starts_with("127.");
        parts(&self.0).is_some_and(|(scheme, host, _)| scheme == "http" && !local(host))
    }

    fn check(text: &str) -> Result<(), (String, String)> {
        let wrong = |why: &str, help: &str| Err((format!("{} is not an origin: {why}", quoted(text)), help.to_owned()));
        let example = "write scheme and host, such as `https://app.example.com`, and the port if it is not the usual one";
        match text {
            "*" => return Ok(()),
            "null" => return wrong("sandboxed pages and files of anybody send it", "list the origins of your own pages"),
            _ => {}
        }
        let Some((scheme, host, port)) = parts(text) else {
            return wrong("it does not begin with `https://` or `http://`, or its port is none", example);
        };
        if host.contains('*') {
            return wrong("origins are compared whole, without patterns", "list each origin");
        }
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            return wrong(
                "it has capital letters, which browsers never send",
                &format!("write {}", quoted(&text.to_ascii_lowercase())),
            );
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let right = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address),
            None => !host.is_empty() && host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
        };
        if !right {
            return wrong("a path, a name of a user or an odd character does not belong here", example);
        }
        let usual = if scheme == "https" { 443 } else { 80 };
        if port == usual && text.ends_with(&format!(":{usual}")) {
            return wrong("browsers leave the usual port out", &format!("write `{scheme}://{host}`"));
        }
        Ok(())
    }
}

impl Decode for Origin {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.written().filter(|text| !text.is_empty()) else {
            diagnostics.wrong(node, "an origin such as `https://app.example.com`");
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
        scalar_schema("origin", None, "https://app.example.com")
    }
}

/// Names of header fields, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames(pub(super) Arc<[Arc<str>]>);

impl FieldNames {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| **known == *name)
    }
}

impl Decode for FieldNames {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(items) = node.items() else {
            diagnostics.wrong(node, "a list of names of header fields, such as `[X-Requested-With]`");
            return None;
        };
        let (mut names, mut right): (Vec<Arc<str>>, bool) = (Vec::new(), true);
        for item in items {
            let name = item.written().unwrap_or("").to_ascii_lowercase();
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
            if name == "*" {
                let help = "list each name; with `*` a page could send and read whatever an upstream understands";
                diagnostics.error_with_help(&item, "`*` is not the name of a header field", help);
                right = false;
            } else if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
                diagnostics.wrong(&item, "the name of a header field");
                right = false;
            } else if !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
        if names.len() > NAMES_MAX {
            diagnostics.error_with_help(node, format!("{NAMES_MAX} names at most may stand here"), "leave some out");
            return None;
        }
        right.then(|| Self(names.into()))
    }

    fn encode(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        Value::Array(self.0.iter().map(|name| Value::from(&**name)).collect())
    }

    fn schema() -> Schema {
        json!({ "type": "array", "title": "names of header fields", "items": { "type": "string" }, "maxItems": NAMES_MAX })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}
