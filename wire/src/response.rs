//! The head of a response.

mod fields_of_h2;

use crate::bytes::push_decimal;
use crate::fields::Fields;
use crate::framing::{Declared, ResponseFraming, declared};
use crate::hygiene::{check_token_count, connection_tokens, strip_hop_by_hop};
use crate::span::Span;
use crate::status::phrase;
use crate::{HeadLimits, KnownName, Method, WireError};
use portcullis_model::Reason;
use std::mem::MaybeUninit;

/// The most fields that any limit allows.
const FIELDS_MAX: usize = 256;

/// The head of a response, the upstream's or our own. Parsing again keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    fields: Fields,
    status: u16,
    framing: ResponseFraming,
    declared_length: Option<u64>,
    keep_alive: bool,
    websocket_accept: bool,
    for_head: bool,
}

fn malformed<T>(detail: &'static str) -> Result<T, WireError> {
    Err(WireError::new(Reason::UpstreamMalformed, detail))
}

impl ResponseHead {
    /// Begins a response of our own. What this held before is gone.
    pub fn reset_local(&mut self, status: u16) {
        *self = Self { fields: std::mem::take(&mut self.fields), status, keep_alive: true, ..Self::default() };
        self.fields.reset(&[]);
    }

    /// Reads the head of an upstream's answer to a request with `method`: exactly the bytes that [`crate::HeadFinder`] delimited.
    ///
    /// # Errors
    /// [`Reason::UpstreamMalformed`], with what exactly.
    pub fn parse(&mut self, head: &[u8], limits: &HeadLimits, method: Method) -> Result<(), WireError> {
        *self = Self { fields: std::mem::take(&mut self.fields), ..Self::default() };
        self.fields.reset(head);
        let version = self.parse_lines(head, limits)?;
        check_token_count(&self.fields, Reason::UpstreamMalformed)?;
        let closes = connection_tokens(&self.fields).any(|token| token.eq_ignore_ascii_case(b"close"));
        let asks_to_stay = connection_tokens(&self.fields).any(|token| token.eq_ignore_ascii_case(b"keep-alive"));
        self.keep_alive = if version == 0 { asks_to_stay } else { !closes };
        self.websocket_accept = self.status == 101
            && connection_tokens(&self.fields).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
            && self.fields.values(KnownName::Upgrade).all(|value| value.eq_ignore_ascii_case(b"websocket"))
            && self.fields.first(KnownName::Upgrade).is_some();
        self.read_framing(version, method)
    }

    fn parse_lines(&mut self, head: &[u8], limits: &HeadLimits) -> Result<u8, WireError> {
        let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let allowed = limits.fields_max.min(FIELDS_MAX);
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let outcome = config.parse_response_with_uninit_headers(&mut parsed, head, room.get_mut(..allowed).unwrap_or_default());
        match outcome {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => return malformed("more fields than allowed"),
            _ => return malformed("the status line or a field line is not well-formed"),
        }
        let (Some(status @ 100..=599), Some(version)) = (parsed.code, parsed.version) else {
            return malformed("the status is none");
        };
        self.status = status;
        for field in parsed.headers.iter() {
            let (name, value) = (Span::within(head, field.name.as_bytes()), Span::within(head, field.value));
            self.fields.add_parsed(name, value);
        }
        Ok(version)
    }

    /// RFC 9112 section 6.3, without its leniency.
    fn read_framing(&mut self, version: u8, method: Method) -> Result<(), WireError> {
        let says = declared(&self.fields, Reason::UpstreamMalformed, version == 0)?;
        if let Declared::Length(length) = says {
            self.declared_length = Some(length);
        }
        self.for_head = method == Method::Head;
        self.framing = match says {
            _ if matches!(self.status, 100..200 | 204 | 304) || method == Method::Head => ResponseFraming::None,
            Declared::Nothing => ResponseFraming::UntilClose,
            Declared::Length(0) => ResponseFraming::None,
            Declared::Length(length) => ResponseFraming::Length(length),
            Declared::Chunked => ResponseFraming::Chunked,
        };
        if self.framing == ResponseFraming::UntilClose {
            self.keep_alive = false;
        }
        if matches!(self.status, 100..200 | 204) && says != Declared::Nothing && says != Declared::Length(0) {
            return malformed("a length or coding where there can be no body");
        }
        Ok(())
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// How the end of the body is known.
    #[must_use]
    pub fn framing(&self) -> ResponseFraming {
        self.framing
    }

    /// The Content-Length that was declared, also where no body follows (HEAD, 304).
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        self.declared_length
    }

    /// Whether the connection can be used again after the body.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether this is a 101 that agrees to WebSocket.
    #[must_use]
    pub fn is_websocket_accept(&self) -> bool {
        self.websocket_accept
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

    /// Removes the fields that belong to the connection to the upstream.
    pub fn strip_hop_by_hop(&mut self) {
        strip_hop_by_hop(&mut self.fields);
    }

    /// The Content-Length that the client is told of, with the framing that we mean.
    #[must_use]
    pub fn told_length(&self, framing: ResponseFraming) -> Option<u64> {
        match framing {
            ResponseFraming::Length(length) => Some(length),
            ResponseFraming::None if matches!(self.status, 100..200 | 204) => None,
            ResponseFraming::None if self.status == 304 => self.declared_length,
            ResponseFraming::None if self.for_head => self.declared_length,
            ResponseFraming::None => Some(self.declared_length.unwrap_or(0)),
            ResponseFraming::Chunked | ResponseFraming::UntilClose => None,
        }
    }

    /// Writes the head with the framing that we mean. With [`ResponseFraming::None`] a declared length is told where it says
    /// something about what a GET would bring (HEAD, 304), and 0 elsewhere.
    pub fn write_to(&self, out: &mut Vec<u8>, framing: ResponseFraming, connection: Option<&'static str>, upgrade_websocket: bool) {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, u64::from(self.status));
        out.push(b' ');
        out.extend_from_slice(phrase(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        self.fields.write_to(out);
        if let Some(length) = self.told_length(framing) {
            out.extend_from_slice(b"content-length: ");
            push_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        if framing == ResponseFraming::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if upgrade_websocket {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        } else if let Some(connection) = connection {
            out.extend_from_slice(b"connection: ");
            out.extend_from_slice(connection.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}
