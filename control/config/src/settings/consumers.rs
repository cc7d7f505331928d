//! `consumers`: whom limits apply to.

use portcullis_engines_jose::ClaimPath;
use portcullis_model_settings::{
    Decode, Diagnostics, FieldSchema, Name, Node, Schema, Section, Spanned, Value, scalar_schema, section, section_schema,
};
use serde_json::json;
use std::sync::Arc;

/// Somebody whom limits apply to, whatever credentials they have.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Who it is.
    pub fits: ConsumerMatch,
    /// The plan that it has.
    pub plan: Option<Spanned<Name>>,
}

section! {
    /// Who a consumer is, by exactly one of `claim` (of the tokens of `provider`), `api_key`, `certificate`
    /// and `signature`. Nobody can be two consumers.
    pub struct ConsumerMatch {
        /// The provider of the tokens, with `claim`.
        pub provider: Option<Spanned<Name>>,
        /// A claim and the text in it, such as `{ azp: mobile }`. All consumers of a provider are told by the same claim.
        pub claim: Option<Spanned<ClaimText>>,
        /// The keys of one name: `STORE/NAME`.
        pub api_key: Option<Spanned<CallerName>>,
        /// The client with certificates of one name: `LIST/NAME`.
        pub certificate: Option<Spanned<CallerName>>,
        /// The keys of one `caller` of those who sign: `LIST/CALLER`.
        pub signature: Option<Spanned<CallerName>>,
    }
}

const MATCH: &str = "match";
const MATCH_DOC: &str = "Who it is.";
const PLAN: &str = "plan";
const PLAN_DOC: &str = "The plan that it has, of `plans`; what that allows counts where a limit says `use: plan`.";

impl Decode for ConsumerSettings {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let section = Section::open(node, &[MATCH, PLAN], diagnostics)?;
        let fits = section.take(MATCH, MATCH_DOC, || None, diagnostics);
        let plan = section.take(PLAN, PLAN_DOC, || Some(None), diagnostics);
        section.close(diagnostics);
        Some(Self { fits: fits?, plan: plan? })
    }

    fn encode(&self) -> Value {
        match &self.plan {
            Some(plan) => json!({ MATCH: self.fits.encode(), PLAN: plan.encode() }),
            None => json!({ MATCH: self.fits.encode() }),
        }
    }

    fn schema() -> Schema {
        let field =
            FieldSchema { key: MATCH, doc: MATCH_DOC.to_owned(), schema: ConsumerMatch::schema(), fallback: None, bounds: None };
        let plan = FieldSchema {
            key: PLAN,
            doc: PLAN_DOC.to_owned(),
            schema: <Option<Spanned<Name>>>::schema(),
            fallback: Some(Value::Null),
            bounds: None,
        };
        section_schema("Somebody whom limits apply to, whatever credentials they have.", vec![field, plan], false)
    }
}

/// A claim and the text in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimText {
    /// The claim.
    pub claim: ClaimPath,
    /// The text.
    pub text: Arc<str>,
}

impl Decode for ClaimText {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut entries = node.entries().into_iter().flatten();
        let read = match (entries.next(), entries.next()) {
            (Some((key, value)), None) => {
                let text = value.written().filter(|text| (1..=512).contains(&text.len()));
                ClaimPath::parse(key.key()).zip(text).map(|(claim, text)| Self { claim, text: text.into() })
            }
            _ => None,
        };
        if read.is_none() {
            diagnostics.wrong(node, "one claim with its text, such as `{ azp: mobile }`");
        }
        read
    }

    fn encode(&self) -> Value {
        json!({ self.claim.as_str(): *self.text })
    }

    fn schema() -> Schema {
        json!({
            "type": "object", "title": "claim with its text", "minProperties": 1, "maxProperties": 1,
            "additionalProperties": { "type": "string" },
        })
    }
}

/// A caller by the name that they have where they are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerName {
    /// Where.
    pub provider: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl Decode for CallerName {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let parts = node.as_str().and_then(|text| text.split_once('/'));
        let is_sound = |part: &str| (1..=512).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_graphic());
        let read = parts.filter(|(provider, name)| is_sound(provider) && is_sound(name));
        if read.is_none() {
            diagnostics.wrong(node, "where they are listed and their name there, such as `partners/partner-a`");
        }
        read.map(|(provider, name)| Self { provider: provider.into(), name: name.into() })
    }

    fn encode(&self) -> Value {
        Value::from(format!("{}/{}", self.provider, self.name))
    }

    fn schema() -> Schema {
        scalar_schema("name of a caller", None, "partners/partner-a")
    }
}
