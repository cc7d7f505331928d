//! The `Date` field, made once a second.

use portcullis_model::civil_date;
use std::cell::Cell;

/// The current date in IMF-fixdate form (RFC 9110 section 5.6.7), remembered for a second.
#[derive(Default)]
pub(crate) struct HttpDate {
    made_for: Cell<u64>,
    text: Cell<[u8; 29]>,
}

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

impl HttpDate {
    /// The date at `unix_seconds`.
    pub(crate) fn at(&self, unix_seconds: u64) -> [u8; 29] {
        if self.made_for.replace(unix_seconds) != unix_seconds || unix_seconds == 0 {
            self.text.set(imf_fixdate(unix_seconds));
        }
        self.text.get()
    }
}

fn imf_fixdate(unix_seconds: u64) -> [u8; 29] {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let mut text = [b' '; 29];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(slot) = text.get_mut(at) {
                *slot = *byte;
            }
            at += 1;
        }
    };
    let two = |n: u64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    put(DAYS.get((days % 7) as usize).copied().unwrap_or(b"Thu"));
    put(b", ");
    put(&two(day));
    put(b" ");
    put(MONTHS.get((month - 1) as usize).copied().unwrap_or(b"Jan"));
    put(b" ");
    put(&two(year / 100));
    put(&two(year % 100));
    put(b" ");
    put(&two(seconds / 3600));
    put(b":");
    put(&two(seconds / 60 % 60));
    put(b":");
    put(&two(seconds % 60));
    put(b" GMT");
    text
}

#[cfg(test)]
mod tests {
    use super::HttpDate;

    #[test]
    fn dates_read_as_the_rfc_writes_them() {
        let date = HttpDate::default();
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_440_000, "Mon, 23 Nov 2026 13:20:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&date.at(seconds)).unwrap(), text);
        }
    }
}
