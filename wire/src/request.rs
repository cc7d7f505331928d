//! The head of a request, in canonical form.

mod fields_of_h2;

use crate::bytes::push_decimal;
use crate::fields::{FieldName, Fields};
use crate::framing::{BodyFraming, Declared, declared, is_written_plainly};
use crate::hygiene::{check_connection_tokens, connection_tokens, strip_untrusted};
use crate::span::{Span, push};
use crate::{HeadLimits, KnownName, Method, WireError, host, path, query};
pub use fields_of_h2::PseudoFields;
use portcullis_model::Reason;
use std::mem::MaybeUninit;

/// The most fields that any limit allows.
const FIELDS_MAX: usize = 256;

/// The version of HTTP that a request came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    H10,
    /// HTTP/1.1
    #[default]
    H11,
    /// HTTP/2
    H2,
}

/// The head of a request. Parsing again keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    fields: Fields,
    method: Method,
    method_at: Span,
    version: Version,
    path: Span,
    query: Option<Span>,
    host: Span,
    port: Option<u16>,
    authority: Span,
    framing: BodyFraming,
    keep_alive: bool,
    expects_continue: bool,
    wants_websocket: bool,
    takes_trailers: bool,
    encoded_slash: bool,
    asterisk: bool,
}

fn malformed<T>(detail: &'static str) -> Result<T, WireError> {
    Err(WireError::new(Reason::RequestMalformed, detail))
}

impl RequestHead {
    /// Reads a head: exactly the bytes that [`crate::HeadFinder`] delimited. What this held before is gone, also after an error.
    ///
    /// # Errors
    /// Whatever is not well-formed or could be read in two ways, by reason.
    pub fn parse(&mut self, head: &[u8], limits: &HeadLimits) -> Result<(), WireError> {
        *self = Self { fields: std::mem::take(&mut self.fields), ..Self::default() };
        self.fields.reset(head);
        let target = self.parse_lines(head, limits)?;
        check_connection_tokens(&self.fields)?;
        self.framing = match declared(&self.fields, Reason::FramingAmbiguous, self.version == Version::H10)? {
            Declared::Nothing => BodyFraming::None,
            Declared::Length(0) => BodyFraming::None,
            Declared::Length(length) => BodyFraming::Length(length),
            Declared::Chunked => BodyFraming::Chunked,
        };
        self.read_host()?;
        self.read_target(target)?;
        self.read_connection();
        self.read_expect()?;
        self.read_upgrade()
    }

    fn parse_lines(&mut self, head: &[u8], limits: &HeadLimits) -> Result<Span, WireError> {
        let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let allowed = limits.fields_max.min(FIELDS_MAX);
        let mut parsed = httparse::Request::new(&mut []);
        let config = httparse::ParserConfig::default();
        let outcome = config.parse_request_with_uninit_headers(&mut parsed, head, room.get_mut(..allowed).unwrap_or_default());
        match outcome {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return malformed("the head does not end where its empty line is"),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(WireError::new(Reason::HeadersTooMany, "more fields than allowed"));
            }
            Err(httparse::Error::Version) => {
                return Err(WireError::new(Reason::VersionUnsupported, "neither HTTP/1.0 nor HTTP/1.1"));
            }
            Err(_) => return malformed("the request line or a field line is not well-formed"),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return malformed("the request line is not complete");
        };
        if target.len() > limits.target_bytes_max {
            return Err(WireError::new(Reason::UriTooLong, "the request target is longer than allowed"));
        }
        self.method = Method::parse(method.as_bytes());
        self.method_at = Span::within(head, method.as_bytes());
        self.version = if version == 0 { Version::H10 } else { Version::H11 };
        for field in parsed.headers.iter() {
            let (name, value) = (Span::within(head, field.name.as_bytes()), Span::within(head, field.value));
            let known = self.fields.add_parsed(name, value);
            if matches!(known, FieldName::Known(KnownName::ContentLength | KnownName::TransferEncoding))
                && !is_written_plainly(head, name, value)
            {
                return Err(WireError::new(Reason::FramingAmbiguous, "odd whitespace around Content-Length or Transfer-Encoding"));
            }
        }
        Ok(Span::within(head, target.as_bytes()))
    }

    fn read_host(&mut self) -> Result<(), WireError> {
        let at = {
            let mut hosts = self.fields.values(KnownName::Host);
            let (Some(authority), None) = (hosts.next(), hosts.next()) else {
                return Err(WireError::new(Reason::HostInvalid, "not exactly one Host"));
            };
            Span::within(&self.fields.buffer, authority)
        };
        let begin = at.range().start;
        if let Some((length, port)) = host::canonical_as_it_is(at.bytes(&self.fields.buffer)) {
            (self.host, self.port, self.authority) = (Span::of(begin..begin + length), port, at);
            return Ok(());
        }
        let mut made = Vec::new();
        self.port = host::canonical_authority(at.bytes(&self.fields.buffer), &mut made)?;
        let length = made.len();
        if let Some(port) = self.port {
            made.push(b':');
            push_decimal(&mut made, u64::from(port));
        }
        self.authority = push(&mut self.fields.buffer, &made);
        let begin = self.authority.range().start;
        self.host = Span::of(begin..begin + length);
        Ok(())
    }

    fn read_target(&mut self, target: Span) -> Result<(), WireError> {
        let bytes = target.bytes(&self.fields.buffer);
        match bytes.first() {
            Some(b'/') => self.read_path_and_query(target),
            _ if bytes == b"*" && self.method == Method::Options => {
                self.asterisk = true;
                self.path = target;
                Ok(())
            }
            // CONNECT's authority-form: never forwarded, and nothing of it is used.
            _ if self.method_bytes() == b"CONNECT" => Err(WireError::new(Reason::MethodRefused, "CONNECT is never forwarded")),
            _ => self.read_absolute(target),
        }
    }

    /// The absolute form: its authority must be the one in Host (RFC 9112 section 3.2.2 would let it win; here they may not differ).
    fn read_absolute(&mut self, target: Span) -> Result<(), WireError> {
        let bytes = target.bytes(&self.fields.buffer);
        let scheme_end = [b"http://".as_slice(), b"https://"]
            .iter()
            .find(|scheme| bytes.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
            .map(|scheme| scheme.len());
        let Some(scheme_end) = scheme_end else { return malformed("a request target that is neither a path nor an http(s) URI") };
        let behind = bytes.get(scheme_end..).unwrap_or_default();
        let length = behind.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(behind.len());
        let mut made = Vec::new();
        let port = host::canonical_authority(behind.get(..length).unwrap_or_default(), &mut made)?;
        if made != self.host.bytes(&self.fields.buffer) || port != self.port {
            return Err(WireError::new(Reason::HostInvalid, "the request target and Host name different hosts"));
        }
        let start = target.range().start + scheme_end + length;
        if start == target.range().end {
            self.path = push(&mut self.fields.buffer, b"/");
            return Ok(());
        }
        self.read_path_and_query(Span::of(start..target.range().end))
    }

    fn read_path_and_query(&mut self, target: Span) -> Result<(), WireError> {
        let range = target.range();
        let bytes = target.bytes(&self.fields.buffer);
        let path_end = bytes.iter().position(|byte| *byte == b'?').map_or(range.end, |at| range.start + at);
        let path_at = Span::of(range.start..path_end);
        if path::is_canonical(path_at.bytes(&self.fields.buffer)) {
            self.path = path_at;
        } else {
            let mut made = Vec::with_capacity(bytes.len());
            self.encoded_slash = path::canonicalise(path_at.bytes(&self.fields.buffer), &mut made)?;
            self.path = push(&mut self.fields.buffer, &made);
        }
        let query_at = Span::of((path_end + 1).min(range.end)..range.end);
        let raw = query_at.bytes(&self.fields.buffer);
        if raw.is_empty() {
            self.query = None;
        } else if query::is_canonical(raw) {
            self.query = Some(query_at);
        } else {
            let mut made = Vec::with_capacity(raw.len());
            query::canonicalise(raw, &mut made)?;
            self.query = Some(push(&mut self.fields.buffer, &made));
        }
        Ok(())
    }

    fn read_connection(&mut self) {
        let closes = connection_tokens(&self.fields).any(|token| token.eq_ignore_ascii_case(b"close"));
        self.keep_alive = self.version == Version::H11 && !closes;
    }

    fn read_expect(&mut self) -> Result<(), WireError> {
        let mut expectations = self.fields.values(KnownName::Expect);
        match (expectations.next(), expectations.next()) {
            (None, _) => {}
            (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => {
                self.expects_continue = self.version != Version::H10 && self.framing != BodyFraming::None;
            }
            _ => return Err(WireError::new(Reason::ExpectationUnknown, "an Expect other than exactly 100-continue")),
        }
        Ok(())
    }

    /// An upgrade is to WebSocket (RFC 6455 section 4.1) or it is refused; an offer of h2c is passed over, which the RFC allows.
    fn read_upgrade(&mut self) -> Result<(), WireError> {
        let mut upgrades = self.fields.values(KnownName::Upgrade);
        let (first, second) = (upgrades.next(), upgrades.next());
        let Some(protocol) = first else { return Ok(()) };
        let asked = connection_tokens(&self.fields).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
        if second.is_none() && protocol.eq_ignore_ascii_case(b"h2c") {
            return Ok(());
        }
        let refuse = |detail| Err(WireError::new(Reason::UpgradeRefused, detail));
        if second.is_some() || !asked || !protocol.eq_ignore_ascii_case(b"websocket") {
            return refuse("an upgrade to something other than websocket");
        }
        if self.method != Method::Get || self.version != Version::H11 || self.framing != BodyFraming::None {
            return refuse("an upgrade that is not a GET without a body");
        }
        let has_key = self.fields.values(KnownName::SecWebsocketKey).count() == 1;
        let version = self.fields.values(KnownName::SecWebsocketVersion);
        if !has_key || !version.eq([b"13".as_slice()]) {
            return refuse("an upgrade to websocket without its key or version 13");
        }
        self.wants_websocket = true;
        Ok(())
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as it was written: a token.
    #[must_use]
    pub fn method_bytes(&self) -> &[u8] {
        self.method_at.bytes(&self.fields.buffer)
    }

    /// The version the client spoke.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The canonical path; `*` for the asterisk form.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.text(&self.fields.buffer)
    }

    /// The canonical query without `?`, if there is one that is not empty.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|query| query.text(&self.fields.buffer))
    }

    /// The canonical host, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.text(&self.fields.buffer)
    }

    /// The port in Host.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Writes the canonical host with its port.
    pub fn write_authority(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.authority.bytes(&self.fields.buffer));
    }

    /// Adds `X-Forwarded-Host` with the canonical host and its port.
    pub fn append_forwarded_host(&mut self) {
        self.fields.append_at(KnownName::XForwardedHost, self.authority);
    }

    /// Whether the path keeps `%2F`, which only routes that say so accept.
    #[must_use]
    pub fn path_has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// Whether this is `OPTIONS *`.
    #[must_use]
    pub fn is_asterisk(&self) -> bool {
        self.asterisk
    }

    /// How the end of the body is known.
    #[must_use]
    pub fn framing(&self) -> BodyFraming {
        self.framing
    }

    /// Says how long the body is, once all of it has been read: it is written with this length, without chunks and trailers.
    pub fn fix_body_length(&mut self, length: u64) {
        if self.framing != BodyFraming::None {
            self.framing = BodyFraming::Length(length);
        }
    }

    /// Whether the client means to go on using the connection. `false` before anything was parsed.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits to be told to send its body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether this is a well-formed request to upgrade to WebSocket.
    #[must_use]
    pub fn wants_websocket(&self) -> bool {
        self.wants_websocket
    }

    /// Whether the client said by HTTP/2 that it takes trailers (`te: trailers`, RFC 9113 section 8.2.2).
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.takes_trailers
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The fields, to change.
    pub fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// Removes what must not go upstream: fields of this connection, and every claim of the client's about who it is, under
    /// every alias. To be called once, before anything of ours is set.
    pub fn strip_untrusted(&mut self) {
        strip_untrusted(&mut self.fields);
    }

    /// Writes the request as it goes upstream: from the canonical form, with the one framing field that we mean.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method_bytes());
        out.push(b' ');
        out.extend_from_slice(self.path.bytes(&self.fields.buffer));
        if let Some(query) = self.query {
            out.push(b'?');
            out.extend_from_slice(query.bytes(&self.fields.buffer));
        }
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        self.write_authority(out);
        out.extend_from_slice(b"\r\n");
        self.fields.write_to(out);
        match self.framing {
            BodyFraming::None if matches!(self.method, Method::Post | Method::Put | Method::Patch) => {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
            BodyFraming::None => {}
            BodyFraming::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                push_decimal(out, length);
                out.extend_from_slice(b"\r\n");
            }
            BodyFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        if self.wants_websocket {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        }
        out.extend_from_slice(b"via: ");
        out.extend_from_slice(self.via());
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// The value of `via` that goes upstream (RFC 9110 section 7.6.3).
    #[must_use]
    pub fn via(&self) -> &'static [u8] {
        if self.version == Version::H2 { b"2 portcullis" } else { b"1.1 portcullis" }
    }
}

#[cfg(test)]
mod tests {
    use super::RequestHead;
    use crate::HeadLimits;
    use portcullis_model::Reason;

    const TYPICAL: &[u8] = b"GET /v1/orders/17?expand=lines HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0\r\n\
        Accept: application/json\r\nAccept-Encoding: gzip, br\r\nAccept-Language: en\r\nAuthorization: Bearer abc.def.ghi\r\n\
        Cookie: a=1; b=2\r\nConnection: keep-alive\r\nX-Api-Version: 2\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";

    /// Where a head keeps its bytes and its list, and how much room there is.
    fn memory(head: &RequestHead) -> (*const u8, usize, *const u8, usize) {
        let fields = &head.fields;
        (fields.buffer.as_ptr(), fields.buffer.capacity(), fields.list.as_ptr().cast(), fields.list.capacity())
    }

    #[test]
    fn a_head_that_is_used_again_keeps_its_memory() {
        let (limits, mut head, mut out) = (HeadLimits::default(), RequestHead::default(), Vec::new());
        let mut serve = |head: &mut RequestHead| {
            head.parse(TYPICAL, &limits).unwrap();
            head.strip_untrusted();
            out.clear();
            head.write_to(&mut out);
        };
        serve(&mut head);
        let before = memory(&head);
        for _ in 0..8 {
            serve(&mut head);
        }
        assert_eq!(memory(&head), before);
        assert_eq!((head.host(), head.path(), head.query()), ("api.example.com", "/v1/orders/17", Some("expand=lines")));
    }

    #[test]
    fn connection_tokens_are_bounded() {
        let parse = |tokens: usize| {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", vec!["a"; tokens].join(","));
            RequestHead::default().parse(text.as_bytes(), &HeadLimits::default()).map_err(|error| error.reason)
        };
        assert_eq!((parse(32), parse(33), parse(5000)), (Ok(()), Err(Reason::RequestMalformed), Err(Reason::RequestMalformed)));
    }
}
