//! Just enough reading of Rust to check the house rules: what is code, what is comment, what is test, where functions end.

/// A Rust file, split into code and comments. Both keep the places of the lines.
#[derive(Clone, Debug)]
pub struct Source {
    /// The text with comments and the insides of literals blanked out.
    pub code: String,
    /// The text with everything but comments blanked out.
    pub comments: String,
    /// As `code`, with items under `#[cfg(test)]` blanked out as well.
    pub product: String,
    /// Modules declared as `#[cfg(test)] mod name;`: files that are test code as a whole.
    pub test_modules: Vec<String>,
}

/// A function: its name, its first line (counted from 1), and how many lines it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// Lines from there to its closing brace.
    pub lines: usize,
}

impl Source {
    /// Reads a file.
    pub fn read(text: &str) -> Self {
        let (code, comments) = split(text);
        let (product, test_modules) = without_tests(&code);
        Self { code, comments, product, test_modules }
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let bytes = self.code.as_bytes();
        let starts = words(&self.code, "fn");
        starts.into_iter().filter_map(|at| function(&self.code, bytes, at)).collect()
    }
}

/// The line that holds a byte, counted from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Where `word` stands in `text` as a word of its own.
pub fn words(text: &str, word: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let part_of_name = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let found = text.match_indices(word).map(|(at, _)| at);
    found.filter(|at| !part_of_name(at.checked_sub(1)) && !part_of_name(Some(at + word.len()))).collect()
}

fn function(text: &str, bytes: &[u8], at: usize) -> Option<Function> {
    let rest = text.get(at + 2..)?.trim_start();
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return None; // a function pointer type
    }
    let open = body(bytes, at)?;
    let close = matching(bytes, open)?;
    let line = line_of(text, at);
    Some(Function { name, line, lines: line_of(text, close) - line + 1 })
}

/// Where the braces of the item that begins at `at` open; `None` if it ends with a semicolon first.
fn body(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

fn matching(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(offset);
        }
    }
    None
}

fn without_tests(code: &str) -> (String, Vec<String>) {
    let mark = "#[cfg(test)]";
    let (mut product, mut modules) = (code.to_owned(), Vec::new());
    for (at, _) in code.match_indices(mark) {
        let after = at + mark.len();
        let Some(open) = body(code.as_bytes(), after) else {
            let declared = code.get(after..).and_then(|rest| rest.split_once(';')).map_or("", |(item, _)| item);
            if let Some(name) = declared.split_whitespace().skip_while(|word| *word != "mod").nth(1) {
                modules.push(name.to_owned());
            }
            continue;
        };
        if let Some(close) = matching(code.as_bytes(), open) {
            product = blank(&product, at, close + 1);
        }
    }
    (product, modules)
}

fn blank(text: &str, from: usize, to: usize) -> String {
    let blanked = |(at, byte): (usize, u8)| if byte != b'\n' && (from..to).contains(&at) { b' ' } else { byte };
    String::from_utf8_lossy(&text.bytes().enumerate().map(blanked).collect::<Vec<_>>()).into_owned()
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Code,
    Line,
    Block(u32),
    Text,
    Raw(usize),
}

fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut comments) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()));
    let (mut at, mut within) = (0, Within::Code);
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let (length, next) = step(rest, within, bytes.get(at.wrapping_sub(1)).copied());
        let is_comment = matches!(within, Within::Line | Within::Block(_)) || matches!(next, Within::Line | Within::Block(_));
        let is_code = within == Within::Code && (next == Within::Code || !is_comment);
        for byte in rest.iter().take(length) {
            let keep = |keep: bool| if *byte == b'\n' || keep { *byte } else { b' ' };
            code.push(keep(is_code && !(length > 1 && rest.starts_with(b"'"))));
            comments.push(keep(is_comment));
        }
        (at, within) = (at + length.max(1), next);
    }
    (String::from_utf8_lossy(&code).into_owned(), String::from_utf8_lossy(&comments).into_owned())
}

/// How many bytes belong together here, and what comes after them.
fn step(rest: &[u8], within: Within, before: Option<u8>) -> (usize, Within) {
    match within {
        Within::Line if rest.starts_with(b"\n") => (1, Within::Code),
        Within::Block(depth) if rest.starts_with(b"*/") => (2, if depth == 1 { Within::Code } else { Within::Block(depth - 1) }),
        Within::Block(depth) if rest.starts_with(b"/*") => (2, Within::Block(depth + 1)),
        Within::Text if rest.starts_with(b"\\") => (rest.len().min(2), within),
        Within::Text if rest.starts_with(b"\"") => (1, Within::Code),
        Within::Raw(hashes) if rest.starts_with(b"\"") && hashes_at(rest, 1) >= hashes => (1 + hashes, Within::Code),
        Within::Code if rest.starts_with(b"//") => (2, Within::Line),
        Within::Code if rest.starts_with(b"/*") => (2, Within::Block(1)),
        Within::Code if rest.starts_with(b"\"") => (1, Within::Text),
        Within::Code if rest.starts_with(b"r") && starts_raw(rest, before) => {
            let hashes = hashes_at(rest, 1);
            (2 + hashes, Within::Raw(hashes))
        }
        Within::Code if rest.starts_with(b"'") => (character(rest), Within::Code),
        other => (1, other),
    }
}

fn hashes_at(rest: &[u8], from: usize) -> usize {
    rest.iter().skip(from).take_while(|byte| **byte == b'#').count()
}

fn starts_raw(rest: &[u8], before: Option<u8>) -> bool {
    let in_name = before.is_some_and(|byte| (byte.is_ascii_alphanumeric() && byte != b'b') || byte == b'_');
    !in_name && rest.get(1 + hashes_at(rest, 1)) == Some(&b'"')
}

/// The length of a character literal; 1 if the quote begins a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(1, |at| at + 4);
    }
    let text = rest.get(1..rest.len().min(6)).unwrap_or_default();
    match text.iter().position(|byte| *byte == b'\'') {
        Some(at) if at >= 1 && (at == 1 || text.first().is_some_and(|byte| *byte >= 0x80)) => at + 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{Function, Source, words};

    #[test]
    fn literals_and_comments_are_not_code() {
        let text = "let a = \"} // x\"; // {\nlet b = '{'; let c: &'a str = r#\"fn } \"x\"#; /* { /* */ } */ let d = b'\\'';\nlet e = 'ä';\n";
        let source = Source::read(text);
        assert!(!source.code.contains(['{', '}']), "{}", source.code);
        assert!(
            source.code.contains("let d = ") && source.code.contains("&'a str") && source.code.contains("let e"),
            "{}",
            source.code
        );
        assert!(source.comments.contains("// {") && !source.comments.contains("let"), "{}", source.comments);
        assert_eq!((source.code.lines().count(), source.comments.lines().count()), (3, 3));
    }

    #[test]
    fn functions_are_measured_over_their_braces() {
        let text = "trait T { fn a(&self); }\nfn b<F: Fn(u8) -> u8>(f: F)\nwhere\n    F: Copy,\n{\n    if x { \"}\" }\n}\ntype P = fn(u8);\n";
        let found = Source::read(text).functions();
        assert_eq!(found, [Function { name: "b".into(), line: 2, lines: 6 }]);
    }

    #[test]
    fn test_items_are_no_product() {
        let text =
            "fn a() { env(); }\n#[cfg(test)]\nmod tests {\n    fn b() { env(); }\n}\n#[cfg(test)]\nmod testing;\nfn c() {}\n";
        let source = Source::read(text);
        assert_eq!(words(&source.product, "env").len(), 1);
        assert!(source.product.contains("fn c"));
        assert_eq!(source.test_modules, ["testing"]);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("env my_env env!( envs", "env"), [0, 11]);
    }
}
