//! Preflights: what a browser asks before it lets a page of another origin send a request (Fetch standard, section 3.2).

use crate::LocalAnswer;
use portcullis_wire::{KnownName, Method, RequestHead};
use std::time::Duration;

/// How many names a preflight may ask for.
pub const ASKED_MAX: usize = 64;

/// Fields that may stand in a request although its preflight did not name them: what a page may set unasked, and what browsers send of
/// themselves (Fetch standard, sections 2.2.2 and 4.6). Those that begin with `sec-` or `proxy-` belong to them.
const SENT_UNASKED: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-language",
    "content-length",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "device-memory",
    "dnt",
    "downlink",
    "dpr",
    "ect",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-event-id",
    "origin",
    "pragma",
    "priority",
    "purpose",
    "range",
    "referer",
    "rtt",
    "save-data",
    "service-worker",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "viewport-width",
    "width",
    "x-client-data",
    "x-requested-with",
];

/// What a policy allows of the request that a preflight asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The origin whose pages may send it: that of the preflight, or `*`.
    pub origin: String,
    /// The method that was asked for.
    pub method: String,
    /// The fields that were asked for, separated by commas; may be empty.
    pub headers: String,
    /// Whether credentials may go along.
    pub credentials: bool,
    /// How long a browser may remember it.
    pub max_age: Duration,
}

impl Grant {
    /// What both allow of the same preflight.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        if self.origin == "*" {
            self.origin.clone_from(&other.origin);
        }
        self.credentials &= other.credentials;
        self.max_age = self.max_age.min(other.max_age);
        self
    }

    /// The answer that tells it (Fetch standard, section 3.2.3).
    #[must_use]
    pub fn into_answer(self) -> LocalAnswer {
        let vary = if self.origin == "*" { "access-control-request-headers" } else { "origin, access-control-request-headers" };
        let mut fields: Vec<(&'static str, Vec<u8>)> = vec![
            ("access-control-allow-origin", self.origin.into_bytes()),
            ("access-control-allow-methods", self.method.into_bytes()),
            ("access-control-max-age", self.max_age.as_secs().to_string().into_bytes()),
            ("vary", vary.as_bytes().to_vec()),
        ];
        if !self.headers.is_empty() {
            fields.push(("access-control-allow-headers", self.headers.into_bytes()));
        }
        if self.credentials {
            fields.push(("access-control-allow-credentials", b"true".to_vec()));
        }
        LocalAnswer { status: 204, fields, body: String::new() }
    }
}

/// What the other routes say that the request of a preflight may turn out to take, by headers that only the request will have.
#[derive(Debug)]
pub enum Others {
    /// There are none.
    None,
    /// All of them allow this.
    Grant(Box<Grant>),
    /// One of them does not allow it.
    Refuse,
}

/// The method that a preflight asks for: of an OPTIONS with exactly one Origin and exactly one Access-Control-Request-Method. Nothing for
/// any other request.
#[must_use]
pub fn preflight_method(request: &RequestHead) -> Option<&str> {
    if request.method() != Method::Options {
        return None;
    }
    let sole = |name| {
        let mut values = request.fields().values(name);
        values.next().filter(|_| values.next().is_none())
    };
    sole(KnownName::Origin)?;
    std::str::from_utf8(sole(KnownName::AccessControlRequestMethod)?).ok()
}

/// The names of fields that a preflight asks for, as it spells them; no more than [`ASKED_MAX`] and one, which tells that there are more
/// than anybody grants.
pub fn asked_fields(request: &RequestHead) -> impl Iterator<Item = &[u8]> {
    let lines = request.fields().values(KnownName::AccessControlRequestHeaders);
    let names = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
    names.take(ASKED_MAX + 1)
}

/// Whether the request that a preflight asks about may have this field, by its lower-case name: the preflight names it, or browsers may send it
/// unasked.
#[must_use]
pub fn may_bring(request: &RequestHead, name: &str) -> bool {
    SENT_UNASKED.contains(&name)
        || name.starts_with("sec-")
        || name.starts_with("proxy-")
        || asked_fields(request).any(|asked| asked.eq_ignore_ascii_case(name.as_bytes()))
}
