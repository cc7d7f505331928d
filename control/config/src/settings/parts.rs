//! Shapes of the file: sections that may be missing or wrong without hiding what is wrong elsewhere.

use crate::digest::Digest;
use portcullis_model_settings::{Decode, Diagnostics, Name, Node, Object, Position, Schema, Spanned, Value};
use serde_json::json;
use std::sync::Arc;

/// One named thing: its name is known even when the rest is wrong, so that references to it are not reported too.
#[derive(Clone, Debug)]
pub struct Part<T> {
    /// Its name, and where it was written.
    pub name: Spanned<Name>,
    /// What was written; nothing when it was wrong.
    pub value: Option<Arc<T>>,
    /// A hash of what was written.
    pub digest: Digest,
}

/// Named things, each decoded on its own.
#[derive(Clone, Debug)]
pub struct Parts<T>(pub Vec<Part<T>>);

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Decode> Decode for Parts<T> {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.entries() else {
            diagnostics.wrong(node, "names, each with a section of its own");
            return Some(Self::default());
        };
        let mut out = Vec::new();
        for (key, node) in entries {
            let name = Spanned::<Name>::decode(&key, diagnostics);
            let value = T::decode(&node, diagnostics).map(Arc::new);
            out.extend(name.map(|name| Part { name, value, digest: Digest::of_node(&node) }));
        }
        Some(Self(out))
    }

    fn encode(&self) -> Value {
        let written = self.0.iter().filter_map(|part| Some((part.name.to_string(), part.value.as_ref()?.encode())));
        Value::Object(written.collect::<Object>())
    }

    fn schema() -> Schema {
        json!({
            "type": "object",
            "propertyNames": Name::schema(),
            "additionalProperties": T::schema(),
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// A section that can be written once.
#[derive(Clone, Debug)]
pub struct Once<T> {
    /// Where it was written, if it was.
    pub position: Option<Position>,
    /// What was written; nothing when nothing was, or when it was wrong.
    pub value: Option<T>,
    /// A hash of what was written.
    pub digest: Option<Digest>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { position: None, value: None, digest: None }
    }
}

impl<T: Decode> Decode for Once<T> {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let value = T::decode(node, diagnostics);
        Some(Self { position: Some(node.position()), value, digest: Some(Digest::of_node(node)) })
    }

    fn encode(&self) -> Value {
        self.value.as_ref().map_or(Value::Null, Decode::encode)
    }

    fn schema() -> Schema {
        T::schema()
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// A list whose items keep their number in the file, also when an item before them was wrong.
#[derive(Clone, Debug)]
pub struct Numbered<T>(pub Vec<(u32, T)>);

impl<T: Decode> Decode for Numbered<T> {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(items) = node.items() else {
            diagnostics.wrong(node, "a list (`- ` lines, or `[a, b]`)");
            return None;
        };
        if node.items().into_iter().flatten().next().is_none() {
            diagnostics.error_with_help(node, "the list is empty", "write at least one item");
        }
        let items = (0..).zip(items).filter_map(|(at, item)| Some((at, T::decode(&item, diagnostics)?)));
        Some(Self(items.collect()))
    }

    fn encode(&self) -> Value {
        Value::Array(self.0.iter().map(|(_, item)| item.encode()).collect())
    }

    fn schema() -> Schema {
        json!({ "type": "array", "items": T::schema(), "minItems": 1 })
    }
}
