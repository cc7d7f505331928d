//! Preflights: what a browser asks before it lets a page of another origin send a request (Fetch standard, section 3.2).

use portcullis_wire::{KnownName, Method, RequestHead};

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
