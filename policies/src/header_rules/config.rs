//! What the operator writes.

use super::template::Template;
use portcullis_model_settings::{Decode, Diagnostics, Level, Node, Object, Schema, Tighten, Value, quoted, section};
use portcullis_wire::{is_gateways_own, is_same_field};
use serde_json::json;
use std::sync::Arc;

/// How many fields one direction of one level may have rules for.
const RULES_MAX: usize = 64;

section! {
    /// Header fields that are set, added or removed. Names are the same in any case and with `_` or `.` for `-`. A level further in may have
    /// rules for other fields than the levels further out, and for none of theirs.
    pub struct HeaderRules {
        /// What is changed of the request as it goes upstream.
        pub request: FieldRules = FieldRules::default(),
        /// What is changed of the answer as it goes to the client, also of the gateway's own.
        pub response: FieldRules = FieldRules::default(),
    }
}

section! {
    /// Rules for the fields of one direction. Values may have `{client.ip}`, `{request.id}`, `{route}`, `{api}`, `{host}`, `{listener}`,
    /// `{principal.provider}`, `{principal.subject}`, `{principal.client}` and `{consumer}` in them, the last four `-` where that is not known;
    /// `{{` and `}}` stand for braces.
    pub struct FieldRules {
        /// Fields that have exactly this value, whatever was there under any spelling of the name. None of that name comes behind the body (trailers).
        pub set: Templates,
        /// Fields that are added to those of the same name.
        pub add: Templates,
        /// Fields that are removed under every spelling of the name, also behind the body (trailers).
        pub remove: Names,
    }
}

#[expect(clippy::derivable_impls, reason = "`section!` makes the type and derives no defaults")]
impl Default for FieldRules {
    fn default() -> Self {
        Self { set: Templates::default(), add: Templates::default(), remove: Names::default() }
    }
}

/// Names of fields, in lower case, with a value each.
#[derive(Clone, Debug, Default)]
pub struct Templates(pub(super) Arc<[(Arc<str>, Template)]>);

/// Names of fields, in lower case.
#[derive(Clone, Debug, Default)]
pub struct Names(pub(super) Arc<[Arc<str>]>);

fn read_name(node: &Node<'_>, text: &str, diagnostics: &mut Diagnostics) -> Option<Arc<str>> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(is_token) {
        diagnostics.error(node, format!("{} is not the name of a header field", quoted(text)));
        return None;
    }
    Some(text.to_ascii_lowercase().into())
}

impl Decode for Templates {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.entries() else {
            diagnostics.wrong(node, "names of header fields with their values, such as `{ X-Route: \"{route}\" }`");
            return None;
        };
        let (mut out, mut right) = (Vec::new(), true);
        for (key, value) in entries {
            match (read_name(&key, key.key(), diagnostics), Template::decode(&value, diagnostics)) {
                (Some(name), Some(template)) => out.push((name, template)),
                _ => right = false,
            }
        }
        right.then(|| Self(out.into()))
    }

    fn encode(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        Value::Object(self.0.iter().map(|(name, template)| (name.to_string(), template.encode())).collect::<Object>())
    }

    fn schema() -> Schema {
        json!({ "type": "object", "title": "header fields with values", "additionalProperties": { "type": "string" } })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl Decode for Names {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(items) = node.items() else {
            diagnostics.wrong(node, "a list of names of header fields, such as `[X-Internal]`");
            return None;
        };
        let names: Vec<Option<Arc<str>>> =
            items.map(|item| read_name(&item, item.written().unwrap_or_default(), diagnostics)).collect();
        names.into_iter().collect::<Option<Vec<_>>>().map(|names| Self(names.into()))
    }

    fn encode(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        Value::Array(self.0.iter().map(|name| Value::from(&**name)).collect())
    }

    fn schema() -> Schema {
        json!({ "type": "array", "title": "names of header fields", "items": { "type": "string" } })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// What a rule does to a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Write,
    Remove,
}

impl FieldRules {
    /// Every name with what is done to it and where it is written.
    fn names<'a>(&'a self, at: &Node<'a>) -> impl Iterator<Item = (&'a str, Does, Node<'a>)> {
        let at = *at;
        let keyed = move |key: &str, templates: &'a Templates| {
            let node = at.field(key);
            let keys = node.and_then(|node| node.entries()).into_iter().flatten().map(|(key, _)| key);
            templates.0.iter().zip(keys).map(|((name, _), key)| (&**name, Does::Write, key))
        };
        let items = at.field("remove").and_then(|node| node.items()).into_iter().flatten();
        let removed = self.remove.0.iter().zip(items).map(|(name, item)| (&**name, Does::Remove, item));
        keyed("set", &self.set).chain(keyed("add", &self.add)).chain(removed)
    }

    fn has(&self, name: &str) -> bool {
        let written = self.set.0.iter().chain(&*self.add.0).map(|(name, _)| name);
        written.chain(&*self.remove.0).any(|known| is_same_field(known.as_bytes(), name.as_bytes()))
    }
}

/// A name as it reads to those who take `_` and `.` for `-`.
fn folded(name: &str) -> String {
    name.replace(['_', '.'], "-")
}

/// Why a field of a request may not be touched.
fn reserved_of_request(name: &str, does: Does) -> Option<&'static str> {
    let name = folded(name);
    match (name.as_str(), does) {
        ("authorization" | "cookie", Does::Write) => Some("it carries credentials, and secrets are not written in a configuration"),
        ("content-type" | "content-encoding" | "content-range" | "content-language" | "content-location", _) => {
            Some("it says how the body is read, and the body has been judged by it")
        }
        ("traceparent" | "tracestate" | "origin", _) => Some("the gateway decides by it, or writes it itself"),
        (name, _) if name.starts_with("sec-") => Some("the gateway decides by it, or writes it itself"),
        (name, _) if is_gateways_own(name) => Some("the gateway writes or removes it itself"),
        _ => None,
    }
}

/// Why a field of an answer may not be touched.
fn reserved_of_response(name: &str, does: Does) -> Option<&'static str> {
    let name = folded(name);
    match (name.as_str(), does) {
        (
            "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
            | "host"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "expect"
            | "content-encoding"
            | "content-range",
            _,
        ) => Some("it says how the answer is read, or belongs to the connection"),
        ("strict-transport-security", _) => Some("it belongs to `security_headers`"),
        ("content-security-policy" | "x-content-type-options" | "x-frame-options" | "referrer-policy", Does::Remove) => {
            Some("it protects browsers; set another value instead")
        }
        ("vary", Does::Remove) => Some("caches on the way would mix up answers"),
        ("content-type", Does::Remove) => Some("browsers would guess what it is"),
        ("date" | "x-request-id" | "via", _) => Some("the gateway writes it itself"),
        (name, _) if name.starts_with("access-control-") => Some("it belongs to `cors`"),
        (name, _) if name.starts_with("sec-websocket-") => Some("it opens a WebSocket"),
        _ => None,
    }
}

/// Reports names that may not be touched or stand twice.
fn check_direction(
    rules: &FieldRules,
    at: &Node<'_>,
    reserved: fn(&str, Does) -> Option<&'static str>,
    diagnostics: &mut Diagnostics,
) {
    let mut seen: Vec<&str> = Vec::new();
    for (name, does, node) in rules.names(at) {
        if let Some(why) = reserved(name, does) {
            let what = if does == Does::Write { "set" } else { "removed" };
            diagnostics.error_with_help(&node, format!("`{name}` cannot be {what}: {why}"), "leave it out");
        } else if let Some(first) = seen.iter().find(|first| is_same_field(first.as_bytes(), name.as_bytes())) {
            diagnostics.error_with_help(
                &node,
                format!("`{name}` has a rule already, as `{first}`"),
                "keep one rule for each field",
            );
        }
        seen.push(name);
    }
    if seen.len() > RULES_MAX {
        diagnostics.error_with_help(at, format!("{} rules, and {RULES_MAX} at most may stand here", seen.len()), "leave some out");
    }
}

impl Tighten for HeaderRules {
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        for (key, outer, inner) in [("request", &outer.request, &inner.request), ("response", &outer.response, &inner.response)] {
            let Some(node) = at.field(key) else { continue };
            for (name, _, place) in inner.names(&node).filter(|(name, ..)| outer.has(name)) {
                let what = format!("the level further out has a rule for `{name}`");
                diagnostics.error_with_help(&place, what, "leave it out here, or take it out there");
            }
        }
    }

    fn check(&self, at: &Node<'_>, _: Level<'_>, diagnostics: &mut Diagnostics) {
        let empty = |rules: &FieldRules| rules.set.0.is_empty() && rules.add.0.is_empty() && rules.remove.0.is_empty();
        if empty(&self.request) && empty(&self.response) {
            diagnostics.error_with_help(
                at,
                "no rule is written here",
                "add `set`, `add` or `remove` under `request` or `response`, or remove it",
            );
        }
        if let Some(node) = at.field("request") {
            check_direction(&self.request, &node, reserved_of_request, diagnostics);
        }
        if let Some(node) = at.field("response") {
            check_direction(&self.response, &node, reserved_of_response, diagnostics);
        }
    }
}
