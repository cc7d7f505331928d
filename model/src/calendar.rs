//! Days and dates.

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01, by the proleptic Gregorian calendar: the days-from-civil method, with years
/// that begin in March (H. Hinnant, "chrono-compatible low-level date algorithms").
#[must_use]
pub const fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use super::civil_date;

    #[test]
    fn days_are_the_dates_that_they_are() {
        let known =
            [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_782, (2026, 11, 25)), (2_932_896, (9999, 12, 31))];
        for (days, date) in known {
            assert_eq!(civil_date(days), date);
        }
    }
}
