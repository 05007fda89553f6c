//! The one place that writes to the terminal.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;

use crate::environment::Environment;

/// How wide reports are.
const WIDTH: usize = 100;

/// Standard output and standard error, for people or for scripts. Whoever reads may go away: that writing fails is no
/// error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    colour: bool,
}

#[expect(clippy::unused_self, reason = "only who was handed the output writes to it")]
impl Output {
    /// Colours only on a terminal, and not with `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(json: bool, environment: &Environment) -> Self {
        Self { json, colour: environment.get("NO_COLOR").is_none() && io::stderr().is_terminal() }
    }

    /// Whether whoever reads standard output is a person.
    pub(crate) fn is_for_people(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    pub(crate) fn colours(self) -> bool {
        self.colour
    }

    /// Whether what goes to standard output may have colours.
    pub(crate) fn colours_of_stdout(self) -> bool {
        self.colour && self.is_for_people()
    }

    /// A line on standard output.
    pub(crate) fn line(self, text: &str) {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    /// Text on standard output, at once and as it is.
    pub(crate) fn piece(self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A line on standard error.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A line on standard error that is of use only while somebody waits: on a terminal.
    pub(crate) fn progress(self, text: &str) {
        if io::stderr().is_terminal() {
            self.note(text);
        }
    }

    /// A value as JSON on standard output: on one line for scripts, spread out for people.
    pub(crate) fn value(self, value: &impl Serialize) {
        let text =
            if self.is_for_people() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(&text.unwrap_or_default());
    }

    /// A fault or an error, with its place if it has one, on standard error.
    pub(crate) fn report(self, diagnostic: &dyn Diagnostic) {
        let theme = if self.colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(self.colour);
        let mut text = String::new();
        if handler.render_report(&mut text, diagnostic).is_err() {
            text = diagnostic.to_string();
        }
        self.note(text.trim_end());
    }

    /// Rows under headings, in columns as wide as they must be.
    pub(crate) fn table(self, headings: &[&str], rows: &[Vec<String>]) {
        self.piece(&table(headings, rows));
    }
}

fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&headings).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["a".to_owned(), "größer".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(super::table(&["ID", "NAME"], &rows), "ID      NAME\na       größer\nlonger\n");
    }
}
