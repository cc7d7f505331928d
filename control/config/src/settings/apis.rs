//! `apis`: what is served.

use super::{AccessSettings, AuthenticateSettings, BasePath, CredentialsSettings, Host, Numbered, Template};
use portcullis_model_settings::{
    Decode, Diagnostics, Methods, Name, Named, Node, Object, Schema, Spanned, Value, choice, quoted, section,
};
use serde_json::json;
use std::sync::Arc;

section! {
    /// An API: hosts, a path below which it lies, and the routes that exist. What no route names is refused.
    pub struct ApiSettings {
        /// The hosts it is served on: exact names, `*.example.com` for names below it, or `*` for every host.
        pub hosts: Numbered<Spanned<Host>>,
        /// The path below which its routes lie.
        pub base_path: Spanned<BasePath> = Spanned::unwritten(BasePath::root()),
        /// The upstream its requests go to; or write `weights`.
        pub upstream: Option<Spanned<Name>>,
        /// Instead of `upstream`: several with their shares, such as `{ orders: 95, orders-next: 5 }`. The requests of all its routes are
        /// dealt out in exactly these shares, evenly spread; with 0 an upstream gets none.
        pub weights: Option<Spanned<Named<u32>>>,
        /// Who is told when something is wrong with it.
        pub owner: Option<Arc<str>>,
        /// How it is found out who is calling.
        pub authenticate: Option<Spanned<AuthenticateSettings>>,
        /// What its upstream gets as a credential in place of the client's.
        pub credentials: Option<Spanned<CredentialsSettings>>,
        /// Its routes.
        pub routes: Numbered<RouteSettings>,
        ; .. pub policies: PolicyUses
    }
}

impl ApiSettings {
    /// The upstreams it goes to, with their shares.
    pub fn destinations(&self) -> impl Iterator<Item = (&Spanned<Name>, u32)> {
        let weighted = self.weights.iter().flat_map(|weights| weights.0.iter().map(|entry| (&entry.name, entry.value)));
        self.upstream.iter().map(|name| (name, 1)).chain(weighted)
    }
}

section! {
    /// A route: what it matches and who may call it.
    pub struct RouteSettings {
        /// Its name in logs and metrics, unique in the API.
        pub name: Spanned<Name>,
        /// The methods it serves; nothing is implied, not even HEAD by GET.
        pub methods: Spanned<Methods>,
        /// The path below the API's base path: `/items/{id}`; `{*rest}` as last segment takes all that follows; empty for the base path itself.
        pub path: Spanned<Template>,
        /// Header fields that must have exactly this value.
        pub headers: HeaderMatches,
        /// Who may call it: `{ allow: … }`, or `{ public: true }` if everybody may; a route without an access decision does not load.
        pub access: AccessSettings,
        /// What happens to a path with an encoded slash.
        pub encoded_slash: EncodedSlash = EncodedSlash::Refuse,
        /// Whether a WebSocket may be opened.
        pub websocket: Spanned<bool> = Spanned::unwritten(false),
        ; .. pub policies: PolicyUses
    }
}

choice! {
    /// What happens to a path that contains `%2F`.
    pub enum EncodedSlash {
        /// The request is refused.
        Refuse = "refuse",
        /// It stays as it is, and is data of its segment.
        Keep = "keep",
    }
}

/// Header fields that a request must have with exactly one value; names lower case, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMatches(pub Arc<[(Arc<str>, Arc<str>)]>);

/// The most header fields a route may look at.
const HEADERS_MAX: usize = 16;

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Fields that the gateway reads, writes or removes itself, so that a route cannot depend on what a client sends in them.
fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 16] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "expect",
        "authorization",
        "cookie",
        "forwarded",
        "via",
        "x-real-ip",
    ];
    RESERVED.contains(&name) || name.starts_with("x-forwarded-")
}

impl Decode for HeaderMatches {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.entries() else {
            diagnostics.wrong(node, "names of header fields with their values, such as `{ X-Version: \"2\" }`");
            return None;
        };
        let mut fields: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for (key, value) in entries {
            let name = key.key().to_ascii_lowercase();
            let text = value.written().unwrap_or("");
            if !is_token(&name) {
                diagnostics.error(&key, format!("{} is not the name of a header field", quoted(key.key())));
            } else if is_reserved(&name) {
                let what = format!("`{name}` belongs to the gateway or carries credentials");
                diagnostics.error_with_help(&key, what, "match on a field of your own");
            } else if fields.iter().any(|(known, _)| **known == *name) {
                diagnostics.error_with_help(
                    &key,
                    format!("`{name}` occurs twice"),
                    "names of header fields are the same in any case; keep one",
                );
            } else if text.is_empty() || text.len() > 1024 || text.trim() != text || !text.bytes().all(|b| matches!(b, 0x20..=0x7e))
            {
                diagnostics.wrong(&value, "a value of printable ASCII, not empty and without spaces at its ends");
            } else {
                fields.push((name.into(), text.into()));
            }
        }
        if fields.len() > HEADERS_MAX {
            diagnostics.error_with_help(node, format!("a route looks at most at {HEADERS_MAX} header fields"), "leave some out");
        }
        fields.sort();
        Some(Self(fields.into()))
    }

    fn encode(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        Value::Object(self.0.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect::<Object>())
    }

    fn schema() -> Schema {
        json!({ "type": "object", "title": "header fields", "additionalProperties": { "type": "string" }, "maxProperties": HEADERS_MAX })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}
