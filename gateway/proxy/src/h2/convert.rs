//! Heads, from the types of `http` to ours and back.

use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use portcullis_gateway_h2::{FIELD_EXTRA, fields, write_fields};
use portcullis_wire::{HeadLimits, PseudoFields, RequestHead, ResponseFraming, ResponseHead, WireError};

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
