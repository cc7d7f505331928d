//! `POST /v1/upgrade`: what is asked, in the query.

use crate::backend::UpgradeRequest;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

/// The longest time that a new version may take to get ready; callers wait a little longer for their answer.
const WITHIN_MAX: Duration = Duration::from_secs(50);

/// The operation with its query, for the commands of this program.
#[must_use]
pub fn operation(request: &UpgradeRequest) -> String {
    let mut out = "/v1/upgrade".to_owned();
    let mut mark = '?';
    if let Some(binary) = &request.binary {
        out.push_str("?binary=");
        out.push_str(&encode(binary.as_os_str().as_bytes()));
        mark = '&';
    }
    if let Some(within) = request.within {
        let _infallible = write!(out, "{mark}within_seconds={}", within.as_secs());
    }
    out
}

/// Reads the query.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(query: Option<&str>) -> Result<UpgradeRequest, &'static str> {
    let mut request = UpgradeRequest::default();
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        match pair.split_once('=') {
            Some(("binary", path)) if request.binary.is_none() => {
                let bytes = decode(path).ok_or("`binary` is not a percent-encoded path")?;
                request.binary = Some(OsString::from_vec(bytes).into());
                if !request.binary.as_deref().is_some_and(Path::is_absolute) {
                    return Err("`binary` must be an absolute path");
                }
            }
            Some(("within_seconds", number)) if request.within.is_none() => {
                let within = number.parse().map(Duration::from_secs).ok();
                request.within = within.filter(|within| (Duration::from_secs(1)..=WITHIN_MAX).contains(within));
                if request.within.is_none() {
                    return Err("`within_seconds` must be a number from 1 to 50");
                }
            }
            _ => return Err("only `binary` and `within_seconds` may be asked for, each once"),
        }
    }
    Ok(request)
}

/// Bytes in a query.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            out.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        out.push(if byte == b'%' { digit(bytes.next()?)? * 16 + digit(bytes.next()?)? } else { byte });
    }
    (!out.contains(&0)).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::{UpgradeRequest, operation, read};
    use std::time::Duration;

    #[test]
    fn what_is_asked_comes_through() {
        for binary in [None, Some("/opt/a b/%41&x=1/portcullis"), Some("/opt/\u{fc}/p")] {
            for within in [None, Some(Duration::from_secs(7))] {
                let request = UpgradeRequest { binary: binary.map(Into::into), within };
                let written = operation(&request);
                assert_eq!(read(written.split_once('?').map(|(_, query)| query)), Ok(request), "{written}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in [
            "binary=relative",
            "binary=",
            "binary=/a&binary=/b",
            "binary=/a%0",
            "binary=/a%00b",
            "within_seconds=0",
            "within_seconds=51",
            "within_seconds=-1",
            "force=1",
            "binary",
            "",
        ] {
            assert!(read(Some(query)).is_err(), "{query}");
        }
    }
}
