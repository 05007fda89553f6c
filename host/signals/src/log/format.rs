//! A record as one line.

use std::fmt::Write as _;

use serde_json::Value;
use time::{format_description::BorrowedFormatItem, macros::format_description};

use super::record::{LogLevel, LogRecord};
use crate::{LogFormat, escape_controls};

/// To the millisecond, in UTC.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl LogRecord {
    /// The record as one line, its end included. Nothing in it can begin another line or move a terminal's cursor, and
    /// in the form for people what others said stands behind everything that the host says about it.
    pub fn line(&self, format: LogFormat, colour: bool) -> String {
        match format {
            LogFormat::Human => self.human(colour),
            LogFormat::Json => {
                let text = serde_json::to_string(self).unwrap_or_default();
                format!("{}\n", escape_controls(&text, false))
            }
        }
    }

    fn human(&self, colour: bool) -> String {
        let mut line = self.time.to_offset(time::UtcOffset::UTC).format(TIME).unwrap_or_default();
        let level = self.level.as_str().to_uppercase();
        // Writing to a String does not fail.
        let _ = if colour {
            write!(line, " \u{1b}[{}m{level:>5}\u{1b}[0m {}", self.level.colour(), plain(&self.target))
        } else {
            write!(line, " {level:>5} {}", plain(&self.target))
        };
        let context = &self.context;
        let about = [("app", &context.app), ("operation", &context.operation), ("execution", &context.execution)];
        for (name, value) in about.into_iter().chain([("trace", &context.trace_id)]) {
            if let Some(value) = value {
                let _ = write!(line, " {name}={}", word(value));
            }
        }
        let _ = write!(line, ": {}", escape_controls(&self.message, false));
        for (name, value) in &self.fields {
            let value = match value {
                Value::String(text) => word(text),
                other => other.to_string(),
            };
            let _ = write!(line, " {}={value}", plain(name));
        }
        // A message that ends with a line end would keep it.
        line = line.replace('\n', "\\n");
        line.push('\n');
        line
    }
}

impl LogLevel {
    fn colour(self) -> u8 {
        match self {
            Self::Trace => 35,
            Self::Debug => 34,
            Self::Info => 32,
            Self::Warn => 33,
            Self::Error => 31,
        }
    }
}

fn plain(text: &str) -> String {
    escape_controls(text, false).replace(' ', "_")
}

/// As it is if it cannot be mistaken for more than one word, quoted otherwise.
fn word(text: &str) -> String {
    let simple = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '*');
    if !text.is_empty() && text.chars().all(simple) {
        text.to_owned()
    } else {
        escape_controls(&Value::from(text).to_string(), false).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::{LogLevel, LogRecord};
    use crate::LogFormat;

    fn record(text: &str) -> LogRecord {
        let mut record = LogRecord::now(LogLevel::Info, format!("t{text}"));
        record.message = text.to_owned();
        record.context.app = Some(text.to_owned());
        record.fields.insert(format!("f{text}"), text.into());
        record
    }

    #[test]
    fn a_line_for_people_tells_what_it_is_about_first() {
        let mut record = record("order desk");
        record.context.app = Some("order-desk".to_owned());
        record.time = time::macros::datetime!(2026-01-02 03:04:05.678 UTC);
        let line = record.line(LogFormat::Human, false);
        assert_eq!(
            line,
            "2026-01-02T03:04:05.678Z  INFO torder_desk app=order-desk: order desk forder_desk=\"order desk\"\n"
        );
        assert!(record.line(LogFormat::Human, true).contains("\u{1b}[32m INFO\u{1b}[0m"));
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_line(text in "(.|\n|\r|\u{1b}|\u{2028}|\u{202e})*") {
            let record = record(&text);
            for format in [LogFormat::Human, LogFormat::Json] {
                let line = record.line(format, false);
                let body = line.strip_suffix('\n').unwrap();
                prop_assert!(!body.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{body:?}");
                if format == LogFormat::Json {
                    prop_assert_eq!(&serde_json::from_str::<LogRecord>(body).unwrap(), &record);
                }
            }
        }
    }
}
