//! `access` of a route: who may call it.

use super::Word;
use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Spanned, Value, choice, section};
use serde_json::json;

/// Who may call a route.
#[derive(Clone, Debug)]
pub enum AccessSettings {
    /// Everybody.
    Public,
    /// Those whom one of these lines fits.
    Allow {
        /// The lines.
        lines: Vec<(String, Spanned<AllowSettings>)>,
        /// Set when it must be known who has been revoked elsewhere.
        fresh: Option<Spanned<AccessFresh>>,
    },
}

section! {
    /// Who may call a route: everybody, or those whom a line of `allow` fits.
    pub struct AccessKeys {
        /// `true` when everybody may call it, without credentials.
        pub public: Option<bool>,
        /// Who may call it: a line, or a list of lines of which one is enough.
        pub allow: Option<AllowLines>,
        /// What must be known of the other nodes before somebody may: with `required` the answer is 503 `revocations_stale` while what they have
        /// revoked may not be known here, for `cluster.store.stale_max`. Nothing when absent.
        pub fresh: Option<Spanned<AccessFresh>>,
    }
}

choice! {
    /// What must be known of what other nodes have revoked.
    pub enum AccessFresh {
        /// All of it, but for what is not older than `cluster.store.stale_max`.
        Required = "required",
    }
}

section! {
    /// What a caller must have: all that is named in the line.
    pub struct AllowSettings {
        /// One of these roles: names of `roles`, or roles of a provider such as `corp/orders.reader`.
        pub roles: Vec<Spanned<Word>> = Vec::new(),
        /// All of these scopes.
        pub scopes: Vec<Spanned<Word>> = Vec::new(),
    }
}

/// A line or a list of lines, each with the end of its path.
#[derive(Clone, Debug)]
pub struct AllowLines(Vec<(String, Spanned<AllowSettings>)>);

impl Decode for AllowLines {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(items) = node.items() else {
            return Some(Self(vec![("/allow".to_owned(), Spanned::decode(node, diagnostics)?)]));
        };
        let lines = (0..).zip(items).map(|(at, item)| Some((format!("/allow/{at}"), Spanned::decode(&item, diagnostics)?)));
        let lines: Vec<_> = lines.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
        if lines.is_empty() {
            diagnostics.error_with_help(node, "the list is empty", "add a line, or write `disabled: { all: true, reason: … }`");
        }
        Some(Self(lines))
    }

    fn encode(&self) -> Value {
        Value::Array(self.0.iter().map(|(_, line)| line.encode()).collect())
    }

    fn schema() -> Schema {
        json!({ "oneOf": [AllowSettings::schema(), { "type": "array", "title": "list of such lines", "minItems": 1 }] })
    }
}

impl Decode for AccessSettings {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        if node.entries().is_none() {
            diagnostics.wrong(node, "an access decision: `{ allow: … }`, or `{ public: true }` if everybody may call the route");
            return None;
        }
        let said = AccessKeys::decode(node, diagnostics)?;
        match (said.public, said.allow) {
            (Some(true), None) if said.fresh.is_some() => {
                let help = "remove `fresh`, or write `allow` with who may";
                diagnostics.error_with_help(node, "whoever may call without credentials cannot have been revoked", help);
                None
            }
            (Some(true), None) => Some(Self::Public),
            (None, Some(lines)) => Some(Self::Allow { lines: lines.0, fresh: said.fresh }),
            (Some(false), None) => {
                let help = "write `allow` with who may, or leave the route out";
                diagnostics.error_with_help(node, "`public: false` says nothing about who may call the route", help);
                None
            }
            (Some(_), Some(_)) => {
                diagnostics.error_with_help(node, "`public` and `allow` both say who may call the route", "keep one of the two");
                None
            }
            (None, None) if node.field("allow").is_some() || node.field("public").is_some() => None,
            (None, None) => {
                let help = "add `allow`, or `public: true` if everybody may call the route";
                diagnostics.error_with_help(node, "nothing is said about who may call the route", help);
                None
            }
        }
    }

    fn encode(&self) -> Value {
        match self {
            Self::Public => json!({ "public": true }),
            Self::Allow { lines, fresh } => {
                let mut out = json!({ "allow": lines.iter().map(|(_, line)| line.encode()).collect::<Vec<_>>() });
                if let (Value::Object(out), Some(fresh)) = (&mut out, fresh) {
                    out.insert("fresh".to_owned(), fresh.encode());
                }
                out
            }
        }
    }

    fn schema() -> Schema {
        AccessKeys::schema()
    }
}
