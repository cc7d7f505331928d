//! Regular expressions of the operator's, bounded when they are read and linear when they are matched.

use portcullis_model_settings::{Decode, Diagnostics, Node, Object, Schema, Value, quoted};
use portcullis_wire::is_gateways_own;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::json;
use std::fmt;
use std::sync::Arc;

/// The longest expression, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// The memory that one compiled expression may take, in bytes: matching costs at most this many steps for each byte looked at.
const COMPILED_BYTES_MAX: usize = 64 * 1024;
/// The memory that matching may keep for each thread, in bytes.
const CACHE_BYTES_MAX: usize = 256 * 1024;
/// How deeply groups may be nested.
const NESTING_MAX: u32 = 32;
/// How many fields or parameters one rule may look at.
const NAMES_MAX: usize = 16;

/// A regular expression that is looked for anywhere in a text of bytes; `^` and `$` stand for the text's begin and end.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn new(text: &str) -> Result<Self, (String, String)> {
        if text.len() > PATTERN_BYTES_MAX {
            let what = format!("the pattern has {} bytes, and {PATTERN_BYTES_MAX} at most may it have", text.len());
            return Err((what, "make several rules of it".to_owned()));
        }
        // SECURITY: bytes, not characters: else `.` would not match a byte that is no UTF-8, and such a byte would hide what stands beside
        // it. For the same reason `.` matches line ends.
        let mut builder = RegexBuilder::new(text);
        builder.unicode(false).dot_matches_new_line(true).nest_limit(NESTING_MAX);
        builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(CACHE_BYTES_MAX);
        match builder.build() {
            Ok(regex) => Ok(Self { text: text.into(), regex }),
            Err(regex::Error::CompiledTooBig(_)) => {
                let what = format!("the pattern needs more than {COMPILED_BYTES_MAX} bytes when compiled");
                Err((what, "use smaller counts in `{…}`, or make several rules of it".to_owned()))
            }
            Err(error) => {
                // The last line says what is wrong; those before draw the pattern, which the report does as well.
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let help = if why.contains("look-around") || why.contains("backreference") {
                    "such patterns cannot be matched in linear time; write it without, or make several rules of it"
                } else {
                    "correct it; in YAML, a pattern with a backslash is best put in single quotes"
                };
                Err((format!("{} is not a pattern: {why}", quoted(text)), help.to_owned()))
            }
        }
    }

    /// Whether it occurs in these bytes.
    pub(super) fn occurs_in(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(bytes)
    }
}

impl Decode for Pattern {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.written().filter(|text| !text.is_empty()) else {
            diagnostics.wrong(node, "a regular expression such as `^/export`");
            return None;
        };
        match Self::new(text) {
            Ok(pattern) => Some(pattern),
            Err((what, help)) => {
                diagnostics.error_with_help(node, what, help);
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::from(&*self.text)
    }

    fn schema() -> Schema {
        json!({ "type": "string", "title": "regular expression", "maxLength": PATTERN_BYTES_MAX, "examples": ["^/export"] })
    }
}

/// Names and the pattern that a value of each must contain.
type Named = Arc<[(Arc<str>, Pattern)]>;

fn decode_named(
    node: &Node<'_>,
    diagnostics: &mut Diagnostics,
    expected: &str,
    read: impl Fn(&Node<'_>, &mut Diagnostics) -> Option<Arc<str>>,
) -> Option<Named> {
    let Some(entries) = node.entries() else {
        diagnostics.wrong(node, expected);
        return None;
    };
    let (mut named, mut right) = (Vec::new(), true);
    for (key, value) in entries {
        match (read(&key, diagnostics), Pattern::decode(&value, diagnostics)) {
            (Some(name), Some(pattern)) => named.push((name, pattern)),
            _ => right = false,
        }
    }
    if named.len() > NAMES_MAX {
        diagnostics.error_with_help(node, format!("a rule looks at {NAMES_MAX} names at most"), "make several rules of it");
        return None;
    }
    right.then(|| named.into())
}

fn encode_named(named: &Named) -> Value {
    if named.is_empty() {
        return Value::Null;
    }
    Value::Object(named.iter().map(|(name, pattern)| (name.to_string(), pattern.encode())).collect::<Object>())
}

fn named_schema(title: &str) -> Schema {
    json!({ "type": "object", "title": title, "additionalProperties": { "type": "string" }, "maxProperties": NAMES_MAX })
}

/// Header fields by name, in lower case.
#[derive(Clone, Debug, Default)]
pub struct FieldPatterns(pub(super) Named);

impl Decode for FieldPatterns {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode_named(node, diagnostics, "names of header fields with their patterns", |key, diagnostics| {
            let name = key.key().to_ascii_lowercase();
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
                diagnostics.error(key, format!("{} is not the name of a header field", quoted(key.key())));
                return None;
            }
            if is_gateways_own(&name) {
                let what = format!("`{name}` of a client never goes upstream, so this would never match");
                diagnostics.error_with_help(key, what, "remove it");
                return None;
            }
            Some(name.into())
        })
        .map(Self)
    }

    fn encode(&self) -> Value {
        encode_named(&self.0)
    }

    fn schema() -> Schema {
        named_schema("header fields with patterns")
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

/// Parameters of the query by name.
#[derive(Clone, Debug, Default)]
pub struct ParameterPatterns(pub(super) Named);

impl Decode for ParameterPatterns {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode_named(node, diagnostics, "names of parameters with their patterns", |key, diagnostics| {
            let name = key.key();
            if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
                diagnostics.error(key, format!("{} is not the name of a parameter", quoted(name)));
                return None;
            }
            Some(name.into())
        })
        .map(Self)
    }

    fn encode(&self) -> Value {
        encode_named(&self.0)
    }

    fn schema() -> Schema {
        named_schema("parameters with patterns")
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}
