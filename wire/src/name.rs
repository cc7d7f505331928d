//! Field names that the gateway knows.

macro_rules! known_names {
    ($($name:ident = $text:literal,)+) => {
        /// A field name that the gateway knows; compared by number, not by bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each is the field of that name")]
        pub enum KnownName { $($name,)+ }

        impl KnownName {
            /// Every known name.
            pub const ALL: &'static [KnownName] = &[$(KnownName::$name,)+];

            const TEXTS: &'static [&'static str] = &[$($text,)+];
        }
    };
}

known_names! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    AcceptRanges = "accept-ranges",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlAllowPrivateNetwork = "access-control-allow-private-network",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlRequestMethod = "access-control-request-method",
    Age = "age",
    Allow = "allow",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentDisposition = "content-disposition",
    ContentEncoding = "content-encoding",
    ContentLanguage = "content-language",
    ContentLength = "content-length",
    ContentLocation = "content-location",
    ContentRange = "content-range",
    ContentSecurityPolicy = "content-security-policy",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Dpop = "dpop",
    Etag = "etag",
    Expect = "expect",
    Expires = "expires",
    Forwarded = "forwarded",
    Host = "host",
    Http2Settings = "http2-settings",
    IfMatch = "if-match",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    IfUnmodifiedSince = "if-unmodified-since",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Link = "link",
    Location = "location",
    Origin = "origin",
    Pragma = "pragma",
    Proxy = "proxy",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Range = "range",
    Referer = "referer",
    ReferrerPolicy = "referrer-policy",
    RetryAfter = "retry-after",
    SecFetchDest = "sec-fetch-dest",
    SecFetchMode = "sec-fetch-mode",
    SecFetchSite = "sec-fetch-site",
    SecWebsocketAccept = "sec-websocket-accept",
    SecWebsocketExtensions = "sec-websocket-extensions",
    SecWebsocketKey = "sec-websocket-key",
    SecWebsocketProtocol = "sec-websocket-protocol",
    SecWebsocketVersion = "sec-websocket-version",
    Server = "server",
    SetCookie = "set-cookie",
    StrictTransportSecurity = "strict-transport-security",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    WwwAuthenticate = "www-authenticate",
    XAspnetVersion = "x-aspnet-version",
    XAspnetmvcVersion = "x-aspnetmvc-version",
    XBackendServer = "x-backend-server",
    XContentTypeOptions = "x-content-type-options",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XFrameOptions = "x-frame-options",
    XGenerator = "x-generator",
    XPoweredBy = "x-powered-by",
    XRequestId = "x-request-id",
    XRuntime = "x-runtime",
    XServedBy = "x-served-by",
    XVersion = "x-version",
}

/// Slots of the table by which names are found; a power of two.
const SLOTS: usize = 512;
/// A slot without a name.
const EMPTY: u8 = u8::MAX;

/// Where the search for a name begins, from its length and three of its bytes.
const fn slot(length: usize, first: u8, middle: u8, last: u8) -> usize {
    (length.wrapping_mul(37)
        ^ (first as usize).wrapping_mul(5)
        ^ (middle as usize).wrapping_mul(61)
        ^ (last as usize).wrapping_mul(11))
        % SLOTS
}

/// The numbers of the names by slot; a name whose slot is taken lies in the next free one.
#[expect(clippy::indexing_slicing, reason = "evaluated when compiling, where an index out of bounds is an error")]
static TABLE: [u8; SLOTS] = {
    let mut table = [EMPTY; SLOTS];
    let mut number = 0;
    while number < KnownName::TEXTS.len() {
        let text = KnownName::TEXTS[number].as_bytes();
        let mut at = slot(text.len(), text[0], text[text.len() / 2], text[text.len() - 1]);
        while table[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        table[at] = number as u8;
        number += 1;
    }
    table
};

impl KnownName {
    /// The name in lower case, as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        // INVARIANT: every name has its text.
        Self::TEXTS.get(self as usize).copied().unwrap_or_default()
    }

    /// The known name that these lower-case bytes spell.
    #[must_use]
    pub fn of_lower(bytes: &[u8]) -> Option<Self> {
        let (first, last, middle) = (bytes.first()?, bytes.last()?, bytes.get(bytes.len() / 2)?);
        let mut at = slot(bytes.len(), *first, *middle, *last);
        loop {
            let number = usize::from(*TABLE.get(at)?);
            let text = Self::TEXTS.get(number)?;
            if text.as_bytes() == bytes {
                return Self::ALL.get(number).copied();
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// This name as a member of a [`NameSet`].
    const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

/// A set of known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSet(u128);

impl NameSet {
    /// The set of these names.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "the index is below the length; iterators are not const")]
    pub const fn of(names: &[KnownName]) -> Self {
        const { assert!(KnownName::ALL.len() <= 128, "a name is a bit") };
        let mut set = 0;
        let mut at = 0;
        while at < names.len() {
            set |= names[at].bit();
            at += 1;
        }
        Self(set)
    }

    /// Whether the name is in the set.
    #[must_use]
    pub const fn contains(self, name: KnownName) -> bool {
        self.0 & name.bit() != 0
    }

    /// Adds a name.
    pub const fn insert(&mut self, name: KnownName) {
        self.0 |= name.bit();
    }
}

#[cfg(test)]
mod tests {
    use super::KnownName;

    #[test]
    fn every_name_is_found_by_its_own_text() {
        for name in KnownName::ALL {
            assert_eq!(KnownName::of_lower(name.as_str().as_bytes()), Some(*name));
        }
        assert_eq!(KnownName::of_lower(b"x-unknown"), None);
        assert_eq!(KnownName::of_lower(b"Host"), None);
    }
}
