//! Text -> tree: the part of YAML that cannot surprise anybody.
//!
//! Refused: anchors, aliases, tags, merge keys, several documents, keys that are not plain names, duplicate keys, tabs as indentation,
//! control characters. Bounded: bytes, values, depth.

use portcullis_model_settings::{Diagnostic, Diagnostics, FileId, Node, Position, Severity, Tree, TreeBuilder, TreeFull, quoted};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashSet;
use std::sync::Arc;

/// How deep values may be nested.
const DEPTH_MAX: usize = 32;

/// Reads one file. Nothing when it could not be read, and then the reason is among the findings.
pub(crate) fn read(file: FileId, bytes: &[u8], values_max: usize, diagnostics: &mut Diagnostics) -> Option<Arc<Tree>> {
    let mut reader =
        Reader { file, builder: TreeBuilder::new(file, values_max, DEPTH_MAX), open: Vec::new(), diagnostics, values_max };
    let text = reader.text(bytes)?;
    let before = reader.diagnostics.errors();
    reader.events(text);
    if reader.diagnostics.errors() > before {
        return None;
    }
    let Some(tree) = reader.builder.finish() else {
        error(diagnostics, file, (1, 1), "the file is empty", "write the configuration, or remove the file");
        return None;
    };
    let root = tree.root();
    if root.entries().is_none() {
        diagnostics.wrong(&root, "a section (`key: value` lines)");
        return None;
    }
    refuse_duplicates(&root, diagnostics);
    Some(tree)
}

fn error(diagnostics: &mut Diagnostics, file: FileId, (line, column): (u32, u32), what: impl Into<String>, help: &str) {
    diagnostics.push(Diagnostic {
        severity: Severity::Error,
        position: Position { file, line, column },
        width: 1,
        path: String::new(),
        what: what.into(),
        help: Some(help.to_owned()),
        hide_source: false,
    });
}

/// What is open while events come in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    List,
    /// A map; whether a key comes next.
    Map {
        key_next: bool,
    },
}

struct Reader<'d> {
    file: FileId,
    builder: TreeBuilder,
    open: Vec<Open>,
    diagnostics: &'d mut Diagnostics,
    values_max: usize,
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn at(marker: &Marker) -> (u32, u32) {
    (narrow(marker.line()), narrow(marker.col()).saturating_add(1))
}

impl Reader<'_> {
    fn error(&mut self, place: (u32, u32), what: impl Into<String>, help: &str) {
        error(self.diagnostics, self.file, place, what, help);
    }

    /// The bytes as text without what YAML would not show: checks once, before the parser sees anything.
    fn text<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b str> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(wrong) => {
                let before = bytes.get(..wrong.valid_up_to()).unwrap_or_default();
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
                self.error((narrow(line), narrow(column)), "the file is not UTF-8", "save it as UTF-8");
                return None;
            }
        };
        let (mut line, mut column, mut in_indent) = (1_u32, 0_u32, true);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            column = column.saturating_add(1);
            match c {
                '\n' => (line, column, in_indent) = (line.saturating_add(1), 0, true),
                ' ' => {}
                '\t' if in_indent => {
                    self.error((line, column), "a tab cannot indent", "use spaces");
                    return None;
                }
                '\r' if chars.peek() == Some(&'\n') => {}
                '\u{feff}' => {
                    self.error(
                        (line, column),
                        "a byte order mark does not belong here",
                        "save the file as UTF-8 without byte order mark",
                    );
                    return None;
                }
                c if c.is_control() && c != '\t' => {
                    let what = format!("the control character `{}` does not belong here", c.escape_unicode());
                    self.error((line, column), what, "remove it; the file may be damaged");
                    return None;
                }
                _ => in_indent = false,
            }
        }
        Some(text)
    }

    fn events(&mut self, text: &str) {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let went_on = match event {
                Ok((Event::DocumentStart(_), span)) => {
                    documents += 1;
                    documents == 1 || self.refuse(&span, "a second document begins here", "put it into a file of its own")
                }
                Ok((event, span)) => self.event(event, &span),
                Err(wrong) => {
                    self.scan_error(&wrong, text);
                    false
                }
            };
            if !went_on {
                return;
            }
        }
    }

    /// Reports and says to stop.
    fn refuse(&mut self, span: &Span, what: impl Into<String>, help: &str) -> bool {
        self.error(at(&span.start), what, help);
        false
    }

    /// Takes one event; whether to go on.
    fn event(&mut self, event: Event<'_>, span: &Span) -> bool {
        let (anchored, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::Alias(_) => (true, false),
            _ => (false, false),
        };
        if anchored {
            return self.refuse(span, NO_ANCHORS, QUOTE_STAR);
        }
        if tagged {
            return self.refuse(span, "tags (`!name`) are not taken", "remove it; put text that begins with `!` in quotes");
        }
        let (line, column) = at(&span.start);
        let added = match event {
            Event::Scalar(text, style, ..) => {
                let is_key = self.next_is_key();
                if !self.scalar_is_right(&text, style, is_key, span) {
                    return false;
                }
                self.builder.scalar(&text, style == ScalarStyle::Plain, line, column)
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if self.next_is_key() => {
                return self.refuse(span, "a key must be a plain name", "write `name: value`; put a text with braces in quotes");
            }
            Event::SequenceStart(..) => {
                self.open.push(Open::List);
                self.builder.begin_list(line, column)
            }
            Event::MappingStart(..) => {
                self.open.push(Open::Map { key_next: true });
                self.builder.begin_map(line, column)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                self.builder.end();
                Ok(())
            }
            _ => Ok(()),
        };
        match added {
            Ok(()) => true,
            Err(full) => self.refuse_full(full, span),
        }
    }

    /// Whether the value that begins now is a key; turns from key to value and back.
    fn next_is_key(&mut self) -> bool {
        match self.open.last_mut() {
            Some(Open::Map { key_next }) => std::mem::replace(key_next, !*key_next),
            _ => false,
        }
    }

    fn scalar_is_right(&mut self, text: &str, style: ScalarStyle, is_key: bool, span: &Span) -> bool {
        let is_plain = style == ScalarStyle::Plain;
        if is_plain && span.end.line() > span.start.line() {
            let help = "put a text of several lines in quotes; perhaps a `-` or a `:` is missing";
            return self.refuse(span, "a text without quotes ends with its line", help);
        }
        if is_key && is_plain && text == "<<" {
            return self.refuse(span, "merge keys (`<<`) are not taken", "write the values out where they are used");
        }
        if is_key && (text.is_empty() || text.len() > 256 || text.chars().any(char::is_control)) {
            return self.refuse(span, "a key must be a plain name", "write `name: value`");
        }
        true
    }

    fn refuse_full(&mut self, full: TreeFull, span: &Span) -> bool {
        let what = match full {
            TreeFull::Depth => format!("values are nested deeper than {DEPTH_MAX} levels"),
            TreeFull::Nodes => format!("there are more than {} values", self.values_max),
            TreeFull::Text => "there are more than 4 GiB of text".to_owned(),
        };
        self.refuse(span, what, "no configuration is meant to be so large; the file may be damaged or generated wrongly")
    }

    fn scan_error(&mut self, wrong: &ScanError, text: &str) {
        let info = wrong.info().to_ascii_lowercase();
        let place = at(wrong.marker());
        if info.contains("anchor") || info.contains("alias") {
            return self.error(place, NO_ANCHORS, QUOTE_STAR);
        }
        let at_end = wrong.marker().line() >= text.lines().count();
        let help = if info.contains("tab") {
            "use spaces"
        } else if at_end || info.contains("flow") || info.contains("end of") || info.contains("eof") || info.contains("stream") {
            "close every `[`, `{` and quote; the file may be cut off"
        } else if info.contains("indent") || info.contains("block") || info.contains("mapping") || info.contains("simple key") {
            "check the indentation and the `:` and `-` of this line and the one above"
        } else {
            "check this line and the one above"
        };
        self.error(place, format!("this is not YAML: {}", info.trim_end_matches('.')), help);
    }
}

const NO_ANCHORS: &str = "anchors and aliases (`&name`, `*name`) are not taken";
const QUOTE_STAR: &str = "put text that begins with `*` or `&` in quotes, such as \"*.example.com\"; write repeated values out";

/// Reports keys that occur twice in one map: the second would silently replace the first.
fn refuse_duplicates(node: &Node<'_>, diagnostics: &mut Diagnostics) {
    if let Some(items) = node.items() {
        items.for_each(|item| refuse_duplicates(&item, diagnostics));
    }
    let Some(entries) = node.entries() else { return };
    let mut few: Vec<&str> = Vec::new();
    let mut many: HashSet<&str> = HashSet::new();
    for (key, value) in entries {
        let name = key.key();
        let is_new = if few.len() < 16 {
            let is_new = !few.contains(&name);
            few.push(name);
            is_new
        } else {
            !few.contains(&name) && many.insert(name)
        };
        if !is_new {
            diagnostics.error_with_help(&key, format!("the key {} occurs twice", quoted(name)), "keep one of the two");
        }
        refuse_duplicates(&value, diagnostics);
    }
}
