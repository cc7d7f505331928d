//! The file of `portcullis test`: requests, who sends them, and what is to become of each.

use portcullis_model::Reason;
use portcullis_model_settings::{
    Decode, Diagnostics, FilePath, Node, Schema, Spanned, Value, choice, nearest, quoted, scalar_schema, section,
};
use std::net::{IpAddr, Ipv4Addr};

/// An address that nobody has (RFC 5737).
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

section! {
    /// A file of tests.
    pub struct TestFile {
        /// The configuration, from the folder of this file; `--config` goes before it.
        pub configuration: Option<FilePath>,
        /// The tests.
        pub tests: Vec<Spanned<TestSettings>>,
    }
}

section! {
    /// A request, and what is to become of it.
    pub struct TestSettings {
        /// What it shows, for the reader; the request itself when absent.
        pub name: Option<String>,
        /// The request: a method and a URL.
        pub request: Sent,
        /// Its headers, as `Name: value`.
        pub headers: Vec<String> = Vec::new(),
        /// The address that it comes from.
        pub client: Address = Address(CLIENT),
        /// Who sends it; nobody who is known when absent.
        pub caller: Option<CallerSettings>,
        /// What is to become of it.
        pub expect: ExpectSettings,
    }
}

section! {
    /// Someone with a good credential.
    pub struct CallerSettings {
        /// The provider, or the name of client certificates, that vouches for them.
        pub provider: String,
        /// Who they are there, for policies that ask.
        pub subject: String = "somebody".to_owned(),
        /// Roles of that provider.
        pub roles: Vec<String> = Vec::new(),
        /// Scopes.
        pub scopes: Vec<String> = Vec::new(),
        /// The consumer they are by a claim of their token.
        pub consumer: Option<String>,
    }
}

section! {
    /// What is to become of a request. What is not named is not compared.
    pub struct ExpectSettings {
        /// Whether it is let through.
        pub decision: DecisionWord,
        /// The status that it is refused or answered with.
        pub status: Option<u16>,
        /// The code that it is refused with.
        pub code: Option<Code>,
        /// The route that it takes, as `api/route`.
        pub route: Option<String>,
        /// The line of the route's `allow` that lets it through, counted from 1.
        pub line: Option<u16>,
    }
}

choice! {
    /// What becomes of a request.
    pub enum DecisionWord {
        /// It goes to the upstream.
        Allow = "allow",
        /// It is refused.
        Refuse = "refuse",
        /// A policy answers it, as a preflight.
        Answer = "answer",
    }
}

/// A method and a URL.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
}

impl Decode for Sent {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let parts = node.as_str().and_then(|text| text.split_once(' '));
        let is_sent = |(method, url): &(&str, &str)| {
            let is_word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
            is_word(method) && is_word(url) && (url.starts_with("https://") || url.starts_with("http://"))
        };
        let Some((method, url)) = parts.filter(is_sent) else {
            diagnostics.wrong(node, "a method and a URL, such as `GET https://api.example.com/orders`");
            return None;
        };
        Some(Self { method: method.to_owned(), url: url.to_owned() })
    }

    fn encode(&self) -> Value {
        Value::from(format!("{} {}", self.method, self.url))
    }

    fn schema() -> Schema {
        scalar_schema("request", None, "GET https://api.example.com/orders")
    }
}

/// An address.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub IpAddr);

impl Decode for Address {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let address = node.as_str().and_then(|text| text.parse().ok());
        if address.is_none() {
            diagnostics.wrong(node, "an address, such as `192.0.2.1`");
        }
        address.map(Self)
    }

    fn encode(&self) -> Value {
        Value::from(self.0.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("address", None, "192.0.2.1")
    }
}

/// A code of a refusal.
#[derive(Clone, Copy, Debug)]
pub struct Code(pub Reason);

impl Decode for Code {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = node.written().unwrap_or_default();
        let reason = Reason::ALL.iter().find(|reason| reason.code() == text).copied();
        if reason.is_none() {
            let near = nearest(text, Reason::ALL.iter().map(|reason| reason.code()));
            let help = near.map_or_else(
                || "docs/reference/errors.md has all of them".to_owned(),
                |near| format!("did you mean {}? docs/reference/errors.md has all of them", quoted(near)),
            );
            diagnostics.error_with_help(node, format!("nothing is refused with the code {}", quoted(text)), help);
        }
        reason.map(Self)
    }

    fn encode(&self) -> Value {
        Value::from(self.0.code())
    }

    fn schema() -> Schema {
        scalar_schema("code", None, "access_denied")
    }
}
