//! Request methods (RFC 9110 section 9).

use crate::{Decode, Diagnostics, Node, Schema, Value, listed, quoted};
use serde_json::json;
use std::fmt;

/// A method that can be routed. CONNECT and TRACE cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Read.
    Get,
    /// Read the head only.
    Head,
    /// Submit.
    Post,
    /// Replace.
    Put,
    /// Change in part.
    Patch,
    /// Remove.
    Delete,
    /// Ask what is possible.
    Options,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// As it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of methods, written as a list: `[GET, POST]`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Methods(u8);

impl Methods {
    /// Every method that can be routed.
    #[must_use]
    pub fn all() -> Self {
        Method::ALL.into_iter().collect()
    }

    /// Whether it is in the set.
    #[must_use]
    pub fn contains(self, method: Method) -> bool {
        self.0 & method.bit() != 0
    }

    /// Those in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The methods, always in the same order.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        Method::ALL.into_iter().filter(move |method| self.contains(*method))
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        Self(methods.into_iter().fold(0, |set, method| set | method.bit()))
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Method::as_str)).finish()
    }
}

impl Decode for Methods {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(items) = node.items() else {
            diagnostics.wrong(node, "a list of methods such as `[GET, POST]`");
            return None;
        };
        let mut set = Self::default();
        let mut right = true;
        for item in items {
            let text = item.written().unwrap_or("");
            match Method::ALL.into_iter().find(|method| method.as_str() == text) {
                Some(method) if set.contains(method) => {
                    diagnostics.error_with_help(&item, format!("{} is listed twice", quoted(text)), "remove one of the two");
                    right = false;
                }
                Some(method) => set.0 |= method.bit(),
                None => {
                    refuse(&item, text, diagnostics);
                    right = false;
                }
            }
        }
        if right && set.is_empty() {
            diagnostics.error_with_help(node, "no method is listed", "list at least one, such as `[GET]`");
            return None;
        }
        right.then_some(set)
    }

    fn encode(&self) -> Value {
        Value::Array(self.iter().map(|method| Value::from(method.as_str())).collect())
    }

    fn schema() -> Schema {
        let names = Method::ALL.map(Method::as_str);
        json!({ "type": "array", "title": "methods", "items": { "enum": names }, "minItems": 1, "uniqueItems": true })
    }
}

fn refuse(item: &Node<'_>, text: &str, diagnostics: &mut Diagnostics) {
    let help = match text {
        "CONNECT" | "TRACE" => "it is never forwarded; remove it".to_owned(),
        _ if Method::ALL.iter().any(|method| method.as_str().eq_ignore_ascii_case(text)) => {
            format!("methods are upper case: write `{}`", text.to_ascii_uppercase())
        }
        _ => format!("what can be written here: {}", listed(&Method::ALL.map(Method::as_str))),
    };
    let what = if text.is_empty() {
        "expected a method".to_owned()
    } else {
        format!("{} is not a method that can be routed", quoted(text))
    };
    diagnostics.error_with_help(item, what, help);
}
