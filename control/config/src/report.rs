//! What was found wrong, for people and for programs.

use portcullis_model_settings::{Severity, Value, is_deceptive};
use serde_json::json;
use std::fmt::{self, Write};
use std::sync::Arc;

/// One finding with its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: Arc<str>,
    /// The line from 1; 0 when it is about the whole file.
    pub line: u32,
    /// The column in characters from 1.
    pub column: u32,
    /// How many characters it is about.
    pub width: u32,
    /// The place as a JSON pointer; empty for the top or when there is none.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do next.
    pub help: Option<String>,
    /// The line of the file, unless a secret may stand in it.
    pub source: Option<String>,
}

/// Where a route is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePlace {
    /// The file.
    pub file: Arc<str>,
    /// The line of its name from 1; 0 when it is not known.
    pub line: u32,
    /// The column in characters from 1.
    pub column: u32,
    /// How many characters its name has.
    pub width: u32,
    /// The place as a JSON pointer.
    pub path: String,
    /// Where each line of its `allow` is written: line and column.
    pub allow_lines: Vec<(u32, u32)>,
}

impl fmt::Display for RoutePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Everything that was found, sorted by file, line and column. A configuration with a report that has errors does not load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub omitted: usize,
}

/// How many characters of a source line are shown.
const SHOWN_MAX: usize = 120;

struct Paint {
    error: &'static str,
    warning: &'static str,
    dim: &'static str,
    off: &'static str,
}

const PLAIN: Paint = Paint { error: "", warning: "", dim: "", off: "" };
const COLOUR: Paint = Paint { error: "\u{1b}[1;31m", warning: "\u{1b}[1;33m", dim: "\u{1b}[34m", off: "\u{1b}[0m" };

impl Report {
    /// How many errors there are among the findings kept.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// For people: each finding with its place, its source line and what to do. `colour` is for terminals.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            // INVARIANT: writing to a String does not fail.
            finding.render(&mut out, if colour { &COLOUR } else { &PLAIN }).unwrap_or_default();
        }
        if self.omitted > 0 {
            out.push_str(&format!("{} more, not shown\n", self.omitted));
        }
        out
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(), "omitted": self.omitted })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

impl Finding {
    /// In one line, for a log.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let place = if self.line == 0 { String::new() } else { format!("{}:{}:{}: ", self.file, self.line, self.column) };
        let help = self.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
        format!("{place}{}{help}", self.what)
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.word(),
            "file": *self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "what": self.what,
            "help": self.help,
        })
    }

    fn word(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }

    fn render(&self, out: &mut String, paint: &Paint) -> fmt::Result {
        let strong = if self.severity == Severity::Error { paint.error } else { paint.warning };
        let (dim, off) = (paint.dim, paint.off);
        writeln!(out, "{strong}{}{off}: {}", self.word(), self.what)?;
        if self.line == 0 {
            writeln!(out, "  {dim}-->{off} {}", self.file)?;
        } else {
            writeln!(out, "  {dim}-->{off} {}:{}:{}", self.file, self.line, self.column)?;
        }
        if let Some(source) = &self.source {
            let number = self.line.to_string();
            let (shown, skipped) = self.shown(source);
            let indent = " ".repeat(skipped);
            let carets = "^".repeat(self.carets(&shown, skipped));
            writeln!(out, "{dim}{number} |{off} {shown}")?;
            writeln!(out, "{dim}{:width$} |{off} {indent}{strong}{carets}{off}", "", width = number.len())?;
        }
        if !self.path.is_empty() {
            writeln!(out, "  at: {}", portcullis_model_settings::quoted(&self.path).trim_matches('`'))?;
        }
        if let Some(help) = &self.help {
            writeln!(out, "  help: {help}")?;
        }
        writeln!(out)
    }

    /// The part of the line around the place, without characters that play tricks, and how far the place is into it.
    fn shown(&self, source: &str) -> (String, usize) {
        let column = (self.column as usize).saturating_sub(1);
        let start = if column < SHOWN_MAX * 3 / 4 { 0 } else { column - SHOWN_MAX / 2 };
        let clean = |c: char| match c {
            '\t' => ' ',
            c if is_deceptive(c) => '\u{fffd}',
            c => c,
        };
        let shown: String = source.chars().skip(start).take(SHOWN_MAX).map(clean).collect();
        (shown.trim_end().to_owned(), column - start)
    }

    fn carets(&self, shown: &str, skipped: usize) -> usize {
        let left = shown.chars().count().saturating_sub(skipped);
        (self.width as usize).min(left).max(1)
    }
}
