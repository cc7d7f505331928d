//! An answer that came as HTTP/2 fields (RFC 9113 section 8.3.2), read as strictly as one that came as HTTP/1 text.

use super::{ResponseHead, malformed};
use crate::fields_of_h2::{SectionSize, check_field};
use crate::framing::{Declared, ResponseFraming, declared};
use crate::{HeadLimits, KnownName, Method, WireError};
use portcullis_model::Reason;

impl ResponseHead {
    /// Reads the head of an upstream's answer to a request with `method` from fields. `ends` says whether nothing follows. Where a body
    /// follows whose length is not told, it goes on until the stream ends ([`ResponseFraming::UntilClose`]). What this held before is
    /// gone, also after an error.
    ///
    /// # Errors
    /// [`Reason::UpstreamMalformed`], with what exactly.
    pub fn read_fields<'a>(
        &mut self,
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
        limits: &HeadLimits,
        method: Method,
    ) -> Result<(), WireError> {
        let for_head = method == Method::Head;
        *self = Self { fields: std::mem::take(&mut self.fields), status, keep_alive: true, for_head, ..Self::default() };
        self.fields.reset(&[]);
        // RFC 9113 section 8.6: there is no switching of protocols.
        if !matches!(status, 100 | 102..=599) {
            return malformed("the status is none");
        }
        let mut size = SectionSize::default();
        for (name, value) in fields {
            if !size.add(name, value, limits.fields_max, limits.head_bytes_max) {
                return malformed("more fields or bytes than allowed");
            }
            check_field(name, value, Reason::UpstreamMalformed)?;
            self.fields.add_of_h2(KnownName::of_lower(name), name, value, Reason::UpstreamMalformed)?;
        }
        self.read_framing_of_h2(ends, method)
    }

    /// Takes an answer to an extended CONNECT that consents for the 101 that it stands for (RFC 8441 section 5). To everybody else it
    /// is the one.
    ///
    /// # Errors
    /// [`Reason::UpstreamUpgradeInvalid`] when the answer is no consent, ends, or tells a length.
    pub fn read_as_upgrade(&mut self) -> Result<(), WireError> {
        if !matches!(self.status, 200..300) || self.framing != ResponseFraming::UntilClose {
            let detail = "consent to WebSocket that ends the stream, or tells a length";
            return Err(WireError::new(Reason::UpstreamUpgradeInvalid, detail));
        }
        // It belongs to the handshake of HTTP/1, which is the gateway's own.
        let _of_http1 = self.fields.remove(KnownName::SecWebsocketAccept);
        (self.status, self.framing, self.websocket_accept) = (101, ResponseFraming::None, true);
        Ok(())
    }

    fn read_framing_of_h2(&mut self, ends: bool, method: Method) -> Result<(), WireError> {
        let says = declared(&self.fields, Reason::UpstreamMalformed, false)?;
        if let Declared::Length(length) = says {
            self.declared_length = Some(length);
        }
        if matches!(self.status, 100..200) && ends {
            return malformed("an interim answer that ends the stream");
        }
        if matches!(self.status, 100..200 | 204) && says != Declared::Nothing && says != Declared::Length(0) {
            return malformed("a length where there can be no body");
        }
        self.framing = match says {
            _ if matches!(self.status, 100..200 | 204 | 304) || method == Method::Head => ResponseFraming::None,
            Declared::Length(1..) if ends => return malformed("a content-length, and no content"),
            _ if ends => ResponseFraming::None,
            Declared::Length(0) => ResponseFraming::None,
            Declared::Length(length) => ResponseFraming::Length(length),
            Declared::Nothing | Declared::Chunked => ResponseFraming::UntilClose,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{HeadLimits, Method, ResponseFraming, ResponseHead};
    use portcullis_model::Reason;

    fn read(status: u16, fields: &[(&str, &str)], ends: bool, method: &[u8]) -> Result<ResponseHead, Reason> {
        let mut head = ResponseHead::default();
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        head.read_fields(status, fields, ends, &HeadLimits::default(), Method::parse(method))
            .map(|()| head)
            .map_err(|error| error.reason)
    }

    #[test]
    fn framing_is_what_fields_and_the_end_of_the_stream_say_together() {
        let framing = |status, fields: &[(&str, &str)], ends, method| {
            let head = read(status, fields, ends, method).unwrap();
            (head.framing(), head.declared_length())
        };
        let five = [("content-length", "5")];
        assert_eq!(framing(200, &five, false, b"GET"), (ResponseFraming::Length(5), Some(5)));
        assert_eq!(framing(200, &[], false, b"GET"), (ResponseFraming::UntilClose, None));
        assert_eq!(framing(200, &[], true, b"GET"), (ResponseFraming::None, None));
        assert_eq!(framing(200, &[("content-length", "0")], false, b"GET"), (ResponseFraming::None, Some(0)));
        assert_eq!(framing(200, &five, true, b"HEAD"), (ResponseFraming::None, Some(5)));
        assert_eq!(framing(304, &five, true, b"GET"), (ResponseFraming::None, Some(5)));
        assert_eq!(framing(204, &[], true, b"GET"), (ResponseFraming::None, None));
        assert_eq!(framing(103, &[("link", "</a>")], false, b"GET"), (ResponseFraming::None, None));
    }

    #[test]
    fn a31_an_answer_that_could_be_read_in_two_ways_is_refused() {
        for (status, fields, ends) in [
            (200, &[("content-length", "5")][..], true),
            (200, &[("content-length", "5"), ("content-length", "5")], false),
            (200, &[("content-length", "+5")], false),
            (200, &[("transfer-encoding", "chunked")], false),
            (200, &[("connection", "close")], false),
            (200, &[("keep-alive", "timeout=5")], false),
            (200, &[("upgrade", "websocket")], false),
            (200, &[("X-Upper", "a")], false),
            (200, &[("x-a", "a\r\nset-cookie: b=c")], false),
            (200, &[("x-a", " a")], false),
            (200, &[("x a", "a")], false),
            (204, &[("content-length", "5")], true),
            (101, &[], false),
            (100, &[], true),
            (600, &[], true),
            (0, &[], true),
        ] {
            assert_eq!(read(status, fields, ends, b"GET").err(), Some(Reason::UpstreamMalformed), "{status} {fields:?} {ends}");
        }
    }

    #[test]
    fn a25_only_consent_that_leaves_the_stream_open_stands_for_an_upgrade() {
        let mut head = read(200, &[("sec-websocket-protocol", "chat"), ("sec-websocket-accept", "x")], false, b"GET").unwrap();
        head.read_as_upgrade().unwrap();
        assert_eq!((head.status(), head.framing(), head.is_websocket_accept()), (101, ResponseFraming::None, true));
        let left: Vec<_> = head.fields().end_to_end().collect();
        assert_eq!(left, [(&b"sec-websocket-protocol"[..], &b"chat"[..])]);
        for (status, fields, ends) in [
            (200, &[][..], true),
            (204, &[], false),
            (200, &[("content-length", "0")], false),
            (200, &[("content-length", "9")], false),
            (302, &[], false),
        ] {
            let refused = read(status, fields, ends, b"GET").unwrap().read_as_upgrade().map_err(|error| error.reason);
            assert_eq!(refused, Err(Reason::UpstreamUpgradeInvalid), "{status} {fields:?} {ends}");
        }
    }

    #[test]
    fn d77_more_fields_or_bytes_than_allowed_are_refused() {
        let limits = HeadLimits { head_bytes_max: 100, fields_max: 3, ..HeadLimits::default() };
        let read = |count: usize, value: &str| {
            let fields = (0..count).map(|_| (b"x-a".as_slice(), value.as_bytes()));
            ResponseHead::default().read_fields(200, fields, true, &limits, Method::Get).map_err(|error| error.reason)
        };
        assert_eq!((read(3, "a"), read(4, "a")), (Ok(()), Err(Reason::UpstreamMalformed)));
        assert_eq!((read(1, &"a".repeat(93)), read(1, &"a".repeat(94))), (Ok(()), Err(Reason::UpstreamMalformed)));
    }
}
