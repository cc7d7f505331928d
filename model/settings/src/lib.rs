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

/// A JSON object, in which keys are sorted.
pub type Object = JsonMap<String, Value>;

#[cfg(test)]
mod tests;
