//! Chunked coding (RFC 9112 section 7.1), read strictly; extensions end here.

use crate::bytes::{hex_value, is_token, is_value_byte, trim_ows};
use crate::hygiene::is_forbidden_trailer;
use crate::{Fields, WireError};
use portcullis_model::Reason;
use std::ops::Range;

/// Digits of a chunk size; more would overflow 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of extensions of one chunk, and of a body.
const EXTENSION_BYTES_MAX: u32 = 256;
const EXTENSIONS_BYTES_MAX: u32 = 16 * 1024;
/// Bytes and fields of the trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 32;

/// What a step of decoding found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkStep {
    /// Everything given was consumed; more is needed.
    NeedMore,
    /// Payload, at this range of the input.
    Data {
        /// Where in the input.
        range: Range<usize>,
    },
    /// The body has ended, trailers included.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u8 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// Trailer fields that may be passed on.
pub type Trailers = Fields;

/// Decodes a chunked body piece by piece, never looking back.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    left: u64,
    extension: u32,
    extensions: u32,
    line: Vec<u8>,
    trailer_bytes: usize,
    trailers: Trailers,
    reason: Reason,
}

impl ChunkedDecoder {
    /// A decoder for a client's body.
    #[must_use]
    pub fn for_request() -> Self {
        Self::new(Reason::ChunkMalformed)
    }

    /// A decoder for an upstream's body.
    #[must_use]
    pub fn for_response() -> Self {
        Self::new(Reason::UpstreamMalformed)
    }

    fn new(reason: Reason) -> Self {
        Self {
            state: State::Size { digits: 0 },
            left: 0,
            extension: 0,
            extensions: 0,
            line: Vec::new(),
            trailer_bytes: 0,
            trailers: Trailers::default(),
            reason,
        }
    }

    /// The trailer fields, once [`ChunkStep::Done`] was given. Fields that may not come as trailers are not among them.
    #[must_use]
    pub fn trailers(&self) -> &Trailers {
        &self.trailers
    }

    /// The same, to take some away.
    pub fn trailers_mut(&mut self) -> &mut Trailers {
        &mut self.trailers
    }

    fn refuse<T>(&self, detail: &'static str) -> Result<T, WireError> {
        Err(WireError::new(self.reason, detail))
    }

    /// Decodes on. Gives how many bytes of `input` are done with, and what was found.
    ///
    /// # Errors
    /// Whatever is not exactly well-formed.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, ChunkStep), WireError> {
        let mut at = 0;
        while let Some(byte) = input.get(at).copied() {
            match self.state {
                State::Done => return Ok((at, ChunkStep::Done)),
                State::Data => {
                    let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                    self.left -= here as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok((at + here, ChunkStep::Data { range: at..at + here }));
                }
                State::Trailer => {
                    at += 1;
                    if self.trailer_byte(byte)? {
                        self.state = State::Done;
                        return Ok((at, ChunkStep::Done));
                    }
                }
                _ => {
                    at += 1;
                    self.framing_byte(byte)?;
                }
            }
        }
        Ok((at, if self.state == State::Done { ChunkStep::Done } else { ChunkStep::NeedMore }))
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), WireError> {
        self.state = match (self.state, byte) {
            (State::Size { digits: 1.. }, b'\r') => State::SizeLf,
            (State::Size { digits: 1.. }, b';') => {
                self.extension = 0;
                State::Extension
            }
            (State::Size { digits }, _) => self.size_digit(digits, byte)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) => self.extension_byte(byte)?,
            (State::SizeLf, b'\n') if self.left == 0 => State::Trailer,
            (State::SizeLf, b'\n') => State::Data,
            (State::SizeLf, _) => return self.refuse("a chunk size line that does not end with CR LF"),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::DataCr | State::DataLf, _) => return self.refuse("a chunk that does not end with CR LF"),
            (state @ (State::Data | State::Trailer | State::Done), _) => state,
        };
        Ok(())
    }

    fn size_digit(&mut self, digits: u8, byte: u8) -> Result<State, WireError> {
        let Some(value) = hex_value(byte) else { return self.refuse("a chunk size that is not hexadecimal") };
        if digits == SIZE_DIGITS_MAX {
            return self.refuse("a chunk size with too many digits");
        }
        self.left = if digits == 0 { u64::from(value) } else { (self.left << 4) | u64::from(value) };
        // A size near the top of the range would overflow what readers further on add to it (threats A 8).
        if self.left > u64::from(u32::MAX) << 20 {
            return self.refuse("a chunk size beyond all reason");
        }
        Ok(State::Size { digits: digits + 1 })
    }

    fn extension_byte(&mut self, byte: u8) -> Result<State, WireError> {
        self.extension += 1;
        self.extensions += 1;
        if self.extension > EXTENSION_BYTES_MAX || self.extensions > EXTENSIONS_BYTES_MAX {
            return self.refuse("chunk extensions longer than allowed");
        }
        if !is_value_byte(byte) {
            return self.refuse("a control byte in a chunk extension");
        }
        Ok(State::Extension)
    }

    /// Takes a byte of the trailer section; says whether the section has ended.
    fn trailer_byte(&mut self, byte: u8) -> Result<bool, WireError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return self.refuse("trailers longer than allowed");
        }
        if byte != b'\n' {
            self.line.push(byte);
            return Ok(false);
        }
        let line = std::mem::take(&mut self.line);
        let Some(line) = line.strip_suffix(b"\r") else { return self.refuse("a trailer line that does not end with CR LF") };
        if line.is_empty() {
            return Ok(true);
        }
        self.trailer_line(line)?;
        Ok(false)
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), WireError> {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return self.refuse("a trailer line without `:`") };
        let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        let value = trim_ows(value);
        if !is_token(name) || !value.iter().all(|byte| is_value_byte(*byte)) {
            return self.refuse("a trailer line that is not well-formed");
        }
        if self.trailers.len() == TRAILER_FIELDS_MAX {
            return self.refuse("more trailers than allowed");
        }
        let lower = name.to_ascii_lowercase();
        if !is_forbidden_trailer(&lower)
            && let Ok(lower) = std::str::from_utf8(&lower)
        {
            // One that only the codec may write is dropped, as a forbidden one is.
            let _kept_or_dropped = self.trailers.append_named(lower, value).is_ok();
        }
        Ok(())
    }
}

/// Writes the size line of a chunk.
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    let mut digits = [0_u8; 16];
    let mut rest = len;
    let mut count = 0;
    for slot in digits.iter_mut().rev() {
        *slot = crate::bytes::hex_digit((rest & 0xf) as u8);
        rest >>= 4;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(16 - count..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailer section.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &Trailers) {
    out.extend_from_slice(b"0\r\n");
    trailers.write_to(out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::{ChunkStep, ChunkedDecoder, write_chunk_head, write_last_chunk};
    use crate::WireError;

    /// Body, whether it ended, and how much of the input was consumed, when `input` comes in pieces of `piece` bytes.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, bool, usize), WireError> {
        let mut decoder = ChunkedDecoder::for_request();
        let (mut body, mut total) = (Vec::new(), 0);
        for part in input.chunks(piece) {
            let mut at = 0;
            while at < part.len() {
                let (consumed, step) = decoder.step(&part[at..])?;
                match step {
                    ChunkStep::Data { range } => body.extend_from_slice(&part[at..][range]),
                    ChunkStep::Done => return Ok((body, true, total + at + consumed)),
                    ChunkStep::NeedMore => {}
                }
                at += consumed;
            }
            total += part.len();
        }
        Ok((body, false, total))
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let input = b"4;name=value\r\nWiki\r\n5\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\n\r\nGET /next";
        for piece in 1..input.len() {
            let (body, done, consumed) = decode(input, piece).unwrap();
            assert_eq!((body.as_slice(), done, &input[consumed..]), (&b"Wikipedia in\r\n\r\nchunks."[..], true, &b"GET /next"[..]));
        }
    }

    #[test]
    fn a08_sizes_that_overflow_are_refused() {
        for size in ["00000000000000001", "fffffffffffffffd", "ffffffffffffffff", "10000000000000000"] {
            assert!(decode(format!("{size}\r\nabc").as_bytes(), 64).is_err(), "{size}");
        }
    }

    #[test]
    fn a15_to_a18_every_line_end_is_exact() {
        for bad in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"3\r\nabc\n0\r\n\r\n",
            b"5;\nxxxxx\r\n0\r\n\r\n",
            b"0;\n\r\n",
            b"3\r\nabcXX0\r\n\r\n",
            b"3\r\nabc\r\n0\n\r\n",
            b"3\r\nabc\r\n0\r\n\n",
            b"3\rabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc",
            b";x\r\n",
            b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
            b"3;a\rb\r\nabc\r\n0\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nx : y\r\n\r\n",
            b"0\r\n folded: y\r\n\r\n",
            b"0\r\nx: a\x01\r\n\r\n",
        ] {
            for piece in [1, 7, 64] {
                assert!(decode(bad, piece).is_err(), "{bad:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a84_extensions_and_trailers_are_bounded() {
        assert!(decode(&[b"1;".as_slice(), &[b'x'; 300], b"\r\na\r\n"].concat(), 64).is_err());
        let many: Vec<u8> = (0..200).flat_map(|_| [b"1;".as_slice(), &[b'x'; 200], b"\r\na\r\n"].concat()).collect();
        assert!(decode(&many, 64).is_err());
        assert!(decode(&[b"0\r\nx: ".as_slice(), &[b'x'; 9000], b"\r\n\r\n"].concat(), 64).is_err());
        assert!(decode(&[b"0\r\n".as_slice(), &b"x: y\r\n".repeat(40), b"\r\n"].concat(), 64).is_err());
    }

    #[test]
    fn trailers_that_would_change_the_request_are_dropped() {
        let mut decoder = ChunkedDecoder::for_request();
        let input = b"0\r\nX-Sum: 1\r\nHost: evil\r\nX_Forwarded_For: 1.2.3.4\r\nAuthorization: x\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(decoder.step(input), Ok((input.len(), ChunkStep::Done)));
        let mut out = Vec::new();
        write_last_chunk(&mut out, decoder.trailers());
        assert_eq!(out, b"0\r\nx-sum: 1\r\n\r\n");
    }

    #[test]
    fn chunk_heads_are_hexadecimal() {
        for (len, text) in [(1, "1\r\n"), (15, "F\r\n"), (16, "10\r\n"), (65536, "10000\r\n")] {
            let mut out = Vec::new();
            write_chunk_head(&mut out, len);
            assert_eq!(out, text.as_bytes());
        }
    }
}
