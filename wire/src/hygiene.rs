//! Which fields of a client never go upstream. One table; aliases are found by folding `_` and `.` to `-` (threats C 56 to 66).

use crate::bytes::trim_ows;
use crate::fields::{Field, FieldName, Fields};
use crate::{KnownName, NameSet, WireError};
use portcullis_model::Reason;

/// How many tokens Connection may have; a request has three at most for a reason.
const CONNECTION_TOKENS_MAX: usize = 32;

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
    "x-originating-ip",
    "x-forwarded",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "fly-client-ip",
    "do-connecting-ip",
    "x-nf-client-connection-ip",
    "x-azure-clientip",
    "x-appengine-user-ip",
    "x-request-id",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    "remote-user",
    "x-remote-user",
    "x-webauth-user",
    // What the terminator of TLS says of the client's certificate (RFC 9440 section 2); here that is the gateway.
    "client-cert",
    "client-cert-chain",
    // What the proxies of clouds say, unsigned, of who is logged in.
    "cf-access-authenticated-user-email",
    "x-amzn-oidc-identity",
    "x-endpoint-api-userinfo",
    "x-apigateway-api-userinfo",
    // Another path or method than the one that was decided on (threats B 55).
    "x-rewrite-url",
    "x-override-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    // Read as configuration by CGI programs (httpoxy, CVE-2016-5385) and by Rack::Sendfile, which then names files to the proxy.
    "proxy",
    "x-sendfile-type",
    "x-accel-mapping",
];

/// Beginnings of names that end here, after folding.
const REMOVED_PREFIXES: &[&str] = &[
    "x-forwarded-",
    "x-original-",
    "x-envoy-",
    "x-authenticated-",
    "x-auth-request-",
    "x-user",
    "x-consumer-",
    "x-credential-",
    "x-principal-",
    // What terminators of TLS say of the client's certificate.
    "x-ssl-",
    "x-tls-",
    "ssl-",
    "x-client-cert",
    "x-client-dn",
    "x-client-verif",
    "x-client-subject",
    "x-client-issuer",
    "x-client-san",
    "x-client-fingerprint",
    "x-client-serial",
    "x-mtls-",
    "x-amzn-mtls-",
    "x-arr-clientcert",
    "x-arr-ssl",
    "x-ms-client-principal",
    "x-goog-authenticated-user-",
    "tailscale-user-",
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

/// Refuses a request whose Connection field names something that is not of this connection only, or more than anybody needs: each
/// of its tokens is compared with every field.
pub(crate) fn check_connection_tokens(fields: &Fields) -> Result<(), WireError> {
    check_token_count(fields, Reason::RequestMalformed)?;
    for token in connection_tokens(fields) {
        if NOT_HOP_BY_HOP.iter().any(|name| token.eq_ignore_ascii_case(name.as_str().as_bytes())) {
            return Err(WireError::new(Reason::RequestMalformed, "Connection names a field that the request needs"));
        }
    }
    Ok(())
}

/// Refuses a Connection field with more tokens than anybody needs.
pub(crate) fn check_token_count(fields: &Fields, reason: Reason) -> Result<(), WireError> {
    if connection_tokens(fields).nth(CONNECTION_TOKENS_MAX).is_some() {
        return Err(WireError::new(reason, "Connection has more tokens than allowed"));
    }
    Ok(())
}

/// The tokens of every Connection field.
pub(crate) fn connection_tokens(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields.values(KnownName::Connection).flat_map(|value| value.split(|byte| *byte == b',')).map(trim_ows)
}

/// The names, in lower case, that Connection says are of this connection only. Most often there are none, which needs no memory.
fn nominated(fields: &Fields) -> Vec<Vec<u8>> {
    connection_tokens(fields)
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close"))
        .map(<[u8]>::to_ascii_lowercase)
        .collect()
}

/// Removes every field that must not go upstream.
pub(crate) fn strip_untrusted(fields: &mut Fields) {
    let nominated = nominated(fields);
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

/// Whether the gateway removes or writes fields of this lower-case name itself, under any alias, so that nobody else can decide by them
/// or change them: framing, the connection, the host, and who the client is.
#[must_use]
pub fn is_gateways_own(name: &str) -> bool {
    KnownName::of_lower(name.as_bytes()).is_some_and(|known| REMOVED_KNOWN.contains(known)) || is_removed_spelling(name.as_bytes())
}

/// Whether two lower-case names are one to a reader that takes `_` and `.` for `-`, as many upstreams do.
#[must_use]
pub fn is_same_field(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: &u8| if matches!(byte, b'_' | b'.') { b'-' } else { *byte };
    one.len() == other.len() && one.iter().map(fold).eq(other.iter().map(fold))
}

/// How much of a name is folded; more than any name looked for has.
const FOLDED_BYTES: usize = 64;

/// The bytes of the longest of these texts.
#[expect(clippy::indexing_slicing, reason = "the index is below the length; iterators are not const")]
const fn longest(texts: &[&str]) -> usize {
    let (mut at, mut longest) = (0, 0);
    while at < texts.len() {
        if texts[at].len() > longest {
            longest = texts[at].len();
        }
        at += 1;
    }
    longest
}

/// Whether a name, read as a sloppy upstream would read it, is one that ends here. A name that only folding turns into a known one
/// (`content_length`) goes too: nobody needs it but an attacker.
fn is_removed_spelling(name: &[u8]) -> bool {
    const { assert!(longest(REMOVED) < FOLDED_BYTES && longest(REMOVED_PREFIXES) < FOLDED_BYTES, "a name that is never found") };
    // A longer name is none of those that are looked for whole, but may begin as one of those that are looked for by their beginning.
    let mut folded = [0_u8; FOLDED_BYTES];
    let mut aliased = false;
    for (slot, byte) in folded.iter_mut().zip(name) {
        let is_alias = matches!(byte, b'_' | b'.');
        aliased |= is_alias;
        *slot = if is_alias { b'-' } else { *byte };
    }
    let whole = folded.get(..name.len());
    let is_whole = |folded: &[u8]| {
        REMOVED.iter().any(|removed| removed.as_bytes() == folded) || (aliased && KnownName::of_lower(folded).is_some())
    };
    REMOVED_PREFIXES.iter().any(|prefix| folded.starts_with(prefix.as_bytes())) || whole.is_some_and(is_whole)
}

/// Removes from an upstream's answer what belongs to the connection to it.
pub(crate) fn strip_hop_by_hop(fields: &mut Fields) {
    let nominated = nominated(fields);
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

/// Names, beside those that the gateway knows, that may not come as trailers: controls, credentials, and what tells a browser or a proxy in
/// front what to do.
const FORBIDDEN_TRAILERS: &[&str] = &[
    "max-forwards",
    "set-cookie2",
    "cookie2",
    "warning",
    "authentication-info",
    "authentication-control",
    "clear-site-data",
    "permissions-policy",
    "feature-policy",
    "x-xss-protection",
    "report-to",
    "reporting-endpoints",
    "nel",
    "alt-svc",
    "refresh",
    "early-data",
    "surrogate-control",
    "cdn-cache-control",
    "timing-allow-origin",
    "origin-agent-cluster",
    "x-permitted-cross-domain-policies",
    "api-key",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
    "x-xsrf-token",
];

/// Beginnings of names that may not come as trailers.
const FORBIDDEN_TRAILER_PREFIXES: &[&str] =
    &["content-", "if-", "access-control-", "cross-origin-", "sec-", "proxy-", "x-accel-", "x-sendfile"];

/// Whether a field may not come as a trailer: it would change how the message is read, cached or attributed (RFC 9110 section 6.5.1).
/// What the gateway knows by name has its meaning in the head; only an entity tag is made for the end of a body too.
pub(crate) fn is_forbidden_trailer(lower: &[u8]) -> bool {
    KnownName::of_lower(lower).is_some_and(|name| name != KnownName::Etag)
        || FORBIDDEN_TRAILERS.iter().any(|name| is_same_field(name.as_bytes(), lower))
        || FORBIDDEN_TRAILER_PREFIXES
            .iter()
            .any(|prefix| lower.get(..prefix.len()).is_some_and(|begin| is_same_field(prefix.as_bytes(), begin)))
        || is_removed_spelling(lower)
}

#[cfg(test)]
mod tests {
    use super::{is_forbidden_trailer, is_removed_spelling};

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
            "x_user",
            "client-cert",
            "ssl_client_s_dn",
            "tailscale-user-login",
            "x_client_cert",
            "x-client-certificate-chain",
            "x.forwarded.client.cert",
            "x-ssl-cert",
            "x_ssl_client_verify",
            "ssl-cipher",
            "x-amzn-mtls-clientcert-subject",
            "x-arr-clientcert",
            "x-client-dn",
            "x-client-verified",
        ] {
            assert!(is_removed_spelling(name.as_bytes()), "{name}");
        }
        for name in ["x-api-key", "x_api_key", "x-tenant", "idempotency-key", "forwarded-to-me"] {
            assert!(!is_removed_spelling(name.as_bytes()), "{name}");
        }
    }
    #[test]
    fn c57_a_long_name_is_recognised_by_its_beginning() {
        for begin in ["x-forwarded-", "x_portcullis_", "x.ssl.client.", "x-user-"] {
            for length in [40, 64, 65, 200, 4096] {
                let name = format!("{begin}{}", "a".repeat(length));
                assert!(is_removed_spelling(name.as_bytes()), "{name}");
            }
        }
        assert!(!is_removed_spelling("x-kept".repeat(40).as_bytes()));
    }

    #[test]
    fn trailers_carry_sums_and_tags_and_nothing_that_a_head_decides_by() {
        for name in ["x-checksum", "server-timing", "etag", "grpc-status", "repr-digest"] {
            assert!(!is_forbidden_trailer(name.as_bytes()), "{name}");
        }
        for name in [
            "transfer-encoding",
            "content-length",
            "content-md5",
            "host",
            "te",
            "connection",
            "authorization",
            "cookie",
            "set-cookie",
            "set_cookie",
            "www-authenticate",
            "if-match",
            "x_forwarded_for",
            "x-real-ip",
            "forwarded",
            "vary",
            "expires",
            "max-forwards",
            "strict-transport-security",
            "sec-fetch-site",
            "max_forwards",
            "content_range",
            "x_api_key",
            "permissions-policy",
            "x_accel.redirect",
            "clear_site_data",
        ] {
            assert!(is_forbidden_trailer(name.as_bytes()), "{name}");
        }
    }
}
