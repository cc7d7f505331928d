//! Finding where a head ends, without looking at any byte twice.

use crate::WireError;
use memchr::memchr_iter;
use portcullis_model::Reason;

/// What a head may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes in all, with the final empty line.
    pub head_bytes_max: usize,
    /// Fields.
    pub fields_max: usize,
    /// Bytes of the request target.
    pub target_bytes_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 32 * 1024, fields_max: 100, target_bytes_max: 8 * 1024 }
    }
}

/// Room for a method, the spaces and the version around a target.
const REQUEST_LINE_EXTRA: usize = 64;

/// Finds the empty line that ends a head. Remembers how far it has looked, so that a head fed byte by byte costs one pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadFinder {
    scanned: usize,
    line_start: usize,
    lines: usize,
}

impl HeadFinder {
    /// Looks for the end of the head that `buffer` begins with; `buffer` must begin with the same bytes at every call. Gives the
    /// length of the head with its final empty line.
    ///
    /// # Errors
    /// A line that does not end with CR LF, an empty line in front, or more bytes than allowed.
    pub fn find(&mut self, buffer: &[u8], limits: &HeadLimits) -> Result<Option<usize>, WireError> {
        let fresh = buffer.get(self.scanned..).unwrap_or_default();
        for offset in memchr_iter(b'\n', fresh) {
            let at = self.scanned + offset;
            if at == 0 || buffer.get(at - 1) != Some(&b'\r') {
                return Err(WireError::new(Reason::RequestMalformed, "a line of the head does not end with CR LF"));
            }
            let length = at - 1 - self.line_start;
            if length == 0 {
                return self.end(at + 1, limits).map(Some);
            }
            if self.lines == 0 && length > limits.target_bytes_max + REQUEST_LINE_EXTRA {
                return Err(too_long());
            }
            self.lines += 1;
            self.line_start = at + 1;
        }
        self.scanned = buffer.len();
        // One byte more than the line may have: the CR of a line of just that length may be the last byte that came.
        if self.lines == 0 && buffer.len() > limits.target_bytes_max + REQUEST_LINE_EXTRA + 1 {
            return Err(too_long());
        }
        if buffer.len() >= limits.head_bytes_max {
            return Err(too_large());
        }
        Ok(None)
    }

    fn end(&mut self, length: usize, limits: &HeadLimits) -> Result<usize, WireError> {
        if self.lines == 0 {
            return Err(WireError::new(Reason::RequestMalformed, "an empty line in front of the head"));
        }
        if length > limits.head_bytes_max {
            return Err(too_large());
        }
        Ok(length)
    }

    /// Begins anew, for the next head.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

fn too_long() -> WireError {
    WireError::new(Reason::UriTooLong, "the first line is longer than allowed")
}

fn too_large() -> WireError {
    WireError::new(Reason::HeadersTooLarge, "the head has more bytes than allowed")
}

#[cfg(test)]
mod tests {
    use super::{HeadFinder, HeadLimits};
    use portcullis_model::Reason;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";

    #[test]
    fn a_head_is_found_whole_or_byte_by_byte() {
        let limits = HeadLimits::default();
        assert_eq!(HeadFinder::default().find(HEAD, &limits), Ok(Some(27)));
        let mut finder = HeadFinder::default();
        for end in 1..27 {
            assert_eq!(finder.find(&HEAD[..end], &limits), Ok(None), "{end}");
        }
        assert_eq!(finder.find(&HEAD[..27], &limits), Ok(Some(27)));
    }

    #[test]
    fn bare_line_feeds_and_leading_empty_lines_are_refused() {
        let limits = HeadLimits::default();
        for bad in
            [&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost: a\n\r\n", b"\r\nGET / HTTP/1.1\r\n\r\n", b"\n"]
        {
            assert_eq!(HeadFinder::default().find(bad, &limits).unwrap_err().reason, Reason::RequestMalformed, "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_bounded_before_the_end_is_seen() {
        let limits = HeadLimits { head_bytes_max: 1000, fields_max: 10, target_bytes_max: 100 };
        let long_target = [b"GET /".as_slice(), &[b'a'; 200]].concat();
        assert_eq!(HeadFinder::default().find(&long_target, &limits).unwrap_err().reason, Reason::UriTooLong);
        let many = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 1000]].concat();
        assert_eq!(HeadFinder::default().find(&many, &limits).unwrap_err().reason, Reason::HeadersTooLarge);
    }
}
