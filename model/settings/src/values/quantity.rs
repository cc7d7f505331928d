//! Quantities with their unit: durations, sizes, rates and percentages. A bare number is refused, so that nobody guesses the unit.

use crate::{Decode, Diagnostics, Node, Schema, Value, scalar_schema};
use std::fmt;
use std::time::Duration;

/// Splits `10s` into 10 and `s`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// Units from the largest to the smallest, as factors of the smallest.
type Units = &'static [(&'static str, u64)];

fn parse(text: &str, units: Units) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.checked_mul(factor)
}

/// The shortest exact form: the largest unit that divides the value.
fn show(value: u64, units: Units, zero: &str) -> String {
    match units.iter().find(|(_, factor)| value.is_multiple_of(*factor)) {
        Some((unit, factor)) if value > 0 => format!("{}{unit}", value / factor),
        _ => zero.to_owned(),
    }
}

fn decode(node: &Node<'_>, units: Units, expected: &str, diagnostics: &mut Diagnostics) -> Option<u64> {
    let value = node.written().and_then(|text| parse(text, units));
    if value.is_none() {
        diagnostics.wrong(node, expected);
    }
    value
}

const TIMES: Units = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Decode for Duration {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode(node, TIMES, "a duration with its unit, such as `250ms`, `10s`, `5m`, `12h` or `365d`", diagnostics)
            .map(Duration::from_millis)
    }

    fn encode(&self) -> Value {
        Value::String(show(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), TIMES, "0s"))
    }

    fn schema() -> Schema {
        scalar_schema("duration", Some("^[0-9]+(ms|s|m|h|d)$"), "10s")
    }
}

/// A number of bytes, written with its unit: `512B`, `32KiB`, `1MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const SIZES: Units = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// As many KiB.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// As many MiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// As many GiB.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 30))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.0, SIZES, "0B"))
    }
}

impl Decode for ByteSize {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode(node, SIZES, "a size with its unit, such as `512B`, `32KiB`, `1MiB` or `2GiB`", diagnostics).map(Self)
    }

    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("size", Some("^[0-9]+(B|KiB|MiB|GiB|TiB)$"), "32KiB")
    }
}

/// Bytes per second, written as a size per `s`: `500B/s`, `20MiB/s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(pub u64);

const RATES: Units = &[("GiB/s", 1 << 30), ("MiB/s", 1 << 20), ("KiB/s", 1 << 10), ("B/s", 1)];

impl Decode for ByteRate {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode(node, RATES, "bytes per second with their unit, such as `500B/s` or `20MiB/s`", diagnostics).map(Self)
    }

    fn encode(&self) -> Value {
        Value::String(show(self.0, RATES, "0B/s"))
    }

    fn schema() -> Schema {
        scalar_schema("bytes per second", Some("^[0-9]+(B|KiB|MiB|GiB)/s$"), "500B/s")
    }
}

/// Requests in a time, written as `50/s`, `600/m`, `1000/h` or `10000/d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestRate {
    count: u64,
    period: RatePeriod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RatePeriod {
    Second,
    Minute,
    Hour,
    Day,
}

impl RatePeriod {
    const ALL: [(&'static str, Self); 4] = [("/s", Self::Second), ("/m", Self::Minute), ("/h", Self::Hour), ("/d", Self::Day)];

    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}

impl RequestRate {
    /// So many in a second.
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self { count: count as u64, period: RatePeriod::Second }
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }

    /// In how many nanoseconds.
    #[must_use]
    pub fn period_nanos(self) -> u64 {
        self.period.seconds() * 1_000_000_000
    }
}

impl Decode for RequestRate {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let read = |text| {
            let (count, unit) = split_unit(text)?;
            let (_, period) = RatePeriod::ALL.into_iter().find(|(name, _)| *name == unit)?;
            (count <= u64::from(u32::MAX)).then_some(Self { count, period })
        };
        let value = node.written().and_then(read);
        if value.is_none() {
            diagnostics.wrong(node, "requests in a time, such as `50/s`, `600/m`, `1000/h` or `10000/d`");
        }
        value
    }

    fn encode(&self) -> Value {
        let unit = RatePeriod::ALL.into_iter().find(|(_, period)| *period == self.period).map_or("/s", |(name, _)| name);
        Value::String(format!("{}{unit}", self.count))
    }

    fn schema() -> Schema {
        scalar_schema("requests in a time", Some("^[0-9]+/(s|m|h|d)$"), "50/s")
    }
}

/// A part of a whole from 0 to 100, in hundredths of a percent: `20%`, `0.5%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    hundredths: u16,
}

impl Percent {
    /// As many whole percent; more than 100 are 100.
    #[must_use]
    pub const fn whole(percent: u8) -> Self {
        Self { hundredths: if percent > 100 { 10_000 } else { percent as u16 * 100 } }
    }

    /// The value in hundredths of a percent, at most 10,000.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.hundredths
    }

    fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 || (part.is_empty() && number.contains('.')) {
            return None;
        }
        let part: u32 = format!("{part:0<2}").parse().ok()?;
        let hundredths = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)?;
        u16::try_from(hundredths).ok().filter(|value| *value <= 10_000).map(|hundredths| Self { hundredths })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hundredths / 100, self.hundredths % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl Decode for Percent {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let value = node.written().and_then(Self::parse);
        if value.is_none() {
            diagnostics.wrong(node, "a part from `0%` to `100%`, such as `20%` or `0.5%`");
        }
        value
    }

    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("percentage", Some("^[0-9]{1,3}(\\.[0-9]{1,2})?%$"), "20%")
    }
}
