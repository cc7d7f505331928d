//! What policies can speak of, as Cedar's own schema.

use cedar_policy::{Schema as CedarSchema, Validator};
use std::fmt::Write;
use std::sync::Arc;

/// What kind of value a claim has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// True or false.
    Flag,
    /// Several texts.
    Texts,
}

impl Kind {
    fn as_cedar(self) -> &'static str {
        match self {
            Self::Text => "String",
            Self::Number => "Long",
            Self::Flag => "Bool",
            Self::Texts => "Set<String>",
        }
    }
}

/// An operation that policies can decide on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The name of its API.
    pub api: Arc<str>,
    /// The name of its route.
    pub route: Arc<str>,
    /// The names of the parameters of its path.
    pub parameters: Vec<Arc<str>>,
}

/// A schema, ready to check policies.
pub struct Schema {
    pub(crate) validator: Validator,
    text: String,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Schema {
    /// The schema of these operations, and of callers whose credentials have these claims.
    ///
    /// # Errors
    /// When Cedar does not take it, for the operator.
    pub fn new<'o>(operations: impl IntoIterator<Item = &'o Operation>, claims: &[(Arc<str>, Kind)]) -> Result<Self, String> {
        let text = text(operations, claims);
        let (schema, _) = CedarSchema::from_cedarschema_str(&text).map_err(|error| error.to_string())?;
        Ok(Self { validator: Validator::new(schema), text })
    }

    /// The schema as it is written in Cedar.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn text<'o>(operations: impl IntoIterator<Item = &'o Operation>, claims: &[(Arc<str>, Kind)]) -> String {
    let mut out = String::from(
        "// What policies of this configuration can speak of.\n\
         entity Api;\nentity Role;\nentity Scope;\n\
         entity Route in [Api];\nentity Query tags Set<String>;\nentity Caller in [Role, Scope] {\n  \
         provider: String,\n  subject: String,\n  credential: String,\n  client?: String,\n  consumer?: String,\n  claims: {\n",
    );
    // Writing to memory does not fail.
    for (name, kind) in claims {
        let _written = writeln!(out, "    {}?: {},", quoted(name), kind.as_cedar());
    }
    out.push_str("  },\n};\n");
    for one in operations {
        let parameters: Vec<String> = one.parameters.iter().map(|name| format!("{}: String", quoted(name))).collect();
        let _written = writeln!(
            out,
            "action {} appliesTo {{\n  principal: Caller, resource: Route,\n  context: {{ path: {{ {} }}, query: Query, method: String, \
             address: ipaddr, time: datetime }},\n}};",
            quoted(&format!("{}/{}", one.api, one.route)),
            parameters.join(", ")
        );
    }
    out
}

/// A text as Cedar writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
