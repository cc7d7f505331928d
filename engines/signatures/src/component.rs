//! Components: the parts of a request that a signature may cover (RFC 9421 section 2).

use crate::structured::{Bare, Parameters, push_text};

/// What components are made of: the canonical request, as it is decided on and sent on.
pub struct RequestParts<'r> {
    /// The method, as it was written.
    pub method: &'r [u8],
    /// Whether it came by TLS.
    pub is_https: bool,
    /// The host in lower case, with its port unless it is the scheme's own.
    pub authority: &'r str,
    /// The path.
    pub path: &'r str,
    /// The query without `?`; nothing when there is none.
    pub query: Option<&'r str>,
    /// The value of a field, by its name in lower case: its lines joined by a comma and a space. Nothing when it is not there, or another field could
    /// be taken for it.
    pub field: &'r dyn Fn(&str) -> Option<Vec<u8>>,
}

/// A part of a request that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    QueryParam(String),
    Field(String),
}

impl Component {
    /// The component of an identifier. Nothing when it is not known, is not one of requests, or has a parameter that is not taken.
    pub(crate) fn of(name: &str, parameters: &Parameters) -> Option<Self> {
        match (name, &parameters[..]) {
            ("@query-param", [(key, Bare::Text(value))]) if key == "name" => Some(Self::QueryParam(value.clone())),
            ("@method", []) => Some(Self::Method),
            ("@target-uri", []) => Some(Self::TargetUri),
            ("@authority", []) => Some(Self::Authority),
            ("@scheme", []) => Some(Self::Scheme),
            ("@request-target", []) => Some(Self::RequestTarget),
            ("@path", []) => Some(Self::Path),
            ("@query", []) => Some(Self::Query),
            (field, []) if is_field_name(field) => Some(Self::Field(field.to_owned())),
            _ => None,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Method => "@method",
            Self::TargetUri => "@target-uri",
            Self::Authority => "@authority",
            Self::Scheme => "@scheme",
            Self::RequestTarget => "@request-target",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::QueryParam(_) => "@query-param",
            Self::Field(name) => name,
        }
    }

    /// Writes its identifier.
    pub(crate) fn push_identifier(&self, out: &mut Vec<u8>) {
        push_text(self.name(), out);
        if let Self::QueryParam(name) = self {
            out.extend_from_slice(b";name=");
            push_text(name, out);
        }
    }

    /// Writes its value. Nothing when the request does not have it, or has it twice.
    pub(crate) fn push_value(&self, request: &RequestParts<'_>, out: &mut Vec<u8>) -> Option<()> {
        let scheme = if request.is_https { "https" } else { "http" };
        match self {
            Self::Method => out.extend_from_slice(request.method),
            Self::TargetUri => {
                out.extend_from_slice(format!("{scheme}://{}", request.authority).as_bytes());
                push_target(request, out);
            }
            Self::Authority => out.extend_from_slice(request.authority.as_bytes()),
            Self::Scheme => out.extend_from_slice(scheme.as_bytes()),
            Self::RequestTarget => push_target(request, out),
            Self::Path => out.extend_from_slice(request.path.as_bytes()),
            Self::Query => {
                out.push(b'?');
                out.extend_from_slice(request.query.unwrap_or_default().as_bytes());
            }
            Self::QueryParam(name) => out.extend_from_slice(query_param(request.query?, name)?.as_bytes()),
            Self::Field(name) => out.extend_from_slice(&(request.field)(name)?),
        }
        Some(())
    }
}

fn push_target(request: &RequestParts<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(request.path.as_bytes());
    if let Some(query) = request.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
}

/// Whether a text is the name of a field in lower case.
#[must_use]
pub fn is_field_name(text: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(is_token)
}

/// The value of a parameter of the query, written anew (section 2.2.8). One that comes twice has no value to decide on.
fn query_param(query: &str, wanted: &str) -> Option<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut found = pairs.filter(|(name, _)| form_encoded(name).as_deref() == Some(wanted));
    let (_, value) = found.next()?;
    if found.next().is_some() { None } else { form_encoded(value) }
}

/// What a part of a form says, in the one spelling that signatures have of it.
fn form_encoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = String::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            byte => byte,
        };
        if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::query_param;

    #[test]
    fn parameters_of_a_query_are_written_in_one_spelling() {
        let query = "var=this%20is%20a%20big%0Avalue&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something&a=1&a=2&empty";
        let told = |name: &str| query_param(query, name);
        assert_eq!(told("var").as_deref(), Some("this%20is%20a%20big%0Avalue"));
        assert_eq!(told("bar").as_deref(), Some("with%20plus%20whitespace"));
        assert_eq!(told("fa%C3%A7ade%22%3A%20").as_deref(), Some("something"));
        assert_eq!((told("a"), told("none"), told("empty").as_deref()), (None, None, Some("")));
    }
}
