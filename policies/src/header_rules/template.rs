//! Values of header fields with variables in them.

use portcullis_gateway_policy::Exchange;
use portcullis_model_settings::{Decode, Diagnostics, Node, Schema, Value, listed, quoted};
use serde_json::json;
use std::io::Write;
use std::sync::Arc;

/// The longest value as it is written, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// What a variable stands for. None of it is text that a client chose, but for the host, which is one that a route has, and what a
/// provider says of who is calling, which is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    ClientIp,
    RequestId,
    Route,
    Api,
    Host,
    Listener,
    Provider,
    Subject,
    Client,
    Consumer,
}

const VARIABLES: [(&str, Variable); 10] = [
    ("client.ip", Variable::ClientIp),
    ("request.id", Variable::RequestId),
    ("route", Variable::Route),
    ("api", Variable::Api),
    ("host", Variable::Host),
    ("listener", Variable::Listener),
    ("principal.provider", Variable::Provider),
    ("principal.subject", Variable::Subject),
    ("principal.client", Variable::Client),
    ("consumer", Variable::Consumer),
];

/// Beginnings of variables that the design names and this version does not have.
const LATER: [&str; 2] = ["principal", "tls"];

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

/// A value of a header field, in which `{…}` stands for something that is known of the request; `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    written: Arc<str>,
    parts: Arc<[Part]>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(super) fn new(text: &str) -> Result<Self, (String, String)> {
        if text.is_empty() || text.len() > VALUE_BYTES_MAX || text.trim() != text || !text.bytes().all(|b| matches!(b, 0x20..=0x7e))
        {
            let what = format!("{} cannot be the value of a header field", quoted(text));
            return Err((
                what,
                format!(
                    "write 1 to {VALUE_BYTES_MAX} printable ASCII characters, without line ends and without spaces at the ends"
                ),
            ));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at_checked(at).unwrap_or((rest, ""));
            plain.push_str(before);
            if let Some(behind) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                plain.extend(brace.chars().next());
                rest = behind;
                continue;
            }
            let Some((name, behind)) = brace.strip_prefix('{').and_then(|inside| inside.split_once('}')) else {
                let what = format!("{} has a brace without its other half", quoted(text));
                return Err((what, "write `{{` and `}}` for braces themselves".to_owned()));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Variable(variable(name)?));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { written: text.into(), parts: parts.into() })
    }

    /// Appends the value for an exchange.
    pub(super) fn write(&self, out: &mut Vec<u8>, exchange: &Exchange) {
        for part in &*self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(Variable::ClientIp) => {
                    let written = write!(out, "{}", exchange.client);
                    debug_assert!(written.is_ok(), "memory can be written to");
                }
                Part::Variable(Variable::RequestId) => out.extend_from_slice(&exchange.record.id.hex()),
                Part::Variable(Variable::Route) => {
                    out.extend_from_slice(exchange.record.route.as_deref().unwrap_or("-").as_bytes())
                }
                Part::Variable(Variable::Api) => out.extend_from_slice(exchange.record.api.as_deref().unwrap_or("-").as_bytes()),
                Part::Variable(Variable::Host) => out.extend_from_slice(exchange.request.host().as_bytes()),
                Part::Variable(variable @ (Variable::Provider | Variable::Subject | Variable::Client | Variable::Consumer)) => {
                    push_escaped(out, principal(*variable, exchange).unwrap_or("-"));
                }
                Part::Variable(Variable::Listener) => out.extend_from_slice(exchange.connection.listener.as_bytes()),
            }
        }
    }
}

/// What is known of who is calling; nothing where nobody was asked.
fn principal(variable: Variable, exchange: &Exchange) -> Option<&str> {
    let principal = exchange.principal()?;
    match variable {
        Variable::Provider => Some(&principal.provider),
        Variable::Subject => Some(&principal.subject),
        Variable::Client => principal.client.as_deref(),
        Variable::Consumer => principal.consumer.as_ref().map(|consumer| &*consumer.name),
        _ => None,
    }
}

/// Appends a text in visible ASCII; anything else in it, and `%`, as `%` and two digits: so each value comes from one text.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => out.push(byte),
            _ => {
                let written = write!(out, "%{byte:02X}");
                debug_assert!(written.is_ok(), "memory can be written to");
            }
        }
    }
}

fn variable(name: &str) -> Result<Variable, (String, String)> {
    if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
        return Ok(*variable);
    }
    let help = format!("what can be written in braces: {}", listed(&VARIABLES.map(|(name, _)| name)));
    let begin = name.split('.').next().unwrap_or_default();
    if LATER.contains(&begin) {
        return Err((format!("`{{{name}}}` is not available in this version"), help));
    }
    Err((format!("there is no variable {}", quoted(name)), help))
}

impl Decode for Template {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.written() else {
            diagnostics.wrong(node, "the value of a header field");
            return None;
        };
        match Self::new(text) {
            Ok(template) => Some(template),
            Err((what, help)) => {
                diagnostics.error_with_help(node, what, help);
                None
            }
        }
    }

    fn encode(&self) -> Value {
        Value::from(&*self.written)
    }

    fn schema() -> Schema {
        json!({ "type": "string", "title": "value of a header field", "maxLength": VALUE_BYTES_MAX })
    }
}
