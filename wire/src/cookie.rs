//! The cookies of a request, in one reading.

use crate::bytes::{is_token, trim_ows};
use crate::{Fields, KnownName, WireError};
use portcullis_model::Reason;

/// How many cookies a request may have.
const COOKIES_MAX: usize = 128;

fn refuse<T>(detail: &'static str) -> Result<T, WireError> {
    Err(WireError::new(Reason::CookieAmbiguous, detail))
}

/// A cookie's name and value.
pub type Cookie<'f> = (&'f [u8], &'f [u8]);

/// Every cookie as name and value, in order. Decisions about cookies are made on this reading only.
///
/// # Errors
/// A cookie without `=`, with a name that is not a token or a value with bytes that RFC 6265 section 4.1.1 does not allow, a name
/// that comes twice, or too many.
pub fn cookies(fields: &Fields) -> Result<Vec<Cookie<'_>>, WireError> {
    let mut found: Vec<Cookie<'_>> = Vec::new();
    for value in fields.values(KnownName::Cookie) {
        for pair in value.split(|byte| *byte == b';').map(trim_ows) {
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { return refuse("a cookie without `=`") };
            let (name, value) = (pair.get(..equals).unwrap_or_default(), pair.get(equals + 1..).unwrap_or_default());
            let allowed = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
            let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
            if !is_token(name) || !bare.iter().all(allowed) {
                return refuse("a cookie that is not well-formed");
            }
            if found.iter().any(|(known, _)| *known == name) {
                return refuse("a cookie that comes twice");
            }
            if found.len() == COOKIES_MAX {
                return refuse("more cookies than allowed");
            }
            found.push((name, value));
        }
    }
    Ok(found)
}

/// Takes every cookie away whose name begins with `prefix`, in whatever case, also where the rest is not well-formed. Of the fields it is told
/// that they are those of a request (`Cookie`) or of an answer (`Set-Cookie`).
pub fn remove_cookies(fields: &mut Fields, name: KnownName, prefix: &str) {
    let begins =
        |pair: &[u8]| trim_ows(pair).get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()));
    // In an answer what follows the first `;` are attributes.
    let parts = if name == KnownName::SetCookie { 1 } else { usize::MAX };
    let has = |value: &[u8]| value.splitn(parts, |byte| *byte == b';').any(begins);
    if !fields.values(name).any(has) {
        return;
    }
    let rest = |value: &[u8]| -> Vec<u8> {
        let kept: Vec<&[u8]> = value.splitn(parts, |byte| *byte == b';').filter(|pair| !begins(pair)).map(trim_ows).collect();
        kept.join(&b"; "[..])
    };
    let kept: Vec<Vec<u8>> = fields.values(name).map(rest).filter(|value| !value.is_empty()).collect();
    fields.remove(name);
    for value in kept {
        // INVARIANT: what is left of a valid value is valid.
        let _always_valid = fields.append(name, &value).is_ok();
        debug_assert!(_always_valid, "a part of a valid value is valid");
    }
}

#[cfg(test)]
mod tests {
    use super::{cookies, remove_cookies};
    use crate::{Fields, KnownName};

    fn fields(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for value in values {
            fields.append(KnownName::Cookie, value.as_bytes()).unwrap();
        }
        fields
    }

    #[test]
    fn cookies_are_read_in_order() {
        let fields = fields(&["a=1; b=\"2\"", "c="]);
        assert_eq!(cookies(&fields).unwrap(), [(&b"a"[..], &b"1"[..]), (b"b", b"\"2\""), (b"c", b"")]);
    }

    #[test]
    fn cookies_that_read_in_two_ways_are_refused() {
        for bad in [&["a=1; a=2"][..], &["a=1", "a=2"], &["a"], &["a=b c"], &["a=b,c"], &["a b=c"], &["a=1;"]] {
            assert!(cookies(&fields(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cookies_are_taken_away_by_the_begin_of_their_name() {
        let left = |name, values: &[&str]| {
            let mut fields = Fields::default();
            values.iter().for_each(|value| fields.append(name, value.as_bytes()).unwrap());
            remove_cookies(&mut fields, name, "__Host-x-");
            fields.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
        };
        let (request, answer) = (KnownName::Cookie, KnownName::SetCookie);
        assert_eq!(left(request, &["a=1; __Host-x-s=2; b=3"]), ["a=1; b=3"]);
        assert_eq!(left(request, &["__host-X-s=2", "a=1;  b=3", "__Host-x-"]), ["a=1; b=3"]);
        assert_eq!(left(request, &["a=__Host-x-s=2;b"]), ["a=__Host-x-s=2;b"]);
        assert_eq!(left(answer, &["a=1; Path=/", " __HOST-x-s=; Path=/", "b=2"]), ["a=1; Path=/", "b=2"]);
        assert_eq!(left(answer, &["a=1; __Host-x-s=2"]), ["a=1; __Host-x-s=2"]);
    }
}
