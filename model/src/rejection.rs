//! Refusals: one list of every reason the gateway itself answers with, its status, its stable code and its public wording.

use std::borrow::Cow;

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blame {
    /// The client, or the network to it.
    Downstream,
    /// The upstream, or the network to it.
    Upstream,
    /// The gateway itself.
    Gateway,
    /// Nobody: a policy did what it is configured for.
    Policy,
}

impl Blame {
    /// The word used in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
            Self::Policy => "policy",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal, $blame:ident, $close:literal, $public:literal;)+) => {
        /// Why the gateway refused or failed an exchange. The code is stable: it is in answers, logs, metrics and documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of their definition.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The stable code, for example `framing_ambiguous`.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Reason::$name => $code,)+ } }

            /// The HTTP status of the answer; 0 where there is no answer to give.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Reason::$name => $status,)+ } }

            /// Who is at fault.
            #[must_use]
            pub const fn blame(self) -> Blame { match self { $(Reason::$name => Blame::$blame,)+ } }

            /// Whether the connection ends with it, because what follows on it cannot be trusted or would wait too long.
            #[must_use]
            pub const fn closes(self) -> bool { match self { $(Reason::$name => $close,)+ } }

            /// What the client is told; never contains input.
            #[must_use]
            pub const fn public(self) -> &'static str { match self { $(Reason::$name => $public,)+ } }

            /// What goes into WWW-Authenticate (RFC 6750 section 3); nothing where credentials are not the matter.
            #[must_use]
            pub const fn challenge(self) -> Option<&'static str> {
                match self {
                    Self::CredentialsMissing => Some("Bearer realm=\"api\""),
                    Self::CredentialsAmbiguous => Some("Bearer realm=\"api\", error=\"invalid_request\""),
                    Self::CredentialsInvalid | Self::CredentialsExpired | Self::CredentialsRevoked => Some("Bearer realm=\"api\", error=\"invalid_token\""),
                    Self::ProofInvalid => Some("DPoP realm=\"api\", error=\"invalid_dpop_proof\""),
                    Self::ProofNonceNeeded => Some("DPoP realm=\"api\", error=\"use_dpop_nonce\""),
                    _ => None,
                }
            }

            /// What it means, for documentation.
            #[must_use]
            pub const fn doc(self) -> &'static str { match self { $(Reason::$name => concat!($($doc,)+),)+ } }
        }
    };
}

reasons! {
    /// The request line or a header line is not well-formed (RFC 9112 sections 3 and 5), has bare CR or LF, or control bytes.
    RequestMalformed = "request_malformed", 400, Downstream, true, "the request is not well-formed";
    /// Content-Length and Transfer-Encoding disagree, repeat, or are not exactly readable (RFC 9112 section 6).
    FramingAmbiguous = "framing_ambiguous", 400, Downstream, true, "the length of the request body is ambiguous";
    /// A chunk of the request body is not well-formed (RFC 9112 section 7.1).
    ChunkMalformed = "chunk_malformed", 400, Downstream, true, "the request body is not well-formed";
    /// The path has a spelling that different readers read differently (see docs/canonical.md).
    PathAmbiguous = "path_ambiguous", 400, Downstream, false, "the path is ambiguous";
    /// The query has a spelling that different readers read differently (see docs/canonical.md).
    QueryAmbiguous = "query_ambiguous", 400, Downstream, false, "the query is ambiguous";
    /// The Cookie header is not well-formed or names a cookie twice.
    CookieAmbiguous = "cookie_ambiguous", 400, Downstream, false, "the cookies are ambiguous";
    /// No Host, several, one that is not a host name or address, or one that differs from the request target.
    HostInvalid = "host_invalid", 400, Downstream, true, "the host is missing or invalid";
    /// An Expect header other than exactly 100-continue (RFC 9110 section 10.1.1).
    ExpectationUnknown = "expectation_unknown", 417, Downstream, true, "the expectation is not supported";
    /// An HTTP version other than 1.0 and 1.1 on a connection that speaks HTTP/1.
    VersionUnsupported = "version_unsupported", 505, Downstream, true, "the protocol version is not supported";
    /// A transfer coding other than chunked.
    CodingUnsupported = "coding_unsupported", 501, Downstream, true, "the transfer coding is not supported";
    /// A method that the gateway never forwards (CONNECT, TRACE) or the configuration does not list.
    MethodRefused = "method_refused", 405, Downstream, false, "the method is not allowed";
    /// The request target is longer than allowed.
    UriTooLong = "uri_too_long", 414, Downstream, true, "the request target is too long";
    /// The header section has too many fields.
    HeadersTooMany = "headers_too_many", 431, Downstream, true, "the header section has too many fields";
    /// The header section has too many bytes.
    HeadersTooLarge = "headers_too_large", 431, Downstream, true, "the header section is too large";
    /// The request body is longer than allowed.
    BodyTooLarge = "body_too_large", 413, Downstream, true, "the request body is too large";
    /// An upgrade to a protocol other than WebSocket, one with a body, or one on a route without upgrades.
    UpgradeRefused = "upgrade_refused", 400, Downstream, true, "the upgrade is not allowed";
    /// The header section did not arrive in time.
    HeaderTimeout = "header_timeout", 408, Downstream, true, "the request did not arrive in time";
    /// The request body came more slowly than the minimum rate, or not in time.
    BodyTimeout = "body_timeout", 408, Downstream, true, "the request body did not arrive in time";
    /// The client read the response more slowly than the minimum rate.
    ClientTooSlow = "client_too_slow", 0, Downstream, true, "";
    /// The client closed or reset the connection before the exchange was complete.
    ClientGone = "client_gone", 0, Downstream, true, "";
    /// A balancer that must say by the PROXY protocol who is behind it did not: no header, a malformed, contradicting or too long one.
    ProxyHeaderInvalid = "proxy_header_invalid", 0, Downstream, true, "";
    /// The header of the PROXY protocol was not complete in time.
    ProxyHeaderTimeout = "proxy_header_timeout", 0, Downstream, true, "";
    /// It is not known here what other nodes have revoked, and the route needs that (`fresh: required`).
    RevocationsStale = "revocations_stale", 503, Gateway, false, "credentials cannot be checked now";
    /// No credential was sent, or none of a kind that the API takes (RFC 6750 section 3).
    CredentialsMissing = "credentials_missing", 401, Downstream, false, "credentials are required";
    /// More than one Authorization field, one that is not well-formed (RFC 6750 section 3.1, invalid_request), or two of a token, an API key and a signature.
    CredentialsAmbiguous = "credentials_ambiguous", 400, Downstream, false, "the credentials are ambiguous";
    /// The token is not one that a provider of the API issued for it, the API key is none that it takes, the signature is not by a key that it knows, or it is not valid now; which it is, is in the log.
    CredentialsInvalid = "credentials_invalid", 401, Downstream, false, "the credentials are not valid";
    /// The credential has expired while the exchange went on, which has no end of its own (a WebSocket, an event stream, a stream of gRPC).
    CredentialsExpired = "credentials_expired", 401, Downstream, true, "the credentials have expired";
    /// The credential, or whoever it belongs to, has been revoked (`portcullis revoke`).
    CredentialsRevoked = "credentials_revoked", 401, Policy, true, "the credentials are not valid";
    /// The exchange has gone on for as long as one may (`stream_age_max`); whoever is calling must ask again.
    StreamAged = "stream_aged", 503, Policy, true, "the request must be made anew";
    /// The proof that comes with a token (`DPoP`) is missing, malformed, stale, for another request, by another key, or was shown before; which
    /// it is, is in the log (RFC 9449 section 7.1).
    ProofInvalid = "proof_invalid", 401, Downstream, false, "the proof of the credentials is not valid";
    /// The proof that comes with a token has no nonce of the gateway's, or an old one; a new one is in `DPoP-Nonce` (RFC 9449 section 9).
    ProofNonceNeeded = "proof_nonce_needed", 401, Downstream, false, "the proof of the credentials must have the nonce given";
    /// So many proofs came that no more can be remembered, so that a proof that was shown before could not be told.
    ProofsExhausted = "proofs_exhausted", 503, Gateway, false, "credentials cannot be checked now";
    /// As much is held of bodies that must be looked at before they are sent on as may be held of all.
    BodiesExhausted = "bodies_exhausted", 503, Gateway, true, "the service is busy";
    /// No key set of the provider is there, so that tokens cannot be judged.
    KeysUnavailable = "keys_unavailable", 503, Gateway, false, "credentials cannot be checked now";
    /// The login that a browser comes back from is not one that it has begun, or its provider's answer is not well-formed; or it has begun too many.
    LoginInvalid = "login_invalid", 400, Downstream, false, "the login is over or was not begun here; open the page again";
    /// The provider has not logged anybody in, or what it says of who that is, is not good; which it is, is in the log.
    LoginRefused = "login_refused", 403, Policy, false, "the login was refused";
    /// The provider cannot be asked for a login, or there are as many logins or sessions as there may be.
    LoginUnavailable = "login_unavailable", 503, Gateway, false, "logging in is not possible now";
    /// What a provider says of a logout is not one of its logout tokens, or has come before.
    LogoutInvalid = "logout_invalid", 400, Downstream, false, "the logout token is not valid";
    /// The provider that must be asked about the token cannot be asked, or gave no answer in time, or none that is understood; nothing that it has said
    /// before is recent enough (RFC 7662).
    IntrospectionUnavailable = "introspection_unavailable", 503, Gateway, false, "credentials cannot be checked now";
    /// The upstream is asked with a token of the gateway's own, and the provider has given none that is still valid.
    UpstreamTokenUnavailable = "upstream_token_unavailable", 503, Gateway, false, "the upstream cannot be asked now";
    /// The provider that is to give a token for the upstream in exchange for the caller's cannot be asked, or gave no answer in time, or none that is
    /// understood (RFC 8693); nothing was sent.
    TokenExchangeUnavailable = "token_exchange_unavailable", 503, Gateway, false, "the upstream cannot be asked now";
    /// The provider gives no token for the upstream in exchange for the caller's (RFC 8693).
    TokenExchangeRefused = "token_exchange_refused", 403, Policy, false, "the caller may not do this";
    /// No line of the route's `allow` fits the caller, or its policies do not permit it; which it is, is in the log.
    AccessDenied = "access_denied", 403, Policy, false, "the caller may not do this";
    /// The TLS handshake did not finish in time.
    HandshakeTimeout = "handshake_timeout", 0, Downstream, true, "";
    /// The TLS handshake failed.
    HandshakeFailed = "handshake_failed", 0, Downstream, true, "";
    /// The listener requires a certificate of the client, and it showed none.
    ClientCertificateMissing = "client_certificate_missing", 0, Downstream, true, "";
    /// The client's certificate is of no authority that the listener trusts, is not for clients, or is not well-formed.
    ClientCertificateUntrusted = "client_certificate_untrusted", 0, Downstream, true, "";
    /// The client's certificate, or one between it and its authority, has expired or is not valid yet.
    ClientCertificateExpired = "client_certificate_expired", 0, Downstream, true, "";
    /// The client's certificate, or one between it and its authority, has been revoked.
    ClientCertificateRevoked = "client_certificate_revoked", 0, Downstream, true, "";
    /// No revocation list tells of the client's certificate, or the one that does is stale.
    ClientRevocationUnknown = "client_revocation_unknown", 0, Gateway, true, "";
    /// Whom the listener trusts has changed since this connection was opened; another connection is judged anew.
    ClientTrustChanged = "client_trust_changed", 421, Gateway, true, "the connection must be opened anew";
    /// The client asked for more of something that costs work than an HTTP/2 connection may: resets, pings, settings, empty frames and
    /// the like (see docs/threats-coverage.md, D 73 to 83).
    Http2Flood = "http2_flood", 0, Downstream, true, "";
    /// The client broke the rules of HTTP/2 in a way that ends the connection (RFC 9113 section 5.4.1).
    Http2Malformed = "http2_malformed", 0, Downstream, true, "";
    /// The listener has as many connections as it may have.
    ConnectionsExhausted = "connections_exhausted", 0, Policy, true, "";
    /// The client address has as many connections as it may have.
    ClientConnectionsExhausted = "client_connections_exhausted", 0, Policy, true, "";
    /// The client address has as many TLS handshakes under way as it may have (`handshakes_per_client`).
    HandshakesExhausted = "handshakes_exhausted", 0, Policy, true, "";
    /// The client address opens connections faster than it may (`connection_rate_per_client`).
    ConnectionsTooFast = "connections_too_fast", 0, Policy, true, "";
    /// The client address is banned for a while (`portcullis ban list`): by the operator, or for what it did (`defend.bans`).
    ClientBanned = "client_banned", 403, Policy, true, "requests from this address are not allowed";
    /// The host of the request is not one that the TLS connection was opened for (RFC 9110 section 15.5.20).
    Misdirected = "misdirected", 421, Downstream, true, "the connection is not for this host";
    /// No route has this host.
    HostUnknown = "host_unknown", 404, Downstream, false, "there is no such resource";
    /// No route has this path.
    RouteUnknown = "route_unknown", 404, Downstream, false, "there is no such resource";
    /// The path has routes, but none with this method.
    MethodUnknown = "method_unknown", 405, Downstream, false, "the method is not allowed for this resource";
    /// A plain-text listener sends everybody to https.
    RedirectToHttps = "redirect_to_https", 308, Policy, true, "use https";
    /// A weakening of the configuration has expired and what it allowed is closed.
    WeakeningExpired = "weakening_expired", 503, Policy, true, "not available";
    /// The configuration turns this route off (`disabled`); the operator's reason is in the log.
    Disabled = "disabled", 503, Policy, false, "this operation is disabled";
    /// A rule of the configuration refuses requests of this form (`disabled.refuse`); which one is in the log.
    RequestRefused = "request_refused", 403, Policy, false, "the request is not allowed";
    /// The client's address is on a deny list, or not on the allow list (`ip_rules`).
    AddressRefused = "address_refused", 403, Policy, false, "requests from this address are not allowed";
    /// More requests came than a limit allows (`limits`); which one is in the log, and when the next will be taken in `Retry-After`.
    RateLimited = "rate_limited", 429, Policy, false, "too many requests";
    /// Too much of what the client, account or key tried has failed (`defend.lockout`); which it is, is in the log, and when it is over in `Retry-After`.
    LockedOut = "locked_out", 429, Policy, false, "too many attempts have failed";
    /// The route takes logins (`login_account`), and the body does not name one account in the field that is declared, or names it elsewhere as well.
    LoginFieldInvalid = "login_field_invalid", 400, Downstream, false, "the login request is not well-formed";
    /// None of the upstream's host names has an address that may be connected to.
    UpstreamUnresolved = "upstream_unresolved", 503, Upstream, false, "the service could not be found";
    /// A page of another origin may not do this (`cors`): its origin, method or header field is not listed.
    CrossOriginRefused = "cross_origin_refused", 403, Policy, false, "the cross-origin request is not allowed";
    /// No connection to the upstream could be made.
    UpstreamUnreachable = "upstream_unreachable", 502, Upstream, false, "the service could not be reached";
    /// The upstream's certificate was not accepted, or there was no TLS handshake with it for another reason; nothing was sent.
    UpstreamTlsFailed = "upstream_tls_failed", 502, Upstream, false, "the service could not be reached securely";
    /// The upstream has as many requests as it may have at once, and this one's turn did not come in time; nothing of it was sent.
    UpstreamBusy = "upstream_busy", 503, Gateway, false, "the service is busy";
    /// The upstream is to speak HTTP/2 (`protocol: h2`), and does not; nothing was sent.
    UpstreamNotHttp2 = "upstream_not_http2", 502, Upstream, false, "the service gave an invalid response";
    /// Connecting to the upstream, TLS handshake included, took too long.
    UpstreamConnectTimeout = "upstream_connect_timeout", 504, Upstream, false, "the service did not answer in time";
    /// The upstream sent no response in time.
    UpstreamTimeout = "upstream_timeout", 504, Upstream, true, "the service did not answer in time";
    /// The upstream's response stalled in the middle.
    UpstreamStalled = "upstream_stalled", 504, Upstream, true, "the service did not answer in time";
    /// The upstream closed or reset the connection before its response was complete.
    UpstreamReset = "upstream_reset", 502, Upstream, true, "the service ended the connection";
    /// The upstream's response is not well-formed or its length is ambiguous.
    UpstreamMalformed = "upstream_malformed", 502, Upstream, true, "the service gave an invalid response";
    /// The upstream switched protocols without being asked, or to another one, or in a way that cannot be, or sent interim answers without end.
    UpstreamUpgradeInvalid = "upstream_upgrade_invalid", 502, Upstream, true, "the service gave an invalid response";
    /// The upstream speaks HTTP/2, and does not offer WebSocket there (RFC 8441); nothing of the request was sent.
    UpstreamNoWebsocket = "upstream_no_websocket", 502, Upstream, true, "the service has no WebSocket";
    /// The upstream has as many connections as it may have, and none became free in time.
    UpstreamExhausted = "upstream_exhausted", 503, Gateway, false, "the service is busy";
    /// Health checks find no endpoint of the upstream fit.
    UpstreamUnhealthy = "upstream_unhealthy", 503, Upstream, false, "the service is not available";
    /// Too large a share of requests to the upstream failed, so it is left alone for a while (`breaker`).
    UpstreamCircuitOpen = "upstream_circuit_open", 503, Upstream, false, "the service is not available";
    /// The gateway is close to the end of its memory, descriptors or time, and refuses new requests before anything fails.
    Overloaded = "overloaded", 503, Gateway, true, "the service is busy";
    /// The gateway is going away.
    ShuttingDown = "shutting_down", 503, Gateway, true, "not available";
    /// A fault of the gateway; the exchange died alone.
    Internal = "internal", 500, Gateway, true, "an internal error occurred";
}

/// A refusal. The public text comes from the reason and never contains input; the detail never leaves the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// What exactly, for logs.
    pub detail: Cow<'static, str>,
    /// Methods to list in `Allow`, for 405; empty otherwise.
    pub allow: Option<Box<str>>,
    /// What goes into WWW-Authenticate instead of what [`Reason::challenge`] says.
    pub challenge: Option<Cow<'static, str>>,
    /// What goes into DPoP-Nonce (RFC 9449 section 8.1): visible ASCII.
    pub nonce: Option<Box<str>>,
    /// In how many seconds it is worth coming again, if that is known.
    pub retry_after: Option<u64>,
}

impl Rejection {
    /// A refusal for `reason` with a detail for the logs.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), allow: None, challenge: None, nonce: None, retry_after: None }
    }

    /// The same refusal, which asks for credentials in these words (RFC 9110 section 11.6.1).
    #[must_use]
    pub fn asking(self, challenge: impl Into<Cow<'static, str>>) -> Self {
        Self { challenge: Some(challenge.into()), ..self }
    }

    /// The same refusal, which says in how many seconds to come again (RFC 9110 section 10.2.3).
    #[must_use]
    pub fn retrying(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// What goes into WWW-Authenticate, if anything.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref().or_else(|| self.reason.challenge())
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.reason.status()
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: Cow::Borrowed(""), allow: None, challenge: None, nonce: None, retry_after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(codes.iter().all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')));
    }

    #[test]
    fn every_answered_reason_has_a_public_text() {
        for reason in Reason::ALL {
            assert_eq!(reason.status() == 0, reason.public().is_empty(), "{}", reason.code());
        }
    }
}
