//! Times as RFC 3339 writes them.

use portcullis_model::civil_date;

/// Writes times; remembers the last second, since most lines share it with the one before.
#[derive(Debug, Default)]
pub(crate) struct TimeWriter {
    second: u64,
    /// `2026-11-23T13:20:00.`; empty before the first time.
    text: Vec<u8>,
}

impl TimeWriter {
    /// Appends microseconds since the Unix epoch as `2026-11-23T13:20:00.000000Z`.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, unix_micros: u64) {
        let (second, micros) = (unix_micros / 1_000_000, unix_micros % 1_000_000);
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text.clear();
            push_second(&mut self.text, second);
        }
        out.extend_from_slice(&self.text);
        push_digits::<6>(out, micros);
        out.push(b'Z');
    }
}

fn push_second(out: &mut Vec<u8>, unix_seconds: u64) {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil_date(days);
    push_digits::<4>(out, year);
    for (before, value) in [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)] {
        out.push(before);
        push_digits::<2>(out, value);
    }
    out.push(b'.');
}

fn push_digits<const N: usize>(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::TimeWriter;

    #[test]
    fn times_are_rfc_3339() {
        let mut times = TimeWriter::default();
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_795_440_000_000_001, "2026-11-23T13:20:00.000001Z"),
            (1_795_440_000_999_999, "2026-11-23T13:20:00.999999Z"),
            (1_795_440_001_000_000, "2026-11-23T13:20:01.000000Z"),
            (951_868_799_999_999, "2000-02-29T23:59:59.999999Z"),
            (951_868_800_000_000, "2000-03-01T00:00:00.000000Z"),
        ] {
            let mut out = Vec::new();
            times.push(&mut out, micros);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
