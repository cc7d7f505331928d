//! `POST /v1/unlock`: who is let in again, in the query.

use crate::backend::UnlockRequest;
use crate::upgrade::{decode, encode};

/// The longest text that is taken, in bytes: what a provider's name for somebody may be, and where it is from.
const TEXT_BYTES_MAX: usize = 1024;

/// The operation with its query, for the commands of this program.
#[must_use]
pub fn operation(request: &UnlockRequest) -> String {
    format!("/v1/unlock?per={}&name={}", encode(request.per.as_bytes()), encode(request.name.as_bytes()))
}

/// Reads the query.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(query: Option<&str>) -> Result<UnlockRequest, &'static str> {
    let (mut per, mut name) = (None, None);
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let (key, value) = pair.split_once('=').ok_or("a part of the query has no value")?;
        let slot = match key {
            "per" => &mut per,
            "name" => &mut name,
            _ => return Err("only `per` and `name` may be asked for"),
        };
        let text = decode(value).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("a value is not percent-encoded text")?;
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Err("a value is empty, longer than 1024 bytes, or has control characters");
        }
        if slot.replace(text).is_some() {
            return Err("each part of the query may stand once");
        }
    }
    Ok(UnlockRequest { per: per.ok_or("`per` is missing")?, name: name.ok_or("`name` is missing")? })
}

#[cfg(test)]
mod tests {
    use super::{operation, read};
    use crate::backend::UnlockRequest;

    #[test]
    fn what_is_asked_comes_through_and_what_is_not_understood_is_refused() {
        let request = UnlockRequest { per: "account".to_owned(), name: "corp/a b&=%/ö".to_owned() };
        let written = operation(&request);
        assert_eq!(read(written.strip_prefix("/v1/unlock?")), Ok(request), "{written}");
        for query in
            ["", "per=key", "name=a/b", "per=key&name=", "per=key&per=key&name=a/b", "per=key&name=a%0ab", "per=a&name=b&all=1"]
        {
            assert!(read(Some(query)).is_err(), "{query}");
        }
    }
}
