//! Everything found wrong in a configuration: all of it, not the first.

use crate::{FileId, Node, PolicySchema, Position, nearest};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration does not load.
    Error,
    /// It loads, but the operator should know.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub position: Position,
    /// How many characters to underline there.
    pub width: u32,
    /// The same place as a JSON pointer (RFC 6901).
    pub path: String,
    /// What is wrong: lower case, no full stop, input in backticks.
    pub what: String,
    /// What to do next.
    pub help: Option<String>,
    /// Whether the source line must not be shown, because a secret may stand in it.
    pub hide_source: bool,
}

/// How many findings are kept; further ones are only counted.
const KEPT_MAX: usize = 200;

/// Collects findings while a configuration is decoded and checked, and knows what decoding needs to know: the policies that exist and
/// the keys that a later version will have.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
    errors: usize,
    omitted: usize,
    /// Lines that no finding shows, because a secret may stand there.
    secret_lines: BTreeSet<(FileId, u32)>,
    policies: Arc<[PolicySchema]>,
    later: &'static [&'static str],
    folder: PathBuf,
}

impl Diagnostics {
    /// No findings yet. `later` lists paths of keys that are designed but not enforced by this version, such as
    /// `/listeners/*/proxy_protocol`; `*` stands for any one name or index, a last `**` for whatever follows.
    #[must_use]
    pub fn new(policies: Arc<[PolicySchema]>, later: &'static [&'static str]) -> Self {
        Self { policies, later, ..Self::default() }
    }

    /// The same for a configuration in a folder: where its relative paths start.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Where relative paths of the configuration start.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The policies that exist.
    #[must_use]
    pub fn policies(&self) -> Arc<[PolicySchema]> {
        Arc::clone(&self.policies)
    }

    /// Adds a finding. Where one of a line must not show it, none of that line does, in whatever order they are found.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        let line = line_of(&diagnostic);
        if diagnostic.hide_source {
            self.hide_line(line);
        }
        diagnostic.hide_source = self.secret_lines.contains(&line);
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.found.len() < KEPT_MAX {
            self.found.push(diagnostic);
        } else {
            self.omitted += 1;
        }
    }

    fn hide_line(&mut self, line: (FileId, u32)) {
        if self.secret_lines.insert(line) {
            self.found.iter_mut().filter(|known| line_of(known) == line).for_each(|known| known.hide_source = true);
        }
    }

    fn at(&mut self, severity: Severity, node: &Node<'_>, what: String, help: Option<String>) {
        // The path costs a descent, which is not worth making for a finding that will not be kept.
        let path = if self.found.len() < KEPT_MAX { node.path() } else { String::new() };
        let (position, width) = (node.position(), node.width());
        self.push(Diagnostic { severity, position, width, path, what, help, hide_source: false });
    }

    /// An error at a value.
    pub fn error(&mut self, node: &Node<'_>, what: impl Into<String>) {
        self.at(Severity::Error, node, what.into(), None);
    }

    /// An error at a value, and what to do about it.
    pub fn error_with_help(&mut self, node: &Node<'_>, what: impl Into<String>, help: impl Into<String>) {
        self.at(Severity::Error, node, what.into(), Some(help.into()));
    }

    /// An error at a value that may be a secret: neither it nor its line is shown.
    pub fn error_at_secret(&mut self, node: &Node<'_>, what: impl Into<String>, help: impl Into<String>) {
        let (position, path) = (node.position(), node.path());
        let (what, help) = (what.into(), Some(help.into()));
        self.push(Diagnostic { severity: Severity::Error, position, width: 1, path, what, help, hide_source: true });
    }

    /// A warning at a value, and what to do about it.
    pub fn warning(&mut self, node: &Node<'_>, what: impl Into<String>, help: impl Into<String>) {
        self.at(Severity::Warning, node, what.into(), Some(help.into()));
    }

    /// A value of the wrong kind: `expected` says what belongs here, for example "a duration such as `10s`".
    pub fn wrong(&mut self, node: &Node<'_>, expected: &str) {
        let found = match (node.written(), node.as_str()) {
            (_, Some("")) => "an empty text".to_owned(),
            (Some("") | None, _) => node.describe().to_owned(),
            (Some(text), _) => quoted(text),
        };
        self.error(node, format!("expected {expected}, found {found}"));
    }

    /// A key that does not exist: says so, or that it will in a later version, with the nearest of the `known` names.
    pub fn unknown_key<'a>(&mut self, key: &Node<'_>, known: impl IntoIterator<Item = &'a str>) {
        let name = quoted(key.key());
        if self.is_for_later(&key.path()) {
            let help = "remove it; nothing that is written here is ignored silently";
            return self.error_with_help(key, format!("{name} is not available in this version"), help);
        }
        let known: Vec<&str> = known.into_iter().collect();
        let help = match nearest(key.key(), known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`"),
            None if known.is_empty() => "remove it; nothing can be written here".to_owned(),
            None => format!("what can be written here: {}", listed(&known)),
        };
        self.error_with_help(key, format!("unknown key {name}"), help);
    }

    fn is_for_later(&self, path: &str) -> bool {
        self.later.iter().any(|pattern| path_matches(pattern, path))
    }

    /// Whether there is any error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there are, also those not kept.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many findings were only counted.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// What was found, in the order it was found.
    #[must_use]
    pub fn found(&self) -> &[Diagnostic] {
        &self.found
    }

    /// Takes over the findings of another collection.
    pub fn extend(&mut self, other: &Diagnostics) {
        self.omitted += other.omitted;
        self.errors += other.errors - other.found.iter().filter(|d| d.severity == Severity::Error).count();
        other.secret_lines.iter().for_each(|line| self.hide_line(*line));
        for diagnostic in &other.found {
            self.push(diagnostic.clone());
        }
    }
}

fn line_of(diagnostic: &Diagnostic) -> (FileId, u32) {
    (diagnostic.position.file, diagnostic.position.line)
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let mut wanted = pattern.split('/');
    let mut there = path.split('/');
    loop {
        match (wanted.next(), there.next()) {
            (Some("**"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Input in backticks: shortened to 80 characters, with control characters escaped so that it cannot play tricks on a terminal.
#[must_use]
pub fn quoted(input: &str) -> String {
    let mut out = String::from("`");
    for c in input.chars().take(80) {
        if is_deceptive(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    if input.chars().nth(80).is_some() {
        out.push('…');
    }
    out.push('`');
    out
}

/// Whether a character would control a terminal, or reorder or hide text on it (CVE-2021-42574).
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Names in backticks, separated by commas; at most 24 of them.
#[must_use]
pub fn listed(names: &[&str]) -> String {
    let mut out = names.iter().take(24).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 24 {
        out.push_str(", …");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{path_matches, quoted};

    #[test]
    fn patterns_cover_exactly_what_they_say() {
        assert!(path_matches("/listeners/*/proxy_protocol", "/listeners/public/proxy_protocol"));
        assert!(!path_matches("/listeners/*/proxy_protocol", "/listeners/public/proxy_protocol/from"));
        assert!(!path_matches("/listeners/*/proxy_protocol", "/listeners/public"));
        assert!(path_matches("/identity/**", "/identity/providers/corp"));
        assert!(!path_matches("/identity/**", "/identity"));
        assert!(path_matches("/identity", "/identity"));
    }

    #[test]
    fn quoted_input_cannot_play_tricks() {
        assert_eq!(quoted("a\u{1b}[2Jb\n"), "`a\\u{1b}[2Jb\\u{a}`");
        assert_eq!(quoted("\u{202e}txt"), "`\\u{202e}txt`");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), 83);
    }
}
