//! Structured fields (RFC 8941), as far as signatures need them: dictionaries of lists of texts and of bytes. Stricter than the RFC asks: no name
//! comes twice, and an integer has one spelling, so that nobody reads another value.

use crate::base64::decode;

/// How many members a dictionary may have.
const MEMBERS_MAX: usize = 8;
/// How many items a list may have, and parameters an item.
const ITEMS_MAX: usize = 64;

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bare {
    /// A whole number that is not negative.
    Integer(u64),
    /// A text.
    Text(String),
    /// Another kind of value, which nothing here uses.
    Other,
}

/// Parameters, in order.
pub(crate) type Parameters = Vec<(String, Bare)>;

/// A list of texts, each with its parameters, and the parameters of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextList {
    pub(crate) items: Vec<(String, Parameters)>,
    pub(crate) parameters: Parameters,
}

/// A dictionary of lists of texts (section 3.1.1 below 3.2). Nothing when it is not well-formed.
pub(crate) fn lists(text: &[u8]) -> Option<Vec<(String, TextList)>> {
    dictionary(text, Cursor::list)
}

/// A dictionary of bytes. Nothing when it is not well-formed.
pub(crate) fn byte_sequences(text: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    dictionary(text, Cursor::bytes)
}

fn dictionary<'t, T>(text: &'t [u8], value: impl Fn(&mut Cursor<'t>) -> Option<T>) -> Option<Vec<(String, T)>> {
    let mut cursor = Cursor { rest: text.trim_ascii() };
    let mut members: Vec<(String, T)> = Vec::new();
    loop {
        let key = cursor.key()?;
        if members.len() >= MEMBERS_MAX || members.iter().any(|(other, _)| *other == key) || !cursor.eat(b'=') {
            return None;
        }
        members.push((key, value(&mut cursor)?));
        cursor.skip(b" \t");
        if cursor.rest.is_empty() {
            return Some(members);
        }
        if !cursor.eat(b',') {
            return None;
        }
        cursor.skip(b" \t");
    }
}

/// Writes a text as it is written in a structured field.
pub(crate) fn push_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// What is not read yet.
struct Cursor<'t> {
    rest: &'t [u8],
}

impl<'t> Cursor<'t> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.rest.first() == Some(&byte);
        if is_there {
            self.next();
        }
        is_there
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take_while(|byte| bytes.contains(&byte));
    }

    fn take_while(&mut self, is_wanted: impl Fn(u8) -> bool) -> &'t [u8] {
        let length = self.rest.iter().position(|byte| !is_wanted(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn key(&mut self) -> Option<String> {
        let key = self.take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b));
        let begins = key.first().is_some_and(|first| first.is_ascii_lowercase() || *first == b'*');
        begins.then(|| String::from_utf8_lossy(key).into_owned())
    }

    fn list(&mut self) -> Option<TextList> {
        let mut list = TextList::default();
        if !self.eat(b'(') {
            return None;
        }
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                break;
            }
            if list.items.len() >= ITEMS_MAX {
                return None;
            }
            let text = self.text()?;
            list.items.push((text, self.parameters()?));
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return None;
            }
        }
        list.parameters = self.parameters()?;
        Some(list)
    }

    fn parameters(&mut self) -> Option<Parameters> {
        let mut parameters = Parameters::new();
        while self.eat(b';') {
            self.skip(b" ");
            let key = self.key()?;
            if parameters.len() >= ITEMS_MAX || parameters.iter().any(|(other, _)| *other == key) {
                return None;
            }
            let value = if self.eat(b'=') { self.bare()? } else { Bare::Other };
            parameters.push((key, value));
        }
        Some(parameters)
    }

    fn bare(&mut self) -> Option<Bare> {
        match *self.rest.first()? {
            b'"' => self.text().map(Bare::Text),
            b':' => self.bytes().map(|_| Bare::Other),
            b'?' => {
                self.next();
                matches!(self.next()?, b'0' | b'1').then_some(Bare::Other)
            }
            b'-' | b'0'..=b'9' => {
                let number = self.take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
                integer(number).map(Bare::Integer).or(Some(Bare::Other))
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Some(Bare::Other)
            }
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        if !self.eat(b'"') {
            return None;
        }
        loop {
            let byte = match self.next()? {
                b'"' => return Some(text),
                b'\\' => self.next().filter(|byte| matches!(byte, b'"' | b'\\'))?,
                byte => Some(byte).filter(|byte| (0x20..0x7f).contains(byte))?,
            };
            text.push(char::from(byte));
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        if !self.eat(b':') {
            return None;
        }
        let text = self.take_while(|byte| byte != b':');
        if self.eat(b':') { decode(text) } else { None }
    }
}

/// A number of at most 15 digits, without a sign and without a zero in front.
fn integer(text: &[u8]) -> Option<u64> {
    let is_sound =
        (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || !text.starts_with(b"0"));
    is_sound.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::{Bare, byte_sequences, lists};

    #[test]
    fn lists_are_read_in_one_way_or_not_at_all() {
        let read = lists(b" a=(\"x\"  \"y\";name=\"q\\\"\" );created=12;t=tok/1;b=?1;y=:AA==:;d=1.5;f, *b=() ").unwrap();
        let [(a, first), (b, second)] = &read[..] else { panic!("two members") };
        assert_eq!((&**a, &**b, second.items.len()), ("a", "*b", 0));
        let names: Vec<_> = first.items.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["x", "y"]);
        assert_eq!(first.items[1].1, [("name".to_owned(), Bare::Text("q\"".to_owned()))]);
        assert_eq!(first.parameters.len(), 6);
        assert_eq!(first.parameters[0], ("created".to_owned(), Bare::Integer(12)));
        assert!(first.parameters[1..].iter().all(|(_, value)| *value == Bare::Other));
        for bad in [
            "",
            "a",
            "a=",
            "A=()",
            "1a=()",
            "a=(",
            "a=()b",
            "a=(),",
            "a=();",
            "a=(\"x\"\"y\")",
            "a=(x)",
            "a=(\"x)",
            "a=(\"\u{1}\")",
            "a=(\"\\x\")",
            "a=();c=",
            "a=();c=1;c=1",
            "a=();C=1",
            "a=(), a=()",
            "a=();c=?2",
            "a=();c=:A:",
            "a=() ()",
            "a=\t()",
            "a=(\"\u{e9}\")",
            "a=()\n, b=()",
        ] {
            assert_eq!(lists(bad.as_bytes()), None, "{bad}");
        }
        for odd in ["007", "-1", "1234567890123456", "1.0"] {
            let read = lists(format!("a=();c={odd}").as_bytes()).unwrap();
            assert_eq!(read[0].1.parameters[0].1, Bare::Other, "{odd}");
        }
        let many = (0..9).map(|at| format!("a{at}=()")).collect::<Vec<_>>().join(",");
        assert_eq!(lists(many.as_bytes()), None);
        assert_eq!(lists(format!("a=({})", "\"x\" ".repeat(65)).as_bytes()), None);
    }

    #[test]
    fn bytes_have_one_spelling() {
        assert_eq!(byte_sequences(b"a=:Zg==:, b=::"), Some(vec![("a".to_owned(), b"f".to_vec()), ("b".to_owned(), Vec::new())]));
        for bad in ["a=Zg==", "a=:Zg==", "a=:Zh==:", "a=:Zg:", "a=:Zg==:;p=1", "a=: Zg==:", "a=\"Zg==\""] {
            assert_eq!(byte_sequences(bad.as_bytes()), None, "{bad}");
        }
    }
}
