//! The health check of gRPC (grpc.health.v1.Health/Check), its two messages read and written by hand. No I/O.

/// The path of the call.
pub(crate) const PATH: &str = "/grpc.health.v1.Health/Check";
/// The longest answer that is looked at; the one that is expected has seven bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024;
/// `SERVING` of `ServingStatus`.
const SERVING: u64 = 1;

/// A `HealthCheckRequest` for a service (the empty name is the server as a whole), in the frame of a call.
pub(crate) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, length-delimited.
        message.push(0x0a);
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Whether a framed `HealthCheckResponse` says that it serves. None: it is not well-formed, is compressed, or not all of the body.
pub(crate) fn is_serving(body: &[u8]) -> Option<bool> {
    let (&[compressed, a, b, c, d], message) = body.split_first_chunk::<5>()?;
    if compressed != 0 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return None;
    }
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (0, _) => return None,
            // The last one counts.
            (1, 0) => status = take_varint(&mut rest)?,
            (_, 0) => drop(take_varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = take_varint(&mut rest)?;
                rest = rest.get(usize::try_from(length).ok()?..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status == SERVING)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{is_serving, request};

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = "s".repeat(200);
        assert_eq!(request(&long)[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message].concat()
    }

    #[test]
    fn only_serving_is_serving() {
        for (message, expected) in [
            (&[0x08, 1][..], Some(true)),
            (&[], Some(false)),
            (&[0x08, 0], Some(false)),
            (&[0x08, 2], Some(false)),
            (&[0x08, 3], Some(false)),
            (&[0x08, 0x81, 0], Some(true)),
            (&[0x08, 1, 0x08, 2], Some(false)),
            // Fields of a later version are passed over.
            (&[0x12, 2, 8, 2, 0x08, 1, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x28, 7], Some(true)),
            (&[0x08], None),
            (&[0x08, 0x80], None),
            (&[0x12, 9, 1], None),
            (&[0x1d, 1], None),
            (&[0x0b], None),
            (&[0x00, 1], None),
            (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], None),
        ] {
            assert_eq!(is_serving(&framed(message)), expected, "{message:?}");
        }
    }

    #[test]
    fn the_frame_must_be_whole_alone_and_not_compressed() {
        for body in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 0]]
        {
            assert_eq!(is_serving(body), None, "{body:?}");
        }
    }
}
