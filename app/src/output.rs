//! What people read: text with a little colour in a terminal, JSON for programs.

use crate::cli::Format;
use portcullis_model_settings::sorted;
use std::io::{self, IsTerminal, Write};

/// Writes results.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    colour: bool,
}

/// A colour of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It went well.
    Green,
    /// It was refused or failed.
    Red,
    /// Worth a look.
    Yellow,
    /// Of less weight.
    Dim,
    /// Of more weight.
    Bold,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

impl Output {
    /// Decides by the flag, the terminal, and `NO_COLOR`.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal();
        let json = match format {
            Format::Json => true,
            Format::Text => false,
            Format::Auto => !terminal,
        };
        #[expect(clippy::disallowed_methods, reason = "app alone reads the environment")]
        let plain = std::env::var_os("NO_COLOR").is_some();
        Self { json, colour: terminal && !plain }
    }

    /// Whether programs read.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether colours may be used.
    #[must_use]
    pub fn has_colour(self) -> bool {
        self.colour
    }

    /// Text in a colour, where there are colours.
    #[must_use]
    pub fn paint(self, colour: Colour, text: &str) -> String {
        if self.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code()) } else { text.to_owned() }
    }

    /// Prints a line. A reader that has gone away (a closed pipe) is no fault.
    pub fn line(self, text: &str) {
        let mut out = io::stdout().lock();
        let _reader_gone = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Prints a value as JSON, keys in order.
    pub fn json(self, value: &impl serde::Serialize) {
        match serde_json::to_value(value).and_then(|value| serde_json::to_string_pretty(&sorted(value))) {
            Ok(text) => self.line(&text),
            Err(error) => self.complain(&format!("the result could not be written as JSON: {error}")),
        }
    }

    /// Prints a table: a row of headings, then rows.
    pub fn table(self, headings: &[&str], rows: &[Vec<String>]) {
        let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let render = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
            padded.join("  ").trim_end().to_owned()
        };
        self.line(&self.paint(Colour::Bold, &render(&mut headings.iter().copied())));
        for row in rows {
            self.line(&render(&mut row.iter().map(String::as_str)));
        }
    }

    /// Says something beside the result to people; programs find it missing in the result.
    pub fn note(self, text: &str) {
        if !self.json {
            self.complain(text);
        }
    }

    /// Says what went wrong, where errors are read.
    pub fn complain(self, text: &str) {
        let mut err = io::stderr().lock();
        let _reader_gone = writeln!(err, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Colour, Output};

    #[test]
    fn without_a_terminal_there_are_no_escapes() {
        let plain = Output { json: false, colour: false };
        assert_eq!(plain.paint(Colour::Red, "refused"), "refused");
        assert!(Output { json: false, colour: true }.paint(Colour::Red, "refused").contains("\u{1b}[31m"));
    }
}
