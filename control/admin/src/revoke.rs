//! `POST /v1/revoke` and `POST /v1/lift`: what is asked, in the query.

use crate::backend::{RevokeRequest, RevokeWhat};
use crate::upgrade::{decode, encode};

/// The longest name or reason that is taken, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The operation with its query, for the commands of this program.
#[must_use]
pub fn operation(request: &RevokeRequest) -> String {
    let mut out = if request.lifts { "/v1/lift?kind=" } else { "/v1/revoke?kind=" }.to_owned();
    let mut add = |name: &str, value: &str| {
        out.push_str(name);
        out.push_str(&encode(value.as_bytes()));
    };
    match &request.what {
        RevokeWhat::Token { provider, id } => {
            add("token&provider=", provider);
            add("&id=", id);
        }
        RevokeWhat::Subject { provider, id } => {
            add("subject&provider=", provider);
            add("&id=", id);
        }
        RevokeWhat::Key { provider, id } => {
            add("key&provider=", provider);
            add("&id=", id);
        }
        RevokeWhat::Certificate { fingerprint } => add("certificate&id=", fingerprint),
    }
    if let Some(issued_until) = request.issued_until {
        add("&issued_until=", &issued_until.to_string());
    }
    if let Some(until) = request.until {
        add("&until=", &until.to_string());
    }
    if let Some(reason) = &request.reason {
        add("&reason=", reason);
    }
    out
}

#[derive(Default)]
struct Query {
    kind: Option<String>,
    provider: Option<String>,
    id: Option<String>,
    issued_until: Option<String>,
    until: Option<String>,
    reason: Option<String>,
}

/// Reads the query.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(query: Option<&str>, lifts: bool) -> Result<RevokeRequest, &'static str> {
    let Query { kind, provider, id, issued_until, until, reason } = parts(query)?;
    let id = id.ok_or("`id` is missing")?;
    let has_provider = provider.is_some();
    let provider = || provider.clone().ok_or("`provider` is missing");
    let what = match kind.as_deref() {
        Some("token") => RevokeWhat::Token { provider: provider()?, id },
        Some("subject") => RevokeWhat::Subject { provider: provider()?, id },
        Some("key") => RevokeWhat::Key { provider: provider()?, id },
        Some("certificate") if !has_provider => RevokeWhat::Certificate { fingerprint: fingerprint(&id)? },
        Some("certificate") => return Err("a certificate has no `provider`"),
        _ => return Err("`kind` must be `token`, `subject`, `key` or `certificate`"),
    };
    let seconds = |text: Option<String>| text.map(|text| text.parse().map_err(|_| "times are numbers of seconds")).transpose();
    let request = RevokeRequest { what, lifts, issued_until: seconds(issued_until)?, until: seconds(until)?, reason };
    if request.issued_until.is_some() && !matches!(request.what, RevokeWhat::Subject { .. }) {
        return Err("`issued_until` is for subjects alone");
    }
    if lifts && (request.issued_until.is_some() || request.until.is_some()) {
        return Err("what is lifted is lifted as a whole");
    }
    Ok(request)
}

fn parts(query: Option<&str>) -> Result<Query, &'static str> {
    let mut parts = Query::default();
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').ok_or("a part of the query has no value")?;
        let slot = match name {
            "kind" => &mut parts.kind,
            "provider" => &mut parts.provider,
            "id" => &mut parts.id,
            "issued_until" => &mut parts.issued_until,
            "until" => &mut parts.until,
            "reason" => &mut parts.reason,
            _ => return Err("only `kind`, `provider`, `id`, `issued_until`, `until` and `reason` may be asked for"),
        };
        let text = decode(value).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("a value is not percent-encoded text")?;
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Err("a value is empty, longer than 512 bytes, or has control characters");
        }
        if slot.replace(text).is_some() {
            return Err("each part of the query may stand once");
        }
    }
    Ok(parts)
}

/// A SHA-256 in hexadecimal digits, with or without colons, as tools print it.
fn fingerprint(text: &str) -> Result<String, &'static str> {
    let digits: String = text.chars().filter(|one| *one != ':').collect();
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digits.to_ascii_lowercase());
    }
    Err("`id` of a certificate is its SHA-256 in 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` prints it")
}

#[cfg(test)]
mod tests {
    use super::{operation, read};
    use crate::backend::{RevokeRequest, RevokeWhat};

    #[test]
    fn what_is_asked_comes_through() {
        let provider = || "corp".to_owned();
        let whats = [
            RevokeWhat::Token { provider: provider(), id: "a b/%&=\u{fc}".to_owned() },
            RevokeWhat::Subject { provider: provider(), id: "alice".to_owned() },
            RevokeWhat::Key { provider: provider(), id: "q8JMzbL2oTfY".to_owned() },
            RevokeWhat::Certificate { fingerprint: "0a".repeat(32) },
        ];
        for what in whats {
            let is_subject = matches!(what, RevokeWhat::Subject { .. });
            let (until, reason) = (Some(7), Some("lost & found".to_owned()));
            let request = RevokeRequest { what, lifts: false, issued_until: is_subject.then_some(5), until, reason };
            let lifting = RevokeRequest { lifts: true, issued_until: None, until: None, ..request.clone() };
            for request in [request, lifting] {
                let written = operation(&request);
                let (path, query) = written.split_once('?').unwrap();
                assert_eq!(read(Some(query), path == "/v1/lift"), Ok(request), "{written}");
            }
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_tools_print_it() {
        let printed = vec!["0A"; 32].join(":");
        let what = RevokeWhat::Certificate { fingerprint: "0a".repeat(32) };
        assert_eq!(read(Some(&format!("kind=certificate&id={printed}")), false).unwrap().what, what);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in [
            "",
            "kind=token",
            "kind=token&id=a",
            "kind=planet&provider=corp&id=a",
            "kind=token&provider=corp&id=",
            "kind=token&provider=corp&id=a%0ab",
            "kind=token&provider=corp&id=a&id=b",
            "kind=token&provider=corp&id=a&until=soon",
            "kind=token&provider=corp&id=a&issued_until=5",
            "kind=token&provider=corp&id=a&force=1",
            "kind=certificate&id=0a0b",
            "kind=certificate&provider=corp&id=0a",
        ] {
            assert!(read(Some(query), false).is_err(), "{query}");
        }
        assert!(read(Some("kind=token&provider=corp&id=a&until=5"), true).is_err());
    }
}
