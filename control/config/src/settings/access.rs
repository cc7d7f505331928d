//! `access` of a route: who may call it.

use super::Word;
use portcullis_model_settings::{Decode, Diagnostics, FilePath, Name, Node, Schema, Spanned, Value, choice, section};
use serde_json::json;

/// Who may call a route.
#[derive(Clone, Debug)]
pub enum AccessSettings {
    /// Everybody.
    Public,
    /// Those whom one of these lines fits, and whom the policies permit.
    Allow(AllowedSettings),
}

/// Who may call a route that is not for everybody. One of the two is there at the least.
#[derive(Clone, Debug)]
pub struct AllowedSettings {
    /// Lines of which one must fit; where there is none, none needs to.
    pub lines: Vec<(String, Spanned<AllowSettings>)>,
    /// Set when it must be known who has been revoked elsewhere.
    pub fresh: Option<Spanned<AccessFresh>>,
    /// Policies that must permit it.
    pub policy: Option<Spanned<PolicySource>>,
}

section! {
    /// Who may call a route: everybody, or those whom a line of `allow` fits and whom the policies permit.
    pub struct AccessKeys {
        /// `true` when everybody may call it, without credentials.
        pub public: Option<bool>,
        /// Who may call it: a line, or a list of lines of which one is enough.
        pub allow: Option<AllowLines>,
        /// What must be known of the other nodes before somebody may: with `required` the answer is 503 `revocations_stale` while what they have
        /// revoked may not be known here, for `cluster.store.stale_max`. Nothing when absent.
        pub fresh: Option<Spanned<AccessFresh>>,
        /// Policies in Cedar that must permit it, beside the lines of `allow` or without any: the name of a file, which is read with the
        /// configuration.
        pub policy: Option<Spanned<PolicySource>>,
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
    /// Policies that are written in the configuration itself.
    pub struct PolicyText {
        /// What they are called in records and findings: the file that they are from.
        pub file: FilePath,
        /// The policies.
        pub text: CedarText,
    }
}

/// Where policies are.
#[derive(Clone, Debug)]
pub enum PolicySource {
    /// In a file.
    File(FilePath),
    /// Here.
    Text(PolicyText),
}

impl PolicySource {
    /// The file that they are in, or are said to be from.
    #[must_use]
    pub fn file(&self) -> &FilePath {
        match self {
            Self::File(file) => file,
            Self::Text(text) => &text.file,
        }
    }
}

impl Decode for PolicySource {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.entries() {
            Some(_) => PolicyText::decode(node, diagnostics).map(Self::Text),
            None => FilePath::decode(node, diagnostics).map(Self::File),
        }
    }

    fn encode(&self) -> Value {
        match self {
            Self::File(file) => file.encode(),
            Self::Text(text) => text.encode(),
        }
    }

    fn schema() -> Schema {
        json!({ "oneOf": [FilePath::schema(), PolicyText::schema()] })
    }
}

/// The text of policies.
#[derive(Clone, Debug)]
pub struct CedarText(pub std::sync::Arc<str>);

impl Decode for CedarText {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.as_str() else {
            diagnostics.wrong(node, "policies in Cedar");
            return None;
        };
        Some(Self(text.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        json!({ "type": "string", "title": "policies in Cedar" })
    }
}

section! {
    /// What a caller must have: all that is named in the line.
    pub struct AllowSettings {
        /// One of these roles: names of `roles`, or roles of a provider such as `corp/orders.reader`.
        pub roles: Vec<Spanned<Word>> = Vec::new(),
        /// All of these scopes.
        pub scopes: Vec<Spanned<Word>> = Vec::new(),
        /// To be one of these `consumers`.
        pub consumers: Vec<Spanned<Name>> = Vec::new(),
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
        let allowed = match (said.allow, said.policy) {
            (None, None) => None,
            (lines, policy) => {
                Some(AllowedSettings { lines: lines.map(|lines| lines.0).unwrap_or_default(), fresh: said.fresh, policy })
            }
        };
        match (said.public, allowed) {
            (Some(true), None) if said.fresh.is_some() => {
                let help = "remove `fresh`, or write `allow` with who may";
                diagnostics.error_with_help(node, "whoever may call without credentials cannot have been revoked", help);
                None
            }
            (Some(true), None) => Some(Self::Public),
            (None, Some(allowed)) => Some(Self::Allow(allowed)),
            (Some(false), None) => {
                let help = "write `allow` with who may, or leave the route out";
                diagnostics.error_with_help(node, "`public: false` says nothing about who may call the route", help);
                None
            }
            (Some(_), Some(_)) => {
                let what = if node.field("allow").is_some() {
                    "`public` and `allow` both say who may call the route"
                } else {
                    "`public` and `policy` both say who may call the route"
                };
                diagnostics.error_with_help(node, what, "keep one of the two");
                None
            }
            (None, None) if ["allow", "public", "policy"].iter().any(|key| node.field(key).is_some()) => None,
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
            Self::Allow(AllowedSettings { lines, fresh, policy }) => {
                let mut out = json!({});
                if let (Value::Object(out), false) = (&mut out, lines.is_empty()) {
                    out.insert("allow".to_owned(), lines.iter().map(|(_, line)| line.encode()).collect());
                }
                if let (Value::Object(out), Some(fresh)) = (&mut out, fresh) {
                    out.insert("fresh".to_owned(), fresh.encode());
                }
                if let (Value::Object(out), Some(policy)) = (&mut out, policy) {
                    out.insert("policy".to_owned(), policy.file().encode());
                }
                out
            }
        }
    }

    fn schema() -> Schema {
        AccessKeys::schema()
    }
}
