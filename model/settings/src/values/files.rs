//! Files by path, and secrets by reference.

use crate::{Decode, Diagnostics, Node, Schema, Value, scalar_schema};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A path to a file. A relative one starts at the folder of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// A path as it would be written.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path, relative ones taken from `folder`.
    #[must_use]
    pub fn resolve(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }

    /// The path as written.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

fn is_path(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 4095 && !text.chars().any(char::is_control)
}

impl Decode for FilePath {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.as_str() {
            Some(text) if is_path(text) => Some(Self(PathBuf::from(text))),
            _ => {
                diagnostics.wrong(node, "the path of a file");
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::String(self.0.to_string_lossy().into_owned())
    }

    fn schema() -> Schema {
        json!({ "type": "string", "title": "path of a file" })
    }
}

/// Where a secret is found. The secret itself is never written in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// In an environment variable: `env:NAME`.
    Env(String),
    /// In a file: `file:PATH`.
    File(FilePath),
}

impl Decode for SecretRef {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.written().unwrap_or("");
        if let Some(name) = text.strip_prefix("env:") {
            let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if starts && name.len() <= 256 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Some(Self::Env(name.to_owned()));
            }
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| is_path(path)) {
            return Some(Self::File(FilePath::new(path)));
        }
        // SECURITY: what stands here may be the secret itself, so neither it nor its line is shown.
        let help = "write `env:NAME` or `file:PATH`; if a secret was written here, take it out of use, it has been in a file";
        diagnostics.error_at_secret(node, "expected a reference to a secret", help);
        None
    }

    fn encode(&self) -> Value {
        Value::String(match self {
            Self::Env(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.as_path().display()),
        })
    }

    fn schema() -> Schema {
        scalar_schema("reference to a secret", Some("^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"), "env:ORDERS_KEY")
    }
}
