//! What the operator writes.

use super::origin::{FieldNames, Origin};
use portcullis_model_settings::{Decode, Diagnostics, Level, Methods, Node, Schema, Tighten, Value, listed, section};
use serde_json::json;
use std::time::Duration;

/// How many origins may be listed.
const ORIGINS_MAX: usize = 256;

/// What pages of other origins may do: `off`, which is what holds when nothing is written, or rules.
#[derive(Clone, Debug)]
pub enum Cors {
    /// Nothing is said to them, and preflights are requests like any other.
    Off,
    /// What the rules say.
    On(CorsRules),
}

section! {
    /// Which pages of other origins may read answers. What the upstream says of it is removed. From an origin that is not listed, and is not
    /// that of the request's own host, requests that change something (all but GET, HEAD and OPTIONS) and WebSockets are refused: 403 with
    /// the code `cross_origin_refused`; others are served without a word to the browser, which then keeps the answer from the page.
    /// A level further in may only list what the level further out lists.
    pub struct CorsRules {
        /// Origins as browsers send them: scheme, host, and the port if it is not the usual one. `*` alone for every one, without credentials.
        pub origins: Vec<Origin>,
        /// Methods that a page may use; those of the routes when absent.
        pub methods: Option<Methods>,
        /// Header fields that a page may send beside those that every page may send.
        pub headers: FieldNames,
        /// Header fields of answers that a page may read beside those that every page may read.
        pub exposed_headers: FieldNames,
        /// Whether cookies and other credentials of the visitor may go along.
        pub credentials: bool = false,
        /// How long a browser may remember the answer to a preflight.
        pub max_age: Duration where (Duration::ZERO, Duration::from_hours(24)) = Duration::from_mins(10),
    }
}

impl Decode for Cors {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        if node.as_str() == Some("off") {
            return Some(Self::Off);
        }
        if node.entries().is_none() {
            diagnostics.wrong(node, "`off`, or a section such as `{ origins: [\"https://app.example.com\"] }`");
            return None;
        }
        CorsRules::decode(node, diagnostics).map(Self::On)
    }

    fn encode(&self) -> Value {
        match self {
            Self::Off => Value::from("off"),
            Self::On(rules) => rules.encode(),
        }
    }

    fn schema() -> Schema {
        json!({ "oneOf": [{ "const": "off" }, CorsRules::schema()] })
    }
}

impl CorsRules {
    fn allows_origin(&self, origin: &Origin) -> bool {
        self.origins.iter().any(|known| known.is_any() || known == origin)
    }
}

impl Tighten for Cors {
    /// `off` further out only says that nobody has said more; what is listed further out bounds what may be listed further in.
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        let (Self::On(outer), Self::On(inner)) = (outer, inner) else { return };
        let mut weaker = |key: &str, more: &[&str]| {
            let node = at.field(key).unwrap_or(*at);
            let what = format!("`{key}` allows more than the level further out: {}", listed(more));
            diagnostics.error_with_help(&node, what, "leave it out here, or list it further out");
        };
        let origins: Vec<&str> = inner.origins.iter().filter(|one| !outer.allows_origin(one)).map(Origin::as_str).collect();
        if !origins.is_empty() {
            weaker("origins", &origins);
        }
        if let (Some(outer), Some(inner)) = (outer.methods, inner.methods)
            && !inner.without(outer).is_empty()
        {
            let more: Vec<&str> = inner.without(outer).iter().map(|method| method.as_str()).collect();
            weaker("methods", &more);
        }
        for (key, outer, inner) in
            [("headers", &outer.headers, &inner.headers), ("exposed_headers", &outer.exposed_headers, &inner.exposed_headers)]
        {
            let more: Vec<&str> = inner.0.iter().map(|name| &**name).filter(|name| !outer.has(name)).collect();
            if !more.is_empty() {
                weaker(key, &more);
            }
        }
        if inner.credentials && !outer.credentials {
            weaker("credentials", &["true"]);
        }
    }

    fn check(&self, at: &Node<'_>, _: Level<'_>, diagnostics: &mut Diagnostics) {
        let Self::On(rules) = self else { return };
        let node = at.field("origins").unwrap_or(*at);
        if rules.origins.is_empty() {
            diagnostics.error_with_help(&node, "no origin is listed", "list the origins of your pages, or write `cors: off`");
        }
        if rules.origins.len() > ORIGINS_MAX {
            diagnostics.error_with_help(&node, format!("{ORIGINS_MAX} origins at most may stand here"), "leave some out");
        }
        for (item, origin) in node.items().into_iter().flatten().zip(&rules.origins) {
            if origin.is_any() && rules.origins.len() > 1 {
                diagnostics.error_with_help(
                    &item,
                    "`*` stands for every origin, so the others say nothing",
                    "keep `*` alone, or remove it",
                );
            } else if origin.is_any() && rules.credentials {
                let help = "list the origins of your own pages, or remove `credentials`";
                diagnostics.error_with_help(&item, "with credentials, every page could act for its visitor", help);
            } else if origin.is_plain() && rules.credentials {
                let what = format!("with credentials, whoever is on the way to `{}` could act for its visitor", origin.as_str());
                diagnostics.error_with_help(&item, what, "serve that page over https, or remove `credentials`");
            }
        }
    }
}
