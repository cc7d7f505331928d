//! What a browser says of itself: its cookies, what a request of it is for, and which page sent it.

use portcullis_gateway_policy::{LocalAnswer, SESSION_COOKIE_PREFIX};
use portcullis_wire::{KnownName, Method, RequestHead};

/// The longest value that one of our cookies can have.
const VALUE_BYTES_MAX: usize = 64;

/// The value of one of our cookies. Nothing when there is none, or one that cannot be ours.
///
/// # Errors
/// When it is there twice: a browser sends it once, and which of two is meant nobody knows.
pub(super) fn cookie<'r>(request: &'r RequestHead, name: &str) -> Result<Option<&'r str>, ()> {
    let lines = request.fields().values(KnownName::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
    let value = |pair: &'r [u8]| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    let mut values = lines.filter_map(value);
    let Some(found) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(());
    }
    let is_ours = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let found = Some(found).filter(|value| value.len() <= VALUE_BYTES_MAX && value.iter().all(is_ours));
    Ok(found.and_then(|value| std::str::from_utf8(value).ok()))
}

/// The name of the cookie of a session.
pub(super) fn session_cookie(login: &str) -> String {
    format!("{SESSION_COOKIE_PREFIX}session-{login}")
}

/// The name of the cookie of a login that has begun.
pub(super) fn pending_cookie(login: &str) -> String {
    format!("{SESSION_COOKIE_PREFIX}login-{login}")
}

/// Sets a cookie of ours; an empty value takes it away.
pub(super) fn set_cookie(name: &str, value: &str, max_age: Option<u64>) -> Vec<u8> {
    let age = match max_age {
        _ if value.is_empty() => "; Max-Age=0".to_owned(),
        Some(seconds) => format!("; Max-Age={seconds}"),
        None => String::new(),
    };
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}").into_bytes()
}

/// Sends a browser elsewhere.
pub(super) fn redirect(status: u16, location: String, cookies: Vec<Vec<u8>>) -> LocalAnswer {
    let mut fields = vec![("location", location.into_bytes()), ("cache-control", b"no-store".to_vec())];
    fields.extend(cookies.into_iter().map(|cookie| ("set-cookie", cookie)));
    LocalAnswer { status, fields, body: String::new() }
}

fn sole(request: &RequestHead, name: KnownName) -> Option<&[u8]> {
    let mut values = request.fields().values(name);
    values.next().filter(|_| values.next().is_none())
}

/// Whether somebody wants to see a page, and may be sent elsewhere for it. What a program asks for is not: it would follow to a page that
/// is no answer to it (Fetch Metadata; for browsers without it, what they accept).
pub(super) fn is_navigation(request: &RequestHead) -> bool {
    if request.method() != Method::Get || request.wants_websocket() {
        return false;
    }
    let fields = request.fields();
    if fields.first(KnownName::SecFetchMode).is_some() {
        let is = |name, wanted: &[u8]| sole(request, name) == Some(wanted);
        return is(KnownName::SecFetchMode, b"navigate")
            && (is(KnownName::SecFetchDest, b"document") || fields.first(KnownName::SecFetchDest).is_none());
    }
    let wants_page = |accept: &[u8]| accept.to_ascii_lowercase().windows(9).any(|part| part == b"text/html");
    fields.first_named("x-requested-with").is_none() && fields.values(KnownName::Accept).any(wants_page)
}

/// Whether a request with a session may do what it wants as far as the page is concerned that sent it. Only reading needs no proof; a
/// WebSocket is more than reading, and no other page is kept from it by its browser.
pub(super) fn is_from_own_page(request: &RequestHead, origin: &str) -> bool {
    let is_reading = matches!(request.method(), Method::Get | Method::Head | Method::Options) && !request.wants_websocket();
    if is_reading {
        return true;
    }
    let has = |name| request.fields().first(name).is_some();
    let is_own_site = sole(request, KnownName::SecFetchSite) == Some(b"same-origin");
    let told = sole(request, KnownName::Origin);
    let is_own_origin = told == Some(origin.as_bytes());
    if !is_own_site {
        // Whoever says nothing of the site is an old browser, or a WebSocket of some; its Origin decides.
        return is_own_origin && !has(KnownName::SecFetchSite);
    }
    // Forms of pages that are not to tell where they are (`Referrer-Policy: no-referrer`) have the origin `null`, also on their own site. A
    // WebSocket always has an Origin.
    is_own_origin || (!request.wants_websocket() && (told == Some(b"null") || !has(KnownName::Origin)))
}

#[cfg(test)]
mod tests {
    use super::{cookie, is_from_own_page, is_navigation};
    use crate::testing::exchange;
    use portcullis_gateway_policy::Scheme;

    const WEBSOCKET: &str =
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

    fn with<R>(method: &str, fields: &str, judge: impl FnOnce(&portcullis_wire::RequestHead) -> R) -> R {
        judge(&exchange(&format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), Scheme::Https).request)
    }

    #[test]
    fn only_a_page_that_is_to_be_shown_is_sent_elsewhere() {
        let page = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
        for (method, fields, expected) in [
            ("GET", page, true),
            ("GET", "Accept: text/HTML,*/*\r\n", true),
            ("HEAD", page, false),
            ("POST", page, false),
            ("GET", "Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n", false),
            ("GET", "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nAccept: text/html\r\n", false),
            ("GET", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nAccept: text/html\r\n", false),
            ("GET", "Accept: application/json\r\n", false),
            ("GET", "Accept: */*\r\n", false),
            ("GET", "Accept: text/html\r\nX-Requested-With: XMLHttpRequest\r\n", false),
            ("GET", "", false),
            ("GET", &format!("{WEBSOCKET}{page}"), false),
        ] {
            assert_eq!(with(method, fields, is_navigation), expected, "{method} {fields}");
        }
    }

    #[test]
    fn another_page_changes_nothing_and_opens_no_websocket() {
        let own = "Origin: https://app.test\r\n";
        let site = "Sec-Fetch-Site: same-origin\r\n";
        for (method, fields, expected) in [
            ("GET", String::new(), true),
            ("GET", "Sec-Fetch-Site: cross-site\r\n".to_owned(), true),
            ("POST", own.to_owned(), true),
            ("POST", site.to_owned(), true),
            ("POST", format!("{own}{site}"), true),
            ("POST", format!("Origin: null\r\n{site}"), true),
            ("POST", "Origin: null\r\nSec-Fetch-Site: cross-site\r\n".to_owned(), false),
            ("POST", format!("{own}{own}{site}"), false),
            ("POST", format!("{site}{site}"), false),
            ("GET", format!("{WEBSOCKET}{site}Origin: null\r\n"), false),
            ("POST", String::new(), false),
            ("DELETE", "Origin: null\r\n".to_owned(), false),
            ("PUT", "Origin: https://evil.test\r\n".to_owned(), false),
            ("POST", "Origin: http://app.test\r\n".to_owned(), false),
            ("POST", "Origin: https://app.test.evil.test\r\n".to_owned(), false),
            ("POST", format!("{own}{own}"), false),
            ("POST", format!("{own}Sec-Fetch-Site: cross-site\r\n"), false),
            ("POST", format!("{own}Sec-Fetch-Site: same-site\r\n"), false),
            ("POST", format!("{site}Origin: https://evil.test\r\n"), false),
            ("POST", "Sec-Fetch-Site: none\r\n".to_owned(), false),
            ("GET", WEBSOCKET.to_owned(), false),
            ("GET", format!("{WEBSOCKET}{site}"), false),
            ("GET", format!("{WEBSOCKET}Origin: https://evil.test\r\n"), false),
            ("GET", format!("{WEBSOCKET}{own}"), true),
        ] {
            assert_eq!(
                with(method, &fields, |request| is_from_own_page(request, "https://app.test")),
                expected,
                "{method} {fields}"
            );
        }
    }

    #[test]
    fn a_cookie_is_found_whole_and_once() {
        let find = |fields: &str| {
            with("GET", fields, |request| cookie(request, "__Host-portcullis-s").map(|found| found.map(str::to_owned)))
        };
        let found = |value: &str| Ok(Some(value.to_owned()));
        assert_eq!(find("Cookie: a=1; __Host-portcullis-s=abc; b=x y\r\n"), found("abc"));
        assert_eq!(find("Cookie: a=1\r\nCookie: __Host-portcullis-s=-_\r\n"), found("-_"));
        assert_eq!(find("Cookie: __Host-portcullis-s=a; __Host-portcullis-s=b\r\n"), Err(()));
        assert_eq!(find("Cookie: __Host-portcullis-s=a\r\nCookie: x=y; __Host-portcullis-s=a\r\n"), Err(()));
        for other in [
            "__Host-portcullis-s2=a",
            "x__Host-portcullis-s=a",
            "__host-portcullis-s=a",
            "__Host-portcullis-s",
            "a=__Host-portcullis-s",
        ] {
            assert_eq!(find(&format!("Cookie: {other}\r\n")), Ok(None), "{other}");
        }
        for odd in ["a.b", "a%20", &"a".repeat(65)] {
            assert_eq!(find(&format!("Cookie: __Host-portcullis-s={odd}\r\n")), Ok(None), "{odd}");
        }
    }
}
