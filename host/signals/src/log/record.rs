//! One thing that was said.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::Redactor;

/// The longest message that is kept, in bytes.
const MAX_MESSAGE: usize = 8 << 10;
/// The longest value of a field that is kept, in bytes.
const MAX_VALUE: usize = 2 << 10;
/// Text beyond this is not even searched for secrets, and never shown. A secret has 64 KiB at the most: one that begins in
/// what is kept is seen as a whole.
const MAX_LOOKED_AT: usize = MAX_MESSAGE + (64 << 10);
/// Fields of one record that are kept.
const MAX_FIELDS: usize = 32;

/// How much a record matters, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warn,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// The word used in JSON and in queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A level that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a level is `trace`, `debug`, `info`, `warn` or `error`")]
pub struct LevelError;

impl FromStr for LogLevel {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let all = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];
        all.into_iter().find(|level| level.as_str() == text).ok_or(LevelError)
    }
}

impl From<tracing::Level> for LogLevel {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Error,
        }
    }
}

/// What a record is about, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogContext {
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The operation in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// The trace: 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl LogContext {
    pub(crate) fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Takes what is not known here from `outer`.
    pub(crate) fn complete(&mut self, outer: &Self) {
        let take = |mine: &mut Option<String>, theirs: &Option<String>| {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        };
        take(&mut self.app, &outer.app);
        take(&mut self.operation, &outer.operation);
        take(&mut self.execution, &outer.execution);
        take(&mut self.trace_id, &outer.trace_id);
    }

    pub(crate) fn knows(name: &str) -> bool {
        let name = name.strip_prefix("nexus.").unwrap_or(name);
        matches!(name, "app" | "operation" | "execution" | "trace_id")
    }

    /// Takes a field whose name says that it belongs here; says whether it did. `operation` may be `app/operation`.
    pub(crate) fn take(&mut self, name: &str, value: &str) -> bool {
        match name.strip_prefix("nexus.").unwrap_or(name) {
            "app" => self.app = Some(value.to_owned()),
            "operation" => match value.split_once('/') {
                Some((app, operation)) => {
                    self.app = Some(app.to_owned());
                    self.operation = Some(operation.to_owned());
                }
                None => self.operation = Some(value.to_owned()),
            },
            "execution" => self.execution = Some(value.to_owned()),
            "trace_id" => self.trace_id = Some(value.to_owned()),
            _ => return false,
        }
        true
    }
}

/// One thing that was said, without secrets and of bounded size. Text in it may hold anything else, control characters
/// included: whoever shows it escapes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Numbers the records of one log without gaps; 0 before it is written down.
    pub id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// How much it matters.
    pub level: LogLevel,
    /// Which part of the program said it; `nexus::guest` for what a component wrote.
    pub target: String,
    /// What was said.
    pub message: String,
    /// What it is about.
    #[serde(flatten)]
    pub context: LogContext,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

impl LogRecord {
    /// A record that is said now, and says nothing yet.
    pub fn now(level: LogLevel, target: impl Into<String>) -> Self {
        Self {
            id: 0,
            time: OffsetDateTime::now_utc(),
            level,
            target: target.into(),
            message: String::new(),
            context: LogContext::default(),
            fields: BTreeMap::new(),
        }
    }

    /// Masks secrets and cuts what is too long.
    #[must_use]
    pub fn cleaned(mut self, redactor: &Redactor) -> Self {
        self.message = clean(&self.message, MAX_MESSAGE, redactor);
        let context = &mut self.context;
        let known = [&mut context.app, &mut context.operation, &mut context.execution, &mut context.trace_id];
        for text in known.into_iter().flatten() {
            *text = clean(text, 128, redactor);
        }
        let fields = std::mem::take(&mut self.fields).into_iter().take(MAX_FIELDS);
        self.fields = fields
            .map(|(name, value)| {
                let value = match value {
                    _ if Redactor::names_a_secret(&name) => Redactor::MASK.into(),
                    Value::String(text) => clean(&text, MAX_VALUE, redactor).into(),
                    other => other,
                };
                (name, value)
            })
            .collect();
        self
    }
}

/// Secrets first and the cut last, so that no half of a secret is left.
fn clean(text: &str, limit: usize, redactor: &Redactor) -> String {
    let redacted = redactor.redact(cut(text, MAX_LOOKED_AT));
    let kept = cut(&redacted, limit);
    if kept.len() < redacted.len() || text.len() > MAX_LOOKED_AT { format!("{kept}…") } else { kept.to_owned() }
}

/// At most `limit` bytes, whole characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::{LogContext, LogLevel, LogRecord, MAX_MESSAGE};
    use crate::Redactor;

    #[test]
    fn what_is_too_long_is_cut_and_no_half_of_a_secret_is_left() {
        let mut record = LogRecord::now(LogLevel::Info, "t");
        record.message = format!("{}nxs_secretsecret tail", "ü".repeat(MAX_MESSAGE / 2 - 5));
        record.fields.insert("api_key".to_owned(), "plain".into());
        record.fields.insert("input_tokens".to_owned(), 12.into());
        let record = record.cleaned(&Redactor::default());
        assert!(record.message.len() <= MAX_MESSAGE + 3 && record.message.ends_with('…'));
        assert!(!record.message.contains("secret"), "{}", &record.message[MAX_MESSAGE - 40..]);
        assert_eq!((&record.fields["api_key"], &record.fields["input_tokens"]), (&"***".into(), &12.into()));
    }

    #[test]
    fn an_operation_with_its_application_is_both() {
        let mut context = LogContext::default();
        assert!(context.take("operation", "order-desk/parse-date") && !context.take("other", "x"));
        assert_eq!((context.app.as_deref(), context.operation.as_deref()), (Some("order-desk"), Some("parse-date")));
    }

    #[test]
    fn levels_are_ordered_and_read_as_they_are_written() {
        assert!(LogLevel::Debug < LogLevel::Info && LogLevel::Warn < LogLevel::Error);
        assert_eq!("warn".parse(), Ok(LogLevel::Warn));
        assert!("WARN".parse::<LogLevel>().is_err());
    }
}
