//! Absolute URIs that somebody says a request was made to, in the spelling that requests themselves have here.

use crate::{WireError, host, path};
use portcullis_model::Reason;

/// An absolute URI of http or https, without its query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalUri {
    /// Whether it is of https.
    pub is_https: bool,
    /// The host, as [`RequestHead::host`](crate::RequestHead::host) has it.
    pub host: String,
    /// The port, the scheme's own where none is written.
    pub port: u16,
    /// The path, as [`RequestHead::path`](crate::RequestHead::path) has it.
    pub path: String,
}

impl CanonicalUri {
    /// Reads a URI (RFC 3986 section 4.3). What stands behind `?` or `#` is not looked at.
    ///
    /// # Errors
    /// When it is none of http or https, or has a host or a path that a request may not have.
    pub fn parse(uri: &[u8]) -> Result<Self, WireError> {
        let scheme = |name: &[u8]| uri.get(..name.len()).filter(|begin| begin.eq_ignore_ascii_case(name)).map(<[u8]>::len);
        let (is_https, begin) = match (scheme(b"https://"), scheme(b"http://")) {
            (Some(length), _) => (true, length),
            (None, Some(length)) => (false, length),
            (None, None) => return Err(WireError::new(Reason::HostInvalid, "a URI that is neither of http nor of https")),
        };
        let rest = uri.get(begin..).unwrap_or_default();
        let rest = rest.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
        let slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (authority, written) = rest.split_at_checked(slash).unwrap_or((rest, b""));
        let (mut host, mut path) = (Vec::new(), Vec::new());
        let port = host::canonical_authority(authority, &mut host)?;
        path::canonicalise(if written.is_empty() { b"/" } else { written }, &mut path)?;
        // INVARIANT: both are canonical, which is ASCII.
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
        Ok(Self { is_https, host: text(host), port: port.unwrap_or(if is_https { 443 } else { 80 }), path: text(path) })
    }
}

#[cfg(test)]
mod tests {
    use super::CanonicalUri;

    #[test]
    fn spellings_of_one_uri_are_one() {
        let one = CanonicalUri { is_https: true, host: "a.test".to_owned(), port: 443, path: "/b/c~".to_owned() };
        for spelling in ["https://a.test/b/c~", "HTTPS://A.Test:443/b/%63%7E?q=1#f", "https://a.test./b/c~#/x"] {
            assert_eq!(CanonicalUri::parse(spelling.as_bytes()).as_ref(), Ok(&one), "{spelling}");
        }
        assert_eq!(CanonicalUri::parse(b"http://a.test?x").map(|uri| (uri.port, uri.path)), Ok((80, "/".to_owned())));
        for other in ["http://a.test/b/c~", "https://a.test:8443/b/c~", "https://b.test/b/c~", "https://a.test/b/c~/"] {
            assert_ne!(CanonicalUri::parse(other.as_bytes()).as_ref(), Ok(&one), "{other}");
        }
        for none in
            ["", "/b/c~", "https:/a.test/b", "ftp://a.test/", "https://", "https:///b", "https://u@a.test/", "https://a.test/%zz"]
        {
            assert!(CanonicalUri::parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
