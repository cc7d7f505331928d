//! From a value in the tree to a typed one.

use crate::{Diagnostics, Node, Object, Position, Value, View, quoted};
use serde_json::json;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A JSON schema (draft 2020-12). `title` names the type for the reference, `examples` shows it.
pub type Schema = Value;

/// A type that can be written in a configuration.
pub trait Decode: Sized {
    /// Reads it. Nothing when it is wrong, and then the reason is among the findings.
    ///
    /// To find everything that is wrong at once, a section with a wrong part may still be given back without that part: what was
    /// decoded may only be used when there are no errors among the findings.
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self>;

    /// What an operator would write for it, in canonical form.
    fn encode(&self) -> Value;

    /// The JSON schema of what can be written.
    fn schema() -> Schema;

    /// What it is when nothing is written; nothing when it must be written.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

/// The schema of a value written as text, named for the reference, with an example.
#[must_use]
pub fn scalar_schema(title: &str, pattern: Option<&str>, example: &str) -> Schema {
    match pattern {
        Some(pattern) => json!({ "type": "string", "title": title, "pattern": pattern, "examples": [example] }),
        None => json!({ "type": "string", "title": title, "examples": [example] }),
    }
}

impl Decode for bool {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.view() {
            View::Bool(value) => Some(value),
            _ => {
                diagnostics.wrong(node, "`true` or `false`");
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::Bool(*self)
    }

    fn schema() -> Schema {
        json!({ "type": "boolean" })
    }
}

macro_rules! whole_number {
    ($($ty:ty),*) => {$(
        impl Decode for $ty {
            fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
                let value = match node.view() {
                    View::Int(value) => <$ty>::try_from(value).ok(),
                    _ => None,
                };
                if value.is_none() {
                    diagnostics.wrong(node, &format!("a whole number from 0 to {}", <$ty>::MAX));
                }
                value
            }

            fn encode(&self) -> Value {
                Value::from(*self)
            }

            fn schema() -> Schema {
                json!({ "type": "integer", "minimum": 0 })
            }
        }
    )*};
}
whole_number!(u8, u16, u32, u64);

/// The longest text taken, in bytes.
const TEXT_MAX: usize = 4096;

fn decode_text<'t>(node: &Node<'t>, diagnostics: &mut Diagnostics) -> Option<&'t str> {
    let View::Str(text) = node.view() else {
        let help = match node.written() {
            Some(text) if !text.is_empty() => format!("put it in quotes if it is meant as text: \"{text}\""),
            _ => "write a text".to_owned(),
        };
        diagnostics.error_with_help(node, format!("expected text, found {}", node.describe()), help);
        return None;
    };
    if text.trim().is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        diagnostics.wrong(node, &format!("1 to {TEXT_MAX} bytes of text without control characters"));
        return None;
    }
    Some(text)
}

macro_rules! text {
    ($($ty:ty),*) => {$(
        impl Decode for $ty {
            fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
                decode_text(node, diagnostics).map(Into::into)
            }

            fn encode(&self) -> Value {
                Value::from(&**self)
            }

            fn schema() -> Schema {
                json!({ "type": "string", "title": "text", "minLength": 1, "maxLength": TEXT_MAX })
            }
        }
    )*};
}
text!(String, Box<str>, Arc<str>);

/// A name given by the operator: 1 to 64 of `A-Z a-z 0-9 - _ .`, beginning with a letter or digit. Nothing that could be read as
/// anything else in a log, a metric or another program's configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    const PATTERN: &'static str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

    /// The name as shared text.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    fn is_valid(text: &str) -> bool {
        text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Decode for Name {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.written() {
            Some(text) if Self::is_valid(text) => Some(Self(text.into())),
            Some(text) if !text.is_empty() => {
                let help = "use 1 to 64 of `A-Z a-z 0-9 - _ .`, beginning with a letter or digit";
                diagnostics.error_with_help(node, format!("{} is not a name", quoted(text)), help);
                None
            }
            _ => {
                diagnostics.wrong(node, "a name");
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("name", Some(Self::PATTERN), "orders")
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        T::decode(node, diagnostics).map(Some)
    }

    fn encode(&self) -> Value {
        self.as_ref().map_or(Value::Null, Decode::encode)
    }

    fn schema() -> Schema {
        T::schema()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// The most items a list may have.
const ITEMS_MAX: usize = 1_000_000;

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(items) = node.items() else {
            diagnostics.wrong(node, "a list");
            return None;
        };
        let mut out = Vec::new();
        let mut right = true;
        for item in items.take(ITEMS_MAX) {
            match T::decode(&item, diagnostics) {
                Some(value) => out.push(value),
                None => right = false,
            }
        }
        right.then_some(out)
    }

    fn encode(&self) -> Value {
        Value::Array(self.iter().map(Decode::encode).collect())
    }

    fn schema() -> Schema {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// A value and where it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where; the default position when it was not written.
    pub position: Position,
    /// How many characters to underline there.
    pub width: u32,
}

impl<T> Spanned<T> {
    /// A value that nobody wrote.
    pub fn unwritten(value: T) -> Self {
        Self { value, position: Position::default(), width: 1 }
    }

    /// A value written as this node.
    pub fn new(value: T, node: &Node<'_>) -> Self {
        Self { value, position: node.position(), width: node.width() }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        Some(Self::new(T::decode(node, diagnostics)?, node))
    }

    fn encode(&self) -> Value {
        self.value.encode()
    }

    fn schema() -> Schema {
        T::schema()
    }

    fn absent() -> Option<Self> {
        T::absent().map(Self::unwritten)
    }
}

/// One entry of a [`Named`].
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// The name, and where it was written.
    pub name: Spanned<Name>,
    /// What was written under it.
    pub value: T,
}

/// Things that the operator names: `NAME: value` entries in the order they were written.
#[derive(Clone, Debug)]
pub struct Named<T>(pub Vec<Entry<T>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.entries() else {
            diagnostics.wrong(node, "names, each with a section of its own");
            return None;
        };
        let mut out = Vec::new();
        for (key, value) in entries {
            if let (Some(name), Some(value)) = (Spanned::<Name>::decode(&key, diagnostics), T::decode(&value, diagnostics)) {
                out.push(Entry { name, value });
            }
        }
        Some(Self(out))
    }

    fn encode(&self) -> Value {
        let entries = self.0.iter().map(|entry| (entry.name.to_string(), entry.value.encode()));
        Value::Object(entries.collect::<Object>())
    }

    fn schema() -> Schema {
        json!({
            "type": "object",
            "propertyNames": { "pattern": Name::PATTERN },
            "additionalProperties": T::schema(),
            "x-named": true,
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}
