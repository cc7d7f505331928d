//! What is written in a configuration, and how it becomes typed values: shared by policies, which define their settings, and by the
//! configuration, which reads them all.
//!
//! Nothing here reads files or knows YAML. Untrusted input: nothing here panics, and everything is bounded.

mod decode;
mod diagnostics;
mod nearest;
mod policy;
mod section;
mod tree;
mod values;

pub use decode::{Decode, Entry, Name, Named, Schema, Spanned, scalar_schema};
pub use diagnostics::{Diagnostic, Diagnostics, Severity, is_deceptive, listed, quoted};
pub use nearest::nearest;
pub use policy::{Due, Level, PolicySchema, PolicySettings, PolicyUse, PolicyUses, Tighten};
pub use section::{FieldSchema, Section, doc, key, refuse_word, section_schema, word_schema};
pub use tree::{Entries, FileId, Items, Node, NodeRef, Position, Tree, TreeBuilder, TreeFull, View};
pub use values::{ByteRate, ByteSize, Date, FilePath, Method, Methods, Percent, RequestRate, SecretRef};

pub use ipnet::IpNet as IpNetwork;
pub use serde_json::{Map as JsonMap, Value};

/// A JSON object. Its keys are in whatever order `serde_json` is built to keep them: see [`sorted`].
pub type Object = JsonMap<String, Value>;

/// The same value with the keys of every object in order, whatever order `serde_json` keeps: another crate of the program can turn its
/// `preserve_order` on for all. What is hashed, compared as text, or shown goes through here.
///
/// Recursive; values are made by the program, or read by `serde_json`, which refuses more than 128 levels.
///
/// ```
/// let value = portcullis_model_settings::sorted(serde_json::json!({ "b": [{ "d": 1, "c": 2 }], "a": 3 }));
/// assert_eq!(value.to_string(), r#"{"a":3,"b":[{"c":2,"d":1}]}"#);
/// ```
#[must_use]
pub fn sorted(mut value: Value) -> Value {
    value.sort_all_objects();
    value
}

#[cfg(test)]
mod tests;
