//! Which fields of a client never go upstream. One table; aliases are found by folding `_` and `.` to `-` (threats C 56 to 66).

use crate::fields::{Field, FieldName, Fields};
use crate::{KnownName, NameSet};
use crate::{WireError, bytes::trim_ows};
use portcullis_model::Reason;

/// Names that end here, exactly, after folding.
const REMOVED: &[&str] = &[
    // This connection's own (RFC 9110 section 7.6.1, RFC 9113 section 3.2.1).
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    "expect",
    // Who the client says it is, or was: the gateway says that itself.
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-host",
    "x-proxyuser-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "x-azure-clientip",
    "x-appengine-user-ip",
    "x-request-id",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    "remote-user",
    "x-remote-user",
    "x-webauth-user",
    "x-username",
    "x-client-cert",
    "x-ssl-cert",
    // Another path or method than the one that was decided on (threats B 55).
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    // Read as configuration by CGI programs (httpoxy, CVE-2016-5385).
    "proxy",
];

/// Beginnings of names that end here, after folding.
const REMOVED_PREFIXES: &[&str] = &[
    "x-forwarded-",
    "x-original-",
    "x-envoy-",
    "x-authenticated-",
    "x-auth-request-",
    "x-user-",
    "x-consumer-",
    "x-credential-",
    "x-principal-",
    "x-ssl-client-",
    "ssl-client-",
    "x-client-cert-",
    "x-portcullis-",
    "x-skipper-",
];

/// Names that a client may not declare to be of this connection only, because the request would mean something else without them.
const NOT_HOP_BY_HOP: &[KnownName] = &[
    KnownName::Host,
    KnownName::ContentLength,
    KnownName::ContentType,
    KnownName::TransferEncoding,
    KnownName::Authorization,
    KnownName::Cookie,
    KnownName::Expect,
    KnownName::ContentEncoding,
    KnownName::CacheControl,
];

/// Known names among those that end here, and those that the codec writes anew.
const REMOVED_KNOWN: NameSet = NameSet::of(&[
    KnownName::Connection,
    KnownName::KeepAlive,
    KnownName::ProxyConnection,
    KnownName::Te,
    KnownName::Trailer,
    KnownName::TransferEncoding,
    KnownName::Upgrade,
    KnownName::Http2Settings,
    KnownName::ProxyAuthenticate,
    KnownName::ProxyAuthorization,
    KnownName::Expect,
    KnownName::Forwarded,
    KnownName::Via,
    KnownName::XForwardedFor,
    KnownName::XForwardedHost,
    KnownName::XForwardedProto,
    KnownName::XRequestId,
    KnownName::Proxy,
    KnownName::ContentLength,
    KnownName::Host,
]);

/// Refuses a request whose Connection field names something that is not of this connection only.
pub(crate) fn check_connection_tokens(fields: &Fields) -> Result<(), WireError> {
    for token in connection_tokens(fields) {
        if NOT_HOP_BY_HOP.iter().any(|name| token.eq_ignore_ascii_case(name.as_str().as_bytes())) {
            return Err(WireError::new(Reason::RequestMalformed, "Connection names a field that the request needs"));
        }
    }
    Ok(())
}

/// The tokens of every Connection field.
pub(crate) fn connection_tokens(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields.values(KnownName::Connection).flat_map(|value| value.split(|byte| *byte == b',')).map(trim_ows)
}

/// Removes every field that must not go upstream.
pub(crate) fn strip_untrusted(fields: &mut Fields) {
    let nominated: Vec<Vec<u8>> = connection_tokens(fields)
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close"))
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    let mut list = std::mem::take(&mut fields.list);
    list.retain(|field| !must_go(fields, field, &nominated));
    fields.list = list;
}

fn must_go(fields: &Fields, field: &Field, nominated: &[Vec<u8>]) -> bool {
    let name = fields.name_bytes(field.name);
    if nominated.iter().any(|token| token == name) {
        return true;
    }
    match field.name {
        FieldName::Known(known) => REMOVED_KNOWN.contains(known),
        FieldName::Other(_) => is_removed_spelling(name),
    }
}

/// Whether a name, read as a sloppy upstream would read it, is one that ends here. A name that only folding turns into a known one
/// (`content_length`) goes too: nobody needs it but an attacker.
fn is_removed_spelling(name: &[u8]) -> bool {
    let mut folded = [0_u8; 64];
    let Some(folded) = folded.get_mut(..name.len()) else { return false };
    let mut aliased = false;
    for (slot, byte) in folded.iter_mut().zip(name) {
        let is_alias = matches!(byte, b'_' | b'.');
        aliased |= is_alias;
        *slot = if is_alias { b'-' } else { *byte };
    }
    let folded: &[u8] = folded;
    REMOVED_PREFIXES.iter().any(|prefix| folded.starts_with(prefix.as_bytes()))
        || REMOVED.iter().any(|removed| removed.as_bytes() == folded)
        || (aliased && KnownName::of_lower(folded).is_some())
}

/// Removes from an upstream's answer what belongs to the connection to it.
pub(crate) fn strip_hop_by_hop(fields: &mut Fields) {
    let nominated: Vec<Vec<u8>> = connection_tokens(fields).map(<[u8]>::to_ascii_lowercase).collect();
    let mut list = std::mem::take(&mut fields.list);
    list.retain(|field| match field.name {
        FieldName::Known(
            KnownName::Connection
            | KnownName::KeepAlive
            | KnownName::ProxyConnection
            | KnownName::Te
            | KnownName::Trailer
            | KnownName::TransferEncoding
            | KnownName::ContentLength
            | KnownName::Upgrade
            | KnownName::Http2Settings
            | KnownName::ProxyAuthenticate,
        ) => false,
        FieldName::Known(KnownName::SetCookie | KnownName::ContentType | KnownName::StrictTransportSecurity) => true,
        name => !nominated.iter().any(|token| token == fields.name_bytes(name)),
    });
    fields.list = list;
}

/// Whether a field may not come as a trailer: it would change how the message is read or who sent it (RFC 9110 section 6.5.1).
pub(crate) fn is_forbidden_trailer(lower: &[u8]) -> bool {
    const FORBIDDEN: &[&str] = &[
        "host",
        "content-length",
        "content-encoding",
        "content-type",
        "content-range",
        "authorization",
        "cookie",
        "set-cookie",
        "cache-control",
        "max-forwards",
        "range",
        "location",
        "www-authenticate",
        "traceparent",
        "tracestate",
    ];
    lower.starts_with(b"if-")
        || lower.starts_with(b"access-control-")
        || FORBIDDEN.iter().any(|name| name.as_bytes() == lower)
        || is_removed_spelling(lower)
}

#[cfg(test)]
mod tests {
    use super::is_removed_spelling;

    #[test]
    fn c57_every_alias_of_an_identity_field_is_found() {
        for name in [
            "x_forwarded_for",
            "x.forwarded.for",
            "x-forwarded-user",
            "x_real_ip",
            "x_original_url",
            "x-rewrite-url",
            "proxy",
            "remote_user",
            "x_http_method_override",
            "content_length",
            "transfer_encoding",
            "x-user-id",
        ] {
            assert!(is_removed_spelling(name.as_bytes()), "{name}");
        }
        for name in ["x-api-key", "x_api_key", "x-tenant", "idempotency-key", "x-user"] {
            assert!(!is_removed_spelling(name.as_bytes()), "{name}");
        }
    }
}
