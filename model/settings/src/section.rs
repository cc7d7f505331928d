//! Sections: one definition gives the struct, how it is read, its JSON schema and its reference.

use crate::{Decode, Diagnostics, Node, PolicyUses, Schema, nearest};
use serde_json::{Map, Value, json};

/// A section that is being read. Used by [`section!`](crate::section).
#[derive(Debug)]
pub struct Section<'t> {
    node: Node<'t>,
    keys: &'static [&'static str],
}

impl<'t> Section<'t> {
    /// Starts to read; reports a value that is not a section.
    pub fn open(node: &Node<'t>, keys: &'static [&'static str], diagnostics: &mut Diagnostics) -> Option<Self> {
        if node.entries().is_none() {
            diagnostics.wrong(node, "a section (`key: value` lines)");
            return None;
        }
        Some(Self { node: *node, keys })
    }

    /// Reads a field, or takes what stands for an absent one; without that, reports that it is missing.
    pub fn take<T: Decode>(&self, key: &str, doc: &str, fallback: fn() -> Option<T>, diagnostics: &mut Diagnostics) -> Option<T> {
        if let Some(value) = self.node.field(key) {
            return T::decode(&value, diagnostics);
        }
        let value = fallback();
        if value.is_none() && !self.is_misspelt(key) {
            let doc = doc.trim().trim_end_matches('.').replace('\n', " ");
            diagnostics.error_with_help(&self.node, format!("`{key}` is missing"), format!("add `{key}`: {}", lower_first(&doc)));
        }
        value
    }

    /// Whether an unknown key was probably meant to be this one; it is reported anyway, with this one's name.
    fn is_misspelt(&self, key: &str) -> bool {
        let unknown =
            self.node.entries().into_iter().flatten().map(|(found, _)| found.key()).filter(|found| !self.keys.contains(found));
        unknown.into_iter().any(|found| nearest(found, self.keys.iter().copied()) == Some(key))
    }

    /// Drops a value outside its bounds, and reports it.
    pub fn within<T: Decode + PartialOrd>(
        &self,
        key: &str,
        value: Option<T>,
        (low, high): (T, T),
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let node = self.node.field(key);
        match (value, node) {
            (Some(value), Some(node)) if value < low || value > high => {
                let (low, high) = (plain(&low.encode()), plain(&high.encode()));
                diagnostics.wrong(&node, &format!("`{low}` to `{high}`"));
                None
            }
            (value, _) => value,
        }
    }

    /// Reports the keys that nobody asked for.
    pub fn close(self, diagnostics: &mut Diagnostics) {
        for (key, _) in self.node.entries().into_iter().flatten().filter(|(key, _)| !self.keys.contains(&key.key())) {
            diagnostics.unknown_key(&key, self.keys.iter().copied());
        }
    }

    /// Reads the keys that nobody asked for as policies, and reports those that are none.
    pub fn close_with_policies(self, diagnostics: &mut Diagnostics) -> PolicyUses {
        PolicyUses::decode(&self.node, self.keys, diagnostics)
    }
}

/// The same text with a small first letter, unless it starts with an abbreviation.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The documentation, default and bounds of one field. Used by [`section!`](crate::section).
#[derive(Debug)]
pub struct FieldSchema {
    /// The key.
    pub key: &'static str,
    /// Its documentation.
    pub doc: String,
    /// The schema of its type.
    pub schema: Schema,
    /// What stands for it when absent: nothing when it is required.
    pub fallback: Option<Value>,
    /// The least and the greatest value allowed.
    pub bounds: Option<(Value, Value)>,
}

/// The JSON schema of a section from its fields. Used by [`section!`](crate::section).
#[must_use]
pub fn section_schema(doc: &str, fields: Vec<FieldSchema>, policies: bool) -> Schema {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let mut schema = field.schema;
        if let Value::Object(schema) = &mut schema {
            // A section keeps what it says of itself beside what the field says of it.
            if let Some(about) = schema.insert("description".to_owned(), Value::String(field.doc)) {
                schema.insert("x-about".to_owned(), about);
            }
            match field.fallback {
                None => required.push(Value::from(field.key)),
                Some(Value::Null | Value::Object(_)) => {}
                Some(default) => drop(schema.insert("default".to_owned(), default)),
            }
            if let Some((low, high)) = field.bounds {
                let (least, greatest) = if low.is_number() { ("minimum", "maximum") } else { ("x-minimum", "x-maximum") };
                schema.insert(least.to_owned(), low);
                schema.insert(greatest.to_owned(), high);
            }
        }
        properties.insert(field.key.to_owned(), schema);
    }
    let mut out = json!({ "type": "object", "description": doc, "properties": properties, "additionalProperties": false });
    if let Value::Object(out) = &mut out {
        if !required.is_empty() {
            out.insert("required".to_owned(), Value::Array(required));
        }
        if policies {
            out.insert("x-policies".to_owned(), Value::Bool(true));
        }
    }
    out
}

/// The key of a field: its name, also where that is a word of the language (`r#use`).
#[must_use]
pub const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Joins the lines of a doc comment.
#[must_use]
pub fn doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// Defines a section of the configuration: a struct with public fields, each with its documentation, its type, and what is true when
/// the operator does not write it.
///
/// ```
/// use portcullis_model_settings::{Decode, section};
///
/// section! {
///     /// How many.
///     pub struct Limits {
///         /// Connections at the same time.
///         pub connections: u32 where (1, 1_000_000) = 20_000,
///         /// Who is told; required, because there is neither a default nor an `Option`.
///         pub owner: String,
///         /// Requests on one connection, unlimited when absent.
///         pub requests: Option<u64>,
///     }
/// }
/// assert_eq!(Limits::schema()["required"], serde_json::json!(["owner"]));
/// ```
///
/// The macro implements [`Decode`]: unknown keys are refused with the nearest name, wrong types with what was expected, everything
/// at once. A section whose fields all have defaults may itself be absent. `.. pub policies: PolicyUses` at the end lets the section
/// carry policies under their own names.
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                pub $field:ident : $ty:ty $(where ($low:expr, $high:expr))? $(= $default:expr)?
            ),* $(,)?
            $(; .. pub $rest:ident : PolicyUses $(,)?)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $(
                $(#[doc = $field_doc])*
                pub $field: $ty,
            )*
            $(
                /// The policies configured here.
                pub $rest: $crate::PolicyUses,
            )?
        }

        impl $crate::Decode for $name {
            fn decode(node: &$crate::Node<'_>, diagnostics: &mut $crate::Diagnostics) -> Option<Self> {
                const KEYS: &[&str] = &[$($crate::key(stringify!($field))),*];
                let section = $crate::Section::open(node, KEYS, diagnostics)?;
                $(
                    let $field: Option<$ty> = section.take(
                        $crate::key(stringify!($field)),
                        concat!($($field_doc, "\n"),*),
                        || $crate::section!(@fallback $ty $(, $default)?),
                        diagnostics,
                    );
                    $(let $field = section.within($crate::key(stringify!($field)), $field, ($low, $high), diagnostics);)?
                )*
                $crate::section!(@close section, diagnostics $(, $rest)?);
                Some(Self { $($field: $field?,)* $($rest,)? })
            }

            fn encode(&self) -> $crate::Value {
                let mut out = $crate::Object::new();
                $(
                    let value = $crate::Decode::encode(&self.$field);
                    if !value.is_null() {
                        out.insert($crate::key(stringify!($field)).to_owned(), value);
                    }
                )*
                $crate::Value::Object(out)
            }

            fn schema() -> $crate::Schema {
                let fields = vec![$(
                    $crate::FieldSchema {
                        key: $crate::key(stringify!($field)),
                        doc: $crate::doc(&[$($field_doc),*]),
                        schema: <$ty as $crate::Decode>::schema(),
                        fallback: {
                            let fallback: Option<$ty> = $crate::section!(@fallback $ty $(, $default)?);
                            fallback.map(|value| $crate::Decode::encode(&value))
                        },
                        bounds: $crate::section!(@bounds $ty $(, $low, $high)?),
                    }
                ),*];
                $crate::section_schema(&$crate::doc(&[$($doc),*]), fields, $crate::section!(@policies $($rest)?))
            }

            fn absent() -> Option<Self> {
                Some(Self {
                    $($field: $crate::section!(@fallback $ty $(, $default)?)?,)*
                    $($rest: <$crate::PolicyUses as Default>::default(),)?
                })
            }
        }
    };
    (@fallback $ty:ty, $default:expr) => { Some::<$ty>($default) };
    (@fallback $ty:ty) => { <$ty as $crate::Decode>::absent() };
    (@bounds $ty:ty, $low:expr, $high:expr) => {
        Some(($crate::Decode::encode(&{ let low: $ty = $low; low }), $crate::Decode::encode(&{ let high: $ty = $high; high })))
    };
    (@bounds $ty:ty) => { None };
    (@policies $rest:ident) => { true };
    (@policies) => { false };
    (@close $section:ident, $diagnostics:ident, $rest:ident) => {
        let $rest = $section.close_with_policies($diagnostics);
    };
    (@close $section:ident, $diagnostics:ident) => {
        $section.close($diagnostics);
    };
}

/// Defines a choice between words: an enum whose variants the operator writes as the given text. Words after `later` belong to the
/// design but are refused as not available in this version.
///
/// ```
/// use portcullis_model_settings::{Decode, choice};
///
/// choice! {
///     /// Where to.
///     pub enum Target {
///         /// Standard output.
///         Stdout = "stdout",
///         /// A file.
///         File = "file",
///     }
///     later "syslog"
/// }
/// assert_eq!(Target::File.encode(), "file");
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $(
                $(#[doc = $variant_doc:literal])*
                $variant:ident = $word:literal
            ),* $(,)?
        }
        $(later $($later:literal),+)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant,)*
        }

        impl $name {
            /// The word the operator writes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl $crate::Decode for $name {
            fn decode(node: &$crate::Node<'_>, diagnostics: &mut $crate::Diagnostics) -> Option<Self> {
                match node.written() {
                    $(Some($word) => return Some(Self::$variant),)*
                    _ => {}
                }
                $crate::refuse_word(node, &[$($word),*], &[$($($later),+)?], diagnostics);
                None
            }

            fn encode(&self) -> $crate::Value {
                $crate::Value::from(self.as_str())
            }

            fn schema() -> $crate::Schema {
                $crate::word_schema(&[$($word),*])
            }
        }
    };
}

/// Reports a word that is not one of those allowed. Used by [`choice!`](crate::choice).
pub fn refuse_word(node: &Node<'_>, words: &[&str], later: &[&str], diagnostics: &mut Diagnostics) {
    match node.written() {
        Some(word) if later.contains(&word) => diagnostics.error_with_help(
            node,
            format!("`{word}` is not available in this version"),
            format!("what can be written here: {}", crate::listed(words)),
        ),
        Some(word) if !word.is_empty() => {
            let help = match crate::nearest(word, words.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`"),
                None => format!("what can be written here: {}", crate::listed(words)),
            };
            diagnostics.error_with_help(node, format!("unknown value {}", crate::quoted(word)), help);
        }
        _ => diagnostics.wrong(node, &format!("one of {}", crate::listed(words))),
    }
}

/// The schema of a choice between words. Used by [`choice!`](crate::choice).
#[must_use]
pub fn word_schema(words: &[&str]) -> Schema {
    // A word like `1.2` is a number to whatever reads YAML by the schema.
    let number = |word: &&str| word.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from);
    let numbers = words.iter().filter_map(number);
    json!({ "enum": words.iter().map(|word| Value::from(*word)).chain(numbers).collect::<Vec<_>>() })
}
