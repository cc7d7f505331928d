//! Base paths and path templates, in the canonical form that requests are matched in.

use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Value, quoted, scalar_schema};
use std::ops::Deref;
use std::sync::Arc;

const PATH_MAX: usize = 2048;
const SEGMENTS_MAX: usize = 64;
const PARAMETERS_MAX: usize = 16;

/// What is wrong, and what to do.
type Refusal = (String, String);

fn refusal<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Refusal> {
    Err((what.into(), help.into()))
}

/// Checks that a segment without parameters is in the form in which requests are matched (RFC 3986 sections 3.3 and 6.2.2).
fn check_static(segment: &str) -> Result<(), Refusal> {
    if matches!(segment, "." | "..") {
        return refusal(format!("{} is never part of a canonical path", quoted(segment)), "remove it");
    }
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let (high, low) = (chars.next(), chars.next());
                check_escape(high, low, chars.as_str())?;
            }
            'a'..='z' | 'A'..='Z' | '0'..='9' => {}
            '-' | '.' | '_' | '~' | '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | '=' | ':' | '@' => {}
            '{' | '}' => {
                return refusal("a parameter is a whole segment", "write `{name}` between two slashes, or `{*name}` at the end");
            }
            ';' | '\\' => return refusal(format!("`{c}` is refused in every request, so it cannot be routed"), "remove it"),
            '?' | '#' => return refusal("query and fragment do not belong in a path", "remove them"),
            _ => {
                let escaped: String = c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
                let help = format!("write {} as `{escaped}`", quoted(&c.to_string()));
                return refusal(format!("{} is not in canonical form", quoted(segment)), help);
            }
        }
    }
    check_spelling(segment)
}

fn hex(digit: Option<char>) -> Option<u8> {
    digit.and_then(|digit| digit.to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
}

fn check_escape(high: Option<char>, low: Option<char>, rest: &str) -> Result<(), Refusal> {
    let (Some(high_value), Some(low_value)) = (hex(high), hex(low)) else {
        return refusal("`%` is not followed by two hexadecimal digits", "write a literal `%` as `%25`");
    };
    let byte = high_value << 4 | low_value;
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        return refusal(format!("`%{byte:02X}` is not in canonical form"), format!("write `{}`", char::from(byte)));
    }
    let is_double = byte == b'%' && hex(rest.chars().next()).is_some() && hex(rest.chars().nth(1)).is_some();
    if is_double || matches!(byte, b'/' | b'\\' | b';' | 0..=0x1f | 0x7f) {
        return refusal(
            format!("`%{byte:02X}` cannot be routed here: requests with it are refused"),
            "use a parameter for this segment",
        );
    }
    if [high, low].into_iter().flatten().any(|digit| digit.is_ascii_lowercase()) {
        return refusal("an escape in lower case is not in canonical form", format!("write `%{byte:02X}`"));
    }
    Ok(())
}

/// Escapes must spell UTF-8, as they must in requests.
fn check_spelling(segment: &str) -> Result<(), Refusal> {
    let mut spelt = Vec::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => spelt.extend(hex(chars.next()).zip(hex(chars.next())).map(|(high, low)| high << 4 | low)),
            _ => spelt.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    match std::str::from_utf8(&spelt) {
        Ok(_) => Ok(()),
        Err(_) => refusal(format!("the escapes of {} do not spell UTF-8", quoted(segment)), "use a parameter for this segment"),
    }
}

/// The path below which an API lies: `/`, or `/orders` without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The path as shared text.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The whole path of a route below it.
    #[must_use]
    pub fn join(&self, template: &Template) -> Arc<str> {
        match &*self.0 {
            "/" => template.shared(),
            base => [base, template].concat().into(),
        }
    }

    fn check(text: &str) -> Result<(), Refusal> {
        if text == "/" {
            return Ok(());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return refusal(format!("{} does not begin with `/`", quoted(text)), format!("write {}", quoted(&format!("/{text}"))));
        };
        if let Some(short) = text.strip_suffix('/') {
            return refusal("a base path has no `/` at the end", format!("write {}", quoted(short)));
        }
        if text.len() > PATH_MAX || rest.split('/').count() > SEGMENTS_MAX {
            return refusal(format!("a path has at most {PATH_MAX} bytes and {SEGMENTS_MAX} segments"), "shorten it");
        }
        if rest.contains(['{', '}']) {
            return refusal("a base path has no parameters", "put them into the `path` of the routes");
        }
        for segment in rest.split('/') {
            if segment.is_empty() {
                return refusal("`//` is never part of a canonical path", "write one `/`");
            }
            check_static(segment)?;
        }
        Ok(())
    }
}

impl Decode for BasePath {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = path_text(node, diagnostics)?;
        Self::check(text).map_err(|(what, help)| diagnostics.error_with_help(node, what, help)).ok()?;
        Some(Self(text.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("path", Some("^/"), "/orders")
    }
}

fn path_text<'t>(node: &Node<'t>, diagnostics: &mut Diagnostics) -> Option<&'t str> {
    let text = node.as_str();
    if text.is_none() {
        diagnostics.wrong(node, "a path such as `/items`");
    }
    text
}

/// The path of a route below its API: `/items/{id}`, `/files/{*rest}`; empty for the base path itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Arc<str>);

impl Template {
    /// The template as shared text.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    fn check(text: &str) -> Result<(), Refusal> {
        if text.is_empty() {
            return Ok(());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return refusal(format!("{} does not begin with `/`", quoted(text)), format!("write {}", quoted(&format!("/{text}"))));
        };
        let count = rest.split('/').count();
        if text.len() > PATH_MAX || count > SEGMENTS_MAX {
            return refusal(format!("a path has at most {PATH_MAX} bytes and {SEGMENTS_MAX} segments"), "shorten it");
        }
        let mut names: Vec<&str> = Vec::new();
        for (at, segment) in rest.split('/').enumerate() {
            let is_last = at + 1 == count;
            let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match inner {
                Some(inner) => check_parameter(inner, is_last, &mut names)?,
                None if segment.is_empty() && !is_last => {
                    return refusal("`//` is never part of a canonical path", "write one `/`");
                }
                None => check_static(segment)?,
            }
        }
        Ok(())
    }
}

fn check_parameter<'t>(inner: &'t str, is_last: bool, names: &mut Vec<&'t str>) -> Result<(), Refusal> {
    let name = inner.strip_prefix('*').unwrap_or(inner);
    if name != inner && !is_last {
        return refusal(
            format!("`{{*{name}}}` is not the last segment"),
            "a parameter with `*` takes all that follows; put it at the end",
        );
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || name.len() > 32 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let help = "use up to 32 letters, digits and `_`, beginning with a letter";
        return refusal(format!("{} is not a name for a parameter", quoted(name)), help);
    }
    if names.contains(&name) {
        return refusal(format!("the parameter `{name}` occurs twice"), "give each parameter its own name");
    }
    names.push(name);
    if names.len() > PARAMETERS_MAX {
        return refusal(format!("a path has at most {PARAMETERS_MAX} parameters"), "use `{*rest}` for the end of the path");
    }
    Ok(())
}

impl Deref for Template {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Decode for Template {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = path_text(node, diagnostics)?;
        Self::check(text).map_err(|(what, help)| diagnostics.error_with_help(node, what, help)).ok()?;
        Some(Self(text.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("path template", Some("^(/.*)?$"), "/items/{id}")
    }
}
