//! Identifiers: of requests, traces and configuration generations.

use std::fmt;

/// The number of a published configuration, counted from 1 in each process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one exchange; 128 bits, shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId(pub u128);

impl RequestId {
    /// The id as 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(self) -> [u8; 32] {
        hex_of(self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The digit of a value below 16, without a branch.
const fn hex_digit(nibble: u8) -> u8 {
    b'0' + nibble + ((nibble > 9) as u8) * (b'a' - b'0' - 10)
}

fn hex_of<const N: usize>(value: u128) -> [u8; N] {
    let bytes = value.to_be_bytes();
    let mut out = [b'0'; N];
    let used = bytes.iter().skip(16 - N / 2);
    for (pair, byte) in out.chunks_exact_mut(2).zip(used) {
        if let [high, low] = pair {
            (*high, *low) = (hex_digit(byte >> 4), hex_digit(byte & 0xf));
        }
    }
    out
}

/// Makes request and span ids: unique, and not guessable from one another as far as log readers are concerned.
///
/// Not for secrets. Seeded once per worker from the operating system's generator; then two rounds of SplitMix64 per id, which
/// costs a few nanoseconds.
#[derive(Clone, Debug)]
pub struct IdSource {
    high: u64,
    low: u64,
}

impl IdSource {
    /// A source from 16 random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 16]) -> Self {
        let all = u128::from_le_bytes(seed);
        Self { high: (all >> 64) as u64, low: all as u64 }
    }

    /// The next 64 bits; never zero, which trace context forbids for span ids.
    pub fn next_u64(&mut self) -> u64 {
        mix(&mut self.high) | 1
    }

    /// The next request id.
    pub fn next_id(&mut self) -> RequestId {
        let high = mix(&mut self.high);
        let low = mix(&mut self.low);
        RequestId((u128::from(high) << 64) | u128::from(low))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// W3C Trace Context (Level 1): the trace this exchange belongs to and our own span in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, from the client's `traceparent` or new; never zero.
    pub trace_id: u128,
    /// The client's span, if it sent a valid `traceparent`; else 0.
    pub parent_span: u64,
    /// Our span; never zero.
    pub span: u64,
    /// The flags byte; bit 0 is "sampled".
    pub flags: u8,
}

impl TraceContext {
    /// Continues the trace of a `traceparent` value, or starts the trace named by the request id when there is none or it is not
    /// well-formed (W3C Trace Context section 3.2: a broken header is treated as absent).
    #[must_use]
    pub fn continue_from(traceparent: Option<&[u8]>, id: RequestId, span: u64) -> Self {
        match traceparent.and_then(parse_traceparent) {
            Some((trace_id, parent_span, flags)) => Self { trace_id, parent_span, span, flags },
            None => Self { trace_id: id.0.max(1), parent_span: 0, span, flags: 0 },
        }
    }

    /// The `traceparent` value to send on: version 00, our span as parent.
    #[must_use]
    pub fn traceparent(&self) -> [u8; 55] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut put = |at: usize, digits: &[u8]| {
            if let Some(slot) = out.get_mut(at..at + digits.len()) {
                slot.copy_from_slice(digits);
            }
        };
        put(3, &hex_of::<32>(self.trace_id));
        put(36, &hex_of::<16>(u128::from(self.span)));
        put(53, &hex_of::<2>(u128::from(self.flags & 1)));
        out
    }
}

fn parse_traceparent(value: &[u8]) -> Option<(u128, u64, u8)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower_hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !lower_hex(version, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    if !lower_hex(trace, 32) || !lower_hex(parent, 16) || !lower_hex(flags, 2) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|t| *t != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|p| *p != 0)?;
    Some((trace, parent, u8::from_str_radix(flags, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::{IdSource, RequestId, TraceContext};

    #[test]
    fn ids_differ_and_print_as_hex() {
        let mut source = IdSource::from_seed([7; 16]);
        let (a, b) = (source.next_id(), source.next_id());
        assert_ne!(a, b);
        assert_eq!(a.to_string().as_bytes(), a.hex());
    }

    #[test]
    fn a_valid_traceparent_is_continued() {
        let given = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::continue_from(Some(given), RequestId(9), 0xabc);
        assert_eq!(&context.traceparent(), b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-01");
        assert_eq!(context.parent_span, 0x00f0_67aa_0ba9_02b7);
    }

    #[test]
    fn a_broken_traceparent_starts_a_new_trace() {
        for bad in [
            &b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"[..],
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            b"junk",
            b"",
        ] {
            assert_eq!(TraceContext::continue_from(Some(bad), RequestId(9), 1).trace_id, 9, "{bad:?}");
        }
    }
}
