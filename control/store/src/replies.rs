//! Answers of the store, taken apart. SECURITY: whoever can write there can write anything, so nothing is taken for granted.

use crate::journal::Line;
use redis::Value;

/// The longest line that is taken, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;

/// An answer that is not what was asked for.
pub(crate) fn unexpected() -> String {
    "it answers what was not asked; is something else at this address?".to_owned()
}

/// What an entry of a log is known by: its time at the store, and a number.
pub(crate) const BEGIN: &str = "0-0";

fn text(value: Value, bytes_max: usize) -> Option<String> {
    match value {
        Value::BulkString(bytes) if bytes.len() <= bytes_max => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) if text.len() <= bytes_max => Some(text),
        _ => None,
    }
}

/// The news of a log: the id of the last entry, the lines, and how many entries were none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) last: Option<String>,
    pub(crate) lines: Vec<Line>,
    pub(crate) garbage: u64,
}

/// Entries as `XREVRANGE` gives them.
pub(crate) fn entries(value: Value) -> Result<News, String> {
    let Value::Array(entries) = value else { return Err(unexpected()) };
    let mut news = News::default();
    for entry in entries {
        let Value::Array(parts) = entry else { return Err(unexpected()) };
        let [id, fields] = <[Value; 2]>::try_from(parts).map_err(|_| unexpected())?;
        news.last = Some(text(id, 64).ok_or_else(unexpected)?);
        match line_of(fields) {
            Some(line) => news.lines.push(line),
            None => news.garbage += 1,
        }
    }
    Ok(news)
}

/// The entries of the one log that `XREAD` was asked about; nothing is no news.
pub(crate) fn news(value: Value) -> Result<News, String> {
    let logs = match value {
        Value::Nil => return Ok(News::default()),
        Value::Array(logs) => logs,
        _ => return Err(unexpected()),
    };
    let Some(Value::Array(parts)) = logs.into_iter().next() else { return Err(unexpected()) };
    let [_, found] = <[Value; 2]>::try_from(parts).map_err(|_| unexpected())?;
    entries(found)
}

/// `field`, `line` and their values, in this order.
fn line_of(fields: Value) -> Option<Line> {
    let Value::Array(parts) = fields else { return None };
    let [first, field, second, line] = <[Value; 4]>::try_from(parts).ok()?;
    if text(first, 16)? != "field" || text(second, 16)? != "line" {
        return None;
    }
    Some(Line { field: text(field, LINE_BYTES_MAX)?, text: text(line, LINE_BYTES_MAX)? })
}

/// A part of a table: where to go on, its lines, and how many entries were none.
pub(crate) fn scanned(value: Value) -> Result<(String, News), String> {
    let Value::Array(parts) = value else { return Err(unexpected()) };
    let [cursor, found] = <[Value; 2]>::try_from(parts).map_err(|_| unexpected())?;
    let Value::Array(found) = found else { return Err(unexpected()) };
    let cursor = text(cursor, 32).ok_or_else(unexpected)?;
    let mut news = News::default();
    let mut found = found.into_iter();
    while let (Some(field), Some(line)) = (found.next(), found.next()) {
        match (text(field, LINE_BYTES_MAX), text(line, LINE_BYTES_MAX)) {
            (Some(field), Some(text)) => news.lines.push(Line { field, text }),
            _ => news.garbage += 1,
        }
    }
    Ok((cursor, news))
}

#[cfg(test)]
mod tests {
    use super::{Line, News, news, scanned};
    use redis::Value;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn array(values: Vec<Value>) -> Value {
        Value::Array(values)
    }

    fn log(entries: Vec<Value>) -> Value {
        array(vec![array(vec![bulk("log"), array(entries)])])
    }

    #[test]
    fn news_are_taken_apart_and_garbage_is_counted() {
        let good = array(vec![bulk("1-0"), array(vec![bulk("field"), bulk("a"), bulk("line"), bulk("b")])]);
        let more = array(vec![bulk("1-1"), array(vec![bulk("field"), bulk("a"), bulk("line"), bulk("b"), bulk("c"), bulk("d")])]);
        let other = array(vec![bulk("1-2"), array(vec![bulk("x"), bulk("a"), bulk("line"), bulk("b")])]);
        let bytes = array(vec![bulk("1-3"), array(vec![bulk("field"), Value::BulkString(vec![0xff]), bulk("line"), bulk("b")])]);
        let long = array(vec![bulk("1-4"), array(vec![bulk("field"), bulk(&"a".repeat(9000)), bulk("line"), bulk("b")])]);
        let line = Line { field: "a".to_owned(), text: "b".to_owned() };
        let expected = News { last: Some("1-4".to_owned()), lines: vec![line], garbage: 4 };
        assert_eq!(news(log(vec![good, more, other, bytes, long])), Ok(expected));
        assert_eq!(news(Value::Nil), Ok(News::default()));
        for wrong in [Value::Int(1), Value::Okay, array(vec![]), array(vec![bulk("a")]), log(vec![bulk("1-0")])] {
            assert!(news(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_table_comes_in_parts() {
        let part = array(vec![bulk("7"), array(vec![bulk("a"), bulk("b"), bulk("c"), Value::Int(1)])]);
        let (cursor, found) = scanned(part).unwrap();
        assert_eq!((cursor.as_str(), found.lines.len(), found.garbage), ("7", 1, 1));
        assert!(scanned(bulk("x")).is_err() && scanned(array(vec![bulk("0")])).is_err());
    }
}
