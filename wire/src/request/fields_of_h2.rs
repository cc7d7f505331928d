//! A request that came as HTTP/2 fields (RFC 9113 section 8.3), in the same canonical form as one that came as HTTP/1 text.

use super::{RequestHead, Version};
use crate::bytes::is_token;
use crate::fields_of_h2::{SectionSize, check_field};
use crate::framing::{BodyFraming, Declared, declared};
use crate::host;
use crate::span::{Span, push};
use crate::{HeadLimits, KnownName, Method, WireError};
use portcullis_model::Reason;

/// The pseudo-header fields of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct PseudoFields<'a> {
    /// `:method`
    pub method: &'a [u8],
    /// `:scheme`; none where it was checked and dropped before.
    pub scheme: Option<&'a [u8]>,
    /// `:authority`
    pub authority: Option<&'a [u8]>,
    /// `:path`, with the query.
    pub path: Option<&'a [u8]>,
    /// `:protocol` (RFC 8441 section 4).
    pub protocol: Option<&'a [u8]>,
}

fn malformed<T>(detail: &'static str) -> Result<T, WireError> {
    Err(WireError::new(Reason::RequestMalformed, detail))
}

impl RequestHead {
    /// Reads a head from fields, by the rules of [`RequestHead::parse`] and those of RFC 9113 section 8. `scheme` is the one that the
    /// connection has, `ends` says whether no body follows. What this held before is gone, also after an error.
    ///
    /// # Errors
    /// Whatever is not well-formed or could be read in two ways, by reason.
    pub fn read_fields<'a>(
        &mut self,
        pseudo: &PseudoFields<'a>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        scheme: &[u8],
        ends: bool,
        limits: &HeadLimits,
    ) -> Result<(), WireError> {
        *self = Self { fields: std::mem::take(&mut self.fields), version: Version::H2, keep_alive: true, ..Self::default() };
        self.fields.reset(&[]);
        let target = self.add_pseudo(pseudo, scheme, limits)?;
        let size = target.range().end;
        self.add_fields(fields, size, limits)?;
        self.read_framing(ends)?;
        self.read_authority(pseudo.authority)?;
        match pseudo.protocol {
            Some(protocol) => self.read_extended_connect(protocol, target)?,
            None => self.read_path(target)?,
        }
        self.read_expect()
    }

    fn add_pseudo(&mut self, pseudo: &PseudoFields<'_>, scheme: &[u8], limits: &HeadLimits) -> Result<Span, WireError> {
        if !is_token(pseudo.method) {
            return malformed("a :method that is not a token");
        }
        if pseudo.scheme.is_some_and(|given| !given.eq_ignore_ascii_case(scheme)) {
            return malformed("a :scheme that is not the connection's");
        }
        let path = pseudo.path.unwrap_or_default();
        if path.len() > limits.target_bytes_max {
            return Err(WireError::new(Reason::UriTooLong, "the request target is longer than allowed"));
        }
        self.method = Method::parse(pseudo.method);
        self.method_at = push(&mut self.fields.buffer, pseudo.method);
        Ok(push(&mut self.fields.buffer, path))
    }

    fn add_fields<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        size_before: usize,
        limits: &HeadLimits,
    ) -> Result<(), WireError> {
        let mut size = SectionSize::beginning_with(size_before);
        let mut crumbs: Vec<&[u8]> = Vec::new();
        for (name, value) in fields {
            // Every line counts, those of a cookie that comes in many parts too (threats D 77).
            if !size.add(name, value, limits.fields_max, limits.head_bytes_max) {
                return Err(WireError::new(Reason::HeadersTooLarge, "more fields or bytes than allowed"));
            }
            check_field(name, value, Reason::RequestMalformed)?;
            if name == b"cookie" {
                crumbs.push(value);
            } else {
                self.add_line(name, value)?;
            }
        }
        if !crumbs.is_empty() {
            // RFC 9113 section 8.2.3: a cookie that came in parts is one field to everybody else.
            let value = push(&mut self.fields.buffer, &crumbs.join(&b"; "[..]));
            self.fields.append_at(KnownName::Cookie, value);
        }
        Ok(())
    }

    fn add_line(&mut self, name: &[u8], value: &[u8]) -> Result<(), WireError> {
        let known = KnownName::of_lower(name);
        if known == Some(KnownName::Te) {
            if value != b"trailers" {
                return malformed("a te other than exactly `trailers`");
            }
            // What it says is known from here on; the field itself belongs to the connection.
            self.takes_trailers = true;
            return Ok(());
        }
        self.fields.add_of_h2(known, name, value, Reason::RequestMalformed)
    }

    fn read_framing(&mut self, ends: bool) -> Result<(), WireError> {
        self.framing = match (declared(&self.fields, Reason::FramingAmbiguous, false)?, ends) {
            (Declared::Length(1..), true) => {
                return Err(WireError::new(Reason::FramingAmbiguous, "a content-length, and no content"));
            }
            (_, true) | (Declared::Length(0), false) => BodyFraming::None,
            (Declared::Length(length), false) => BodyFraming::Length(length),
            (Declared::Nothing | Declared::Chunked, false) => BodyFraming::Chunked,
        };
        Ok(())
    }

    /// `:authority` stands for Host; where both are, they name the same host (RFC 9113 section 8.3.1).
    fn read_authority(&mut self, authority: Option<&[u8]>) -> Result<(), WireError> {
        let Some(authority) = authority else { return self.read_host() };
        if self.fields.values(KnownName::Host).count() > 1 {
            return Err(WireError::new(Reason::HostInvalid, "several host fields"));
        }
        if let Some(other) = self.fields.first(KnownName::Host) {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            let ports = (host::canonical_authority(authority, &mut one)?, host::canonical_authority(other, &mut two)?);
            if one != two || ports.0 != ports.1 {
                return Err(WireError::new(Reason::HostInvalid, ":authority and host name different hosts"));
            }
            return self.read_host();
        }
        let at = push(&mut self.fields.buffer, authority);
        self.fields.append_at(KnownName::Host, at);
        self.read_host()
    }

    fn read_path(&mut self, target: Span) -> Result<(), WireError> {
        if self.method_bytes() == b"CONNECT" {
            return Err(WireError::new(Reason::MethodRefused, "CONNECT is never forwarded"));
        }
        match target.bytes(&self.fields.buffer) {
            // SECURITY: a path without its slash is never completed: rules that begin with a slash would not see it (threats B 49).
            [b'/', ..] => self.read_path_and_query(target),
            b"*" if self.method == Method::Options => self.read_target(target),
            _ => malformed("a :path that does not begin with `/`"),
        }
    }

    /// RFC 8441 section 5: WebSocket over a stream. To everybody else it is the upgrade that it stands for.
    fn read_extended_connect(&mut self, protocol: &[u8], target: Span) -> Result<(), WireError> {
        let refuse = |detail| Err(WireError::new(Reason::UpgradeRefused, detail));
        if self.method_bytes() != b"CONNECT" || protocol != b"websocket" {
            return refuse("an extended CONNECT to something other than websocket");
        }
        if self.framing != BodyFraming::Chunked {
            return refuse("an extended CONNECT that ends, or tells a length");
        }
        let version = self.fields.values(KnownName::SecWebsocketVersion);
        if !version.eq([b"13".as_slice()]) || self.fields.first(KnownName::SecWebsocketKey).is_some() {
            return refuse("an extended CONNECT to websocket without version 13, or with the key of HTTP/1");
        }
        if target.bytes(&self.fields.buffer).first() != Some(&b'/') {
            return malformed("a :path that does not begin with `/`");
        }
        self.read_path_and_query(target)?;
        self.method = Method::Get;
        self.method_at = push(&mut self.fields.buffer, b"GET");
        self.framing = BodyFraming::None;
        self.wants_websocket = true;
        Ok(())
    }
}
