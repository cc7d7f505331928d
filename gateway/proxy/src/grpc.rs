//! What is known of gRPC here: which requests are of it, and how it says what HTTP says by a status.

use portcullis_wire::{KnownName, RequestHead, Version};

/// Whether a client of gRPC waits for the answer: it looks at `grpc-status`, whatever the status of HTTP.
pub(crate) fn is_grpc(request: &RequestHead) -> bool {
    request.version() == Version::H2 && request.fields().first(KnownName::ContentType).is_some_and(is_content_type)
}

/// `application/grpc`, with a format (`+proto`) or parameters, and not `application/grpc-web`, which is another protocol.
fn is_content_type(value: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let Some((begin, rest)) = value.split_at_checked(TYPE.len()) else { return false };
    begin.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The `grpc-status` for a status of HTTP, by the mapping that the gRPC project publishes for what stands between client and server.
pub(crate) fn status_of(http: u16) -> &'static [u8] {
    match http {
        // INTERNAL
        400 => b"13",
        // UNAUTHENTICATED
        401 => b"16",
        // PERMISSION_DENIED
        403 => b"7",
        // UNIMPLEMENTED
        404 => b"12",
        // UNAVAILABLE
        429 | 502..=504 => b"14",
        // UNKNOWN
        _ => b"2",
    }
}

#[cfg(test)]
mod tests {
    use super::{is_content_type, status_of};

    #[test]
    fn content_types_of_grpc_are_known() {
        for value in ["application/grpc", "Application/gRPC", "application/grpc+proto", "application/grpc;v=1"] {
            assert!(is_content_type(value.as_bytes()), "{value}");
        }
        for value in ["application/grpc-web", "application/grpc-web+proto", "application/json", "application/grp", ""] {
            assert!(!is_content_type(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn statuses_are_mapped_as_the_grpc_project_says() {
        for (http, grpc) in
            [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (405, 2), (413, 2), (500, 2)]
        {
            assert_eq!(status_of(http), grpc.to_string().as_bytes(), "{http}");
        }
    }
}
