//! JSON as tokens and keys have it, read strictly: no member twice, nothing behind the end, bounded in depth and number.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// How deep lists and objects may lie in one another.
const DEPTH_MAX: u8 = 16;
/// How many members an object may have. Looking for one that is there twice compares each with each.
pub const MEMBERS_MAX: usize = 256;
/// How many items a list may have.
const ITEMS_MAX: usize = 4096;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that is not negative and written without fraction or exponent.
    Whole(u64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(Box<str>),
    /// A list.
    List(Box<[Json]>),
    /// An object: its members in their order, each once.
    Object(Box<[(Box<str>, Json)]>),
}

impl Json {
    /// Reads a value that is the whole of `bytes`. Nothing when it is not well-formed, has a member twice, or is beyond the bounds.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = Depth(DEPTH_MAX).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(value)
    }

    /// A member of an object.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| &**known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// How much deeper it may go from here.
#[derive(Clone, Copy)]
struct Depth(u8);

impl Depth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            if items.len() == ITEMS_MAX {
                return Err(A::Error::custom("too many items"));
            }
            items.push(item);
        }
        Ok(Json::List(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut members: Vec<(Box<str>, Json)> = Vec::new();
        while let Some(name) = map.next_key_seed(Key)? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            // SECURITY: two readers of an object with a member twice may believe different ones (RFC 7515 section 4).
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member twice"));
            }
            members.push((name, map.next_value_seed(inner)?));
        }
        Ok(Json::Object(members.into()))
    }
}

/// The name of a member.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Box<str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Box<str>, D::Error> {
        Box::<str>::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn what_has_two_meanings_or_no_end_is_nothing() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(nested(16).as_bytes()).is_some() && Json::parse(nested(17).as_bytes()).is_none());
        assert!(Json::parse(nested(100_000).as_bytes()).is_none());
        for bad in [
            &b"{\"a\":1,\"a\":1}"[..],
            b"{\"a\":1,\"\\u0061\":2}",
            b"{} x",
            b"{}{}",
            b"",
            b"\xff",
            b"\"\xc3\x28\"",
            b"\"\\ud800\"",
            b"1e999",
            b"NaN",
            b"{\"a\":1,}",
            b"\xef\xbb\xbf{}",
            b"{'a':1}",
            b"01",
        ] {
            assert_eq!(Json::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        let many = |count: usize| format!("{{{}}}", (0..count).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
        assert!(Json::parse(many(256).as_bytes()).is_some() && Json::parse(many(257).as_bytes()).is_none());
    }

    #[test]
    fn only_plain_whole_numbers_are_whole() {
        for (text, whole) in [("1", true), ("18446744073709551615", true), ("18446744073709551616", false), ("1.0", false)] {
            assert_eq!(matches!(Json::parse(text.as_bytes()), Some(Json::Whole(_))), whole, "{text}");
        }
        assert!(matches!(Json::parse(b"-1"), Some(Json::Number(_))) && matches!(Json::parse(b"1e3"), Some(Json::Number(_))));
    }
}
