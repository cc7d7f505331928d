//! Heads of requests, from our type to that of `http`.

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use http::header::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};
use portcullis_gateway_h2::write_fields;
use portcullis_wire::{BodyFraming, RequestHead};

/// The memory that the parts of a request's head are cut from.
fn bytes_of(parts: &[&[u8]]) -> Bytes {
    Bytes::from(parts.concat())
}

/// Writes the head of a request with the framing that is meant; an upgrade to WebSocket as the extended CONNECT that it is in HTTP/2
/// (RFC 8441 section 5). None: a part of it is one that `http` does not take.
pub(super) fn write_request(head: &RequestHead, is_secure: bool) -> Option<Request<()>> {
    let mut authority = Vec::with_capacity(64);
    head.write_authority(&mut authority);
    let target = match head.query() {
        None => bytes_of(&[head.path().as_bytes()]),
        Some(query) => bytes_of(&[head.path().as_bytes(), b"?", query.as_bytes()]),
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::from_maybe_shared(Bytes::from(authority)).ok()?);
    uri.path_and_query = Some(PathAndQuery::from_maybe_shared(target).ok()?);
    let mut request = Request::new(());
    *request.method_mut() = if head.wants_websocket() { Method::CONNECT } else { Method::from_bytes(head.method_bytes()).ok()? };
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    let map = request.headers_mut();
    map.reserve(head.fields().len() + 3);
    write_fields(head.fields(), map);
    if head.wants_websocket() {
        // The key belongs to the handshake of HTTP/1.
        map.remove(http::header::SEC_WEBSOCKET_KEY);
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    let map = request.headers_mut();
    if let BodyFraming::Length(length) = head.framing() {
        map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if head.takes_trailers() {
        map.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    map.insert(http::header::VIA, HeaderValue::from_bytes(head.via()).ok()?);
    Some(request)
}

/// The number of a stream.
pub(super) fn number_of(response: &ResponseFuture) -> u32 {
    response.stream_id().as_u32()
}

#[cfg(test)]
mod tests {
    use super::write_request;
    use portcullis_wire::{HeadLimits, PseudoFields, RequestHead};

    fn written(text: &str) -> http::Request<()> {
        let mut head = RequestHead::default();
        head.parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        head.strip_untrusted();
        write_request(&head, true).unwrap()
    }

    #[test]
    fn a_request_of_http1_becomes_one_of_http2_without_what_is_its_connections() {
        let request = written(
            "POST /a%20b/c?x=1&y=%2F HTTP/1.1\r\nHost: A.test:8443\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\nTE: trailers\r\n\
             Keep-Alive: 5\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nX-Kept: v\r\nX-Kept: w\r\nX-Real-Ip: 1.2.3.4\r\n\r\n",
        );
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("POST", "https://a.test:8443/a%20b/c?x=1&y=%2F".into())
        );
        let fields: Vec<String> =
            request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(fields, ["x-kept: v", "x-kept: w", "via: 1.1 portcullis"]);
    }

    #[test]
    fn an_upgrade_to_websocket_becomes_an_extended_connect() {
        let request = written(
            "GET /chat?room=1 HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\nX-Forwarded-User: admin\r\n\r\n",
        );
        let protocol = request.extensions().get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
        let uri = request.uri().to_string();
        assert_eq!(
            (request.method().as_str(), uri.as_str(), protocol),
            ("CONNECT", "https://a.test/chat?room=1", Some("websocket"))
        );
        let mut names: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["sec-websocket-protocol", "sec-websocket-version", "via"]);
    }

    #[test]
    fn the_length_is_told_where_it_is_known_and_te_where_the_client_said_it_by_http2() {
        let request = written("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(request.headers()["content-length"], "5");
        let mut head = RequestHead::default();
        let pseudo = PseudoFields { method: b"POST", scheme: None, authority: Some(b"a"), path: Some(b"/s/M"), protocol: None };
        let te = [(b"te".as_slice(), b"trailers".as_slice())];
        head.read_fields(&pseudo, te.into_iter(), b"https", false, &HeadLimits::default()).unwrap();
        head.strip_untrusted();
        let request = write_request(&head, false).unwrap();
        assert_eq!((request.headers()["te"].as_bytes(), request.uri().to_string()), (&b"trailers"[..], "http://a/s/M".into()));
        let mut text = Vec::new();
        head.write_to(&mut text);
        assert!(!String::from_utf8(text).unwrap().contains("te:"), "an upstream of HTTP/1 is not told");
    }
}
