//! Heads and trailers, from the types of `http` to ours and back. The only place where that happens.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use portcullis_model::Reason;
use portcullis_wire::{
    Fields, HeadLimits, KnownName, PseudoFields, RequestHead, ResponseFraming, ResponseHead, Trailers, WireError,
};
use std::sync::LazyLock;

/// What a field costs in HTTP/1 beside its name and value; records count the same for both.
const FIELD_EXTRA: u64 = 4;

/// Reads a request into canonical form. `ends` says whether no body follows.
pub(super) fn read_request<B>(
    request: &Request<B>,
    head: &mut RequestHead,
    ends: bool,
    limits: &HeadLimits,
) -> Result<(), WireError> {
    let uri = request.uri();
    let pseudo = PseudoFields {
        method: request.method().as_str().as_bytes(),
        scheme: uri.scheme_str().map(str::as_bytes),
        authority: uri.authority().map(|authority| authority.as_str().as_bytes()),
        path: uri.path_and_query().map(|path| path.as_str().as_bytes()),
        protocol: request.extensions().get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().as_bytes()),
    };
    // HTTP/2 is only spoken over TLS.
    head.read_fields(&pseudo, fields(request.headers()), b"https", ends, limits)
}

/// About how many bytes the head of a request has.
pub(super) fn request_bytes<B>(request: &Request<B>) -> u64 {
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let sizes = request.headers().iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64 + FIELD_EXTRA);
    (request.method().as_str().len() + target) as u64 + sizes.sum::<u64>()
}

fn fields(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// Reads the trailers of a request.
pub(super) fn read_trailers(map: &HeaderMap) -> Result<Trailers, WireError> {
    Fields::read_trailers(fields(map), Reason::RequestMalformed)
}

/// The known names as `http` has them, in the order of [`KnownName::ALL`].
static NAMES: LazyLock<Box<[HeaderName]>> =
    LazyLock::new(|| KnownName::ALL.iter().map(|name| HeaderName::from_static(name.as_str())).collect());

fn name_of(known: Option<KnownName>, name: &[u8]) -> Option<HeaderName> {
    match known {
        Some(known) => NAMES.get(known as usize).cloned(),
        None => HeaderName::from_bytes(name).ok(),
    }
}

/// Writes fields; those that `http` does not take cannot be, as they are well-formed. Each value has memory of its own: the library's
/// table may keep one of them for long, and must not keep a whole head with it.
fn write_fields(fields: &Fields, map: &mut HeaderMap) -> u64 {
    let mut bytes = 0;
    for (known, name, value) in fields.end_to_end_known() {
        bytes += (name.len() + value.len()) as u64 + FIELD_EXTRA;
        if let (Some(name), Ok(value)) = (name_of(known, name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    bytes
}

/// Writes the head of an answer with the framing that is meant. Gives also how many bytes it has.
pub(super) fn write_response(head: &ResponseHead, framing: ResponseFraming, upgraded: bool) -> (Response<()>, u64) {
    let mut response = Response::new(());
    let status = if upgraded { StatusCode::OK } else { StatusCode::from_u16(head.status()).unwrap_or(StatusCode::BAD_GATEWAY) };
    *response.status_mut() = status;
    let map = response.headers_mut();
    map.reserve(head.fields().len() + 1);
    let mut bytes = write_fields(head.fields(), map);
    if upgraded {
        // They belong to the handshake of HTTP/1 (RFC 8441 section 5).
        map.remove(http::header::SEC_WEBSOCKET_ACCEPT);
    } else if let Some(length) = head.told_length(framing) {
        map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        bytes += 20;
    }
    (response, bytes)
}

/// Writes trailers.
pub(super) fn write_trailers(trailers: &Trailers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(trailers.len());
    write_fields(trailers, &mut map);
    map
}
