//! Times as RFC 3339 writes them.

/// Appends microseconds since the Unix epoch as `2026-11-23T13:20:00.000000Z`.
pub(crate) fn push_time(out: &mut Vec<u8>, unix_micros: u64) {
    let (seconds, micros) = (unix_micros / 1_000_000, unix_micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let fields = [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T'), (second / 3600, 2, b':'), (second / 60 % 60, 2, b':')];
    for (value, digits, behind) in fields {
        push_digits(out, value, digits);
        out.push(behind);
    }
    push_digits(out, second % 60, 2);
    out.push(b'.');
    push_digits(out, micros, 6);
    out.push(b'Z');
}

fn push_digits(out: &mut Vec<u8>, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        out.push(b'0' + (value / 10_u64.pow(place) % 10) as u8);
    }
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian), with years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::push_time;

    #[test]
    fn times_are_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_795_440_000_000_001, "2026-11-23T13:20:00.000001Z"),
            (951_868_799_999_999, "2000-02-29T23:59:59.999999Z"),
        ] {
            let mut out = Vec::new();
            push_time(&mut out, micros);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
