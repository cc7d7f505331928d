//! `POST /v1/ban` and `POST /v1/unban`: what is asked, in the query.

use crate::backend::BanRequest;
use crate::upgrade::{decode, encode};

/// The longest text that is taken, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The operation with its query, for the commands of this program.
#[must_use]
pub fn operation(request: &BanRequest) -> String {
    let path = if request.lifts { "/v1/unban?network=" } else { "/v1/ban?network=" };
    let mut out = format!("{path}{}", encode(request.network.as_bytes()));
    if let Some(until) = request.until {
        out.push_str(&format!("&until={until}"));
    }
    if let Some(reason) = &request.reason {
        out.push_str(&format!("&reason={}", encode(reason.as_bytes())));
    }
    out
}

/// Reads the query.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(query: Option<&str>, lifts: bool) -> Result<BanRequest, &'static str> {
    let (mut network, mut until, mut reason) = (None, None, None);
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').ok_or("a part of the query has no value")?;
        let slot = match name {
            "network" => &mut network,
            "until" => &mut until,
            "reason" => &mut reason,
            _ => return Err("only `network`, `until` and `reason` may be asked for"),
        };
        let text = decode(value).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("a value is not percent-encoded text")?;
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Err("a value is empty, longer than 512 bytes, or has control characters");
        }
        if slot.replace(text).is_some() {
            return Err("each part of the query may stand once");
        }
    }
    if lifts && (until.is_some() || reason.is_some()) {
        return Err("what is lifted is lifted as a whole");
    }
    let until = until.map(|text| text.parse().map_err(|_| "`until` is a number of seconds")).transpose()?;
    Ok(BanRequest { network: network.ok_or("`network` is missing")?, lifts, until, reason })
}

#[cfg(test)]
mod tests {
    use super::{operation, read};
    use crate::backend::BanRequest;

    #[test]
    fn what_is_asked_comes_through() {
        let ban =
            BanRequest { network: "2001:db8::/64".to_owned(), lifts: false, until: Some(7), reason: Some("a b&=%".to_owned()) };
        let lift = BanRequest { lifts: true, until: None, reason: None, ..ban.clone() };
        for request in [ban, lift] {
            let written = operation(&request);
            let (path, query) = written.split_once('?').unwrap();
            assert_eq!(read(Some(query), path == "/v1/unban"), Ok(request), "{written}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in
            ["", "until=5", "network=", "network=a&network=b", "network=a&until=soon", "network=a%0ab", "network=a&force=1"]
        {
            assert!(read(Some(query), false).is_err(), "{query}");
        }
        assert!(read(Some("network=a&until=5"), true).is_err());
    }
}
