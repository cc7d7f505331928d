//! What the handshake of WebSocket over HTTP/1 needs and HTTP/2 does not have (RFC 8441 section 5): where only one side has it, the gateway
//! is the other one of that handshake.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use portcullis_model::RequestId;
use portcullis_wire::{KnownName, RequestHead, ResponseHead, Version};

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (number, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or(b'=');
            out.push(if number <= part.len() { digit } else { b'=' });
        }
    }
    out
}

/// Gives an upgrade that came by a stream the key that the upstream will answer to.
pub(crate) fn add_key(request: &mut RequestHead, nonce: RequestId) {
    if request.wants_websocket() && request.version() == Version::H2 {
        let added = request.fields_mut().set(KnownName::SecWebsocketKey, &base64(&nonce.0.to_be_bytes()));
        debug_assert!(added.is_ok(), "base64 is a valid value");
    }
}

/// Whether an upstream's consent answers to the key. A client of HTTP/1 looks at that itself; for one of HTTP/2 nobody else does.
pub(crate) fn answers_key(request: &RequestHead, response: &ResponseHead) -> bool {
    if request.version() != Version::H2 {
        return true;
    }
    let Some(expected) = accept_of(request) else { return false };
    let mut accepts = response.fields().values(KnownName::SecWebsocketAccept);
    accepts.next() == Some(expected.as_slice()) && accepts.next().is_none()
}

/// Gives an upgrade that an upstream has consented to by a stream the answer to the client's key. A client of HTTP/2 has sent none.
pub(crate) fn complete_handshake(request: &RequestHead, response: &mut ResponseHead) {
    if request.version() != Version::H2
        && let Some(accept) = accept_of(request)
    {
        let added = response.fields_mut().set(KnownName::SecWebsocketAccept, &accept);
        debug_assert!(added.is_ok(), "base64 is a valid value");
    }
}

/// The answer to the key of a request (RFC 6455 section 4.2.2).
fn accept_of(request: &RequestHead) -> Option<Vec<u8>> {
    let key = request.fields().first(KnownName::SecWebsocketKey)?;
    Some(base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::{add_key, answers_key, base64, complete_handshake};
    use portcullis_model::RequestId;
    use portcullis_wire::{HeadLimits, KnownName, Method, PseudoFields, RequestHead, ResponseHead};

    /// An extended CONNECT with the key that the gateway gives it.
    fn connect() -> RequestHead {
        let pseudo = PseudoFields {
            method: b"CONNECT",
            scheme: Some(b"https"),
            authority: Some(b"a.test"),
            path: Some(b"/chat"),
            protocol: Some(b"websocket"),
        };
        let mut request = RequestHead::default();
        let version = [(&b"sec-websocket-version"[..], &b"13"[..])];
        request.read_fields(&pseudo, version.into_iter(), b"https", false, &HeadLimits::default()).unwrap();
        // The nonce of the example in RFC 6455 section 1.3.
        add_key(&mut request, RequestId(u128::from_be_bytes(*b"the sample nonce")));
        request
    }

    #[test]
    fn base64_is_as_its_rfc_shows() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn only_the_answer_to_the_key_is_consent() {
        let request = connect();
        for (accept, consents) in [("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", true), ("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=", false), ("x", false)] {
            let text =
                format!("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
            let mut response = ResponseHead::default();
            response.parse(text.as_bytes(), &HeadLimits::default(), Method::Get).unwrap();
            assert_eq!(answers_key(&request, &response), consents, "{accept}");
        }
    }

    #[test]
    fn a_client_of_http1_gets_the_answer_to_its_key_and_one_of_http2_none() {
        let mut request = RequestHead::default();
        // The example in RFC 6455 section 1.3.
        let text = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        request.parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        let mut response = ResponseHead::default();
        complete_handshake(&request, &mut response);
        let accepts: Vec<_> = response.fields().values(KnownName::SecWebsocketAccept).collect();
        assert_eq!(accepts, [b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
        let mut response = ResponseHead::default();
        complete_handshake(&connect(), &mut response);
        assert_eq!(response.fields().len(), 0);
    }
}
