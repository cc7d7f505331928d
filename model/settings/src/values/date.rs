//! Dates, for what ends on a day.

use crate::{Decode, Diagnostics, Node, Schema, Value, scalar_schema};
use std::fmt;

/// A day of the Gregorian calendar, written `2027-01-31`; what ends on it ends as it begins, at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Days since 1970-01-01; negative before.
    days: i64,
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of January of a year from 1 on: 365 a year and the leap days between.
fn days_before_year(year: i64) -> i64 {
    let leaps = |years: i64| years / 4 - years / 100 + years / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

impl Date {
    /// Reads `YYYY-MM-DD` with a year from 1970 to 9999.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |len: usize| {
            let part = parts.next()?;
            (part.len() == len && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<i64>().ok()).flatten()
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        if parts.next().is_some() || year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        let months: i64 = (1..month).map(|earlier| days_in_month(year, earlier)).sum();
        Some(Self { days: days_before_year(year) + months + day - 1 })
    }

    /// The day that a time, in seconds since the Unix epoch, lies in; the last one that can be written for later times.
    #[must_use]
    pub fn of_unix_seconds(seconds: u64) -> Self {
        const LAST: i64 = 2_932_896;
        Self { days: i64::try_from(seconds / 86_400).unwrap_or(LAST).min(LAST) }
    }

    /// Midnight UTC at its beginning, in seconds since the Unix epoch.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        u64::try_from(self.days).unwrap_or(0) * 86_400
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A year has at most 366 days, so this starts at or before the right year and takes few steps.
        let mut year = 1970 + self.days / 366;
        while days_before_year(year + 1) <= self.days {
            year += 1;
        }
        let mut rest = self.days - days_before_year(year);
        let mut month = 1;
        while rest >= days_in_month(year, month) {
            rest -= days_in_month(year, month);
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}", rest + 1)
    }
}

impl Decode for Date {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let date = node.written().and_then(Self::parse);
        if date.is_none() {
            diagnostics.wrong(node, "a date such as `2027-01-31`");
        }
        date
    }

    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("date", Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), "2027-01-31")
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, days) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2000-03-01", 11_017), ("2026-11-23", 20_780), ("9999-12-31", 2_932_896)]
        {
            let date = Date::parse(text).expect(text);
            assert_eq!(date.unix_seconds(), days * 86_400, "{text}");
            assert_eq!(date.to_string(), text);
            assert_eq!(Date::of_unix_seconds(days * 86_400 + 86_399), date);
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in [
            "2023-02-29",
            "2100-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-04-31",
            "2026-1-1",
            "1969-12-31",
            "soon",
            "",
            "2026-01-01-01",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }
}
