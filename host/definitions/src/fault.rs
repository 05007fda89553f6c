//! What is wrong, and where.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::limits;

/// What kind of fault it is, as a word that stays the same between versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// The file is not YAML.
    YamlSyntax,
    /// The file is not JSON.
    JsonSyntax,
    /// The file is not UTF-8.
    NotUtf8,
    /// The file holds nothing.
    EmptyFile,
    /// The file is larger, deeper or fuller than [`crate::limits`] allows.
    TooLarge,
    /// A key occurs twice in one mapping.
    DuplicateKey,
    /// A field that the format does not have.
    UnknownField,
    /// A field that the format asks for.
    MissingField,
    /// A value of another type.
    WrongType,
    /// A value of the right type that is none of those allowed.
    BadValue,
    /// A number, length or duration outside its range.
    OutOfRange,
    /// The name of an application or operation that breaks the rules for names.
    BadName,
    /// A path that leads out of the folder.
    BadPath,
    /// A file that is referred to and is not there.
    MissingFile,
    /// A JSON Schema that is not one, or that cannot be honoured.
    BadSchema,
    /// A template that does not compile.
    BadTemplate,
    /// A template that uses what will not be there when it is rendered.
    UnknownVariable,
    /// A model alias that the server's settings do not have.
    UnknownModel,
    /// An operation that the application does not have.
    UnknownOperation,
    /// A time that cron does not know, or that never comes.
    BadSchedule,
    /// An application that there is not.
    UnknownApp,
    /// A file that is no WebAssembly component.
    BadComponent,
    /// A component that is not the one that its digest names.
    WrongDigest,
    /// A plugin that imports what it is not granted.
    MissingGrant,
    /// A tool that no plugin of the application has.
    UnknownTool,
    /// An expression of a workflow that does not parse, or uses what is not there.
    BadExpression,
    /// A name in a workflow that refers to nothing.
    UnknownName,
    /// Something that the format has and this version of Nexus does not.
    Unsupported,
}

impl FaultCode {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::YamlSyntax => "yaml_syntax",
            Self::JsonSyntax => "json_syntax",
            Self::NotUtf8 => "not_utf8",
            Self::EmptyFile => "empty_file",
            Self::TooLarge => "too_large",
            Self::DuplicateKey => "duplicate_key",
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::BadValue => "bad_value",
            Self::OutOfRange => "out_of_range",
            Self::BadName => "bad_name",
            Self::BadPath => "bad_path",
            Self::MissingFile => "missing_file",
            Self::BadSchema => "bad_schema",
            Self::BadTemplate => "bad_template",
            Self::UnknownVariable => "unknown_variable",
            Self::UnknownModel => "unknown_model",
            Self::UnknownOperation => "unknown_operation",
            Self::BadSchedule => "bad_schedule",
            Self::UnknownApp => "unknown_app",
            Self::BadComponent => "bad_component",
            Self::WrongDigest => "wrong_digest",
            Self::MissingGrant => "missing_grant",
            Self::UnknownTool => "unknown_tool",
            Self::BadExpression => "bad_expression",
            Self::UnknownName => "unknown_name",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One fault of a definition. Sorts by file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The file's path within the application's folder.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Where the faulty text begins in the file, in bytes; at most the file's length.
    pub offset: usize,
    /// How long the faulty text is, in bytes; it stays within one line.
    pub length: usize,
    /// What kind of fault it is.
    pub code: FaultCode,
    /// The value within the file, as a JSON Pointer (RFC 6901); empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; empty if the message says it all.
    pub expected: String,
    /// The nearest valid name, when one is near enough to be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// What is wrong, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: FaultCode,
    pub(crate) message: String,
    pub(crate) expected: String,
    pub(crate) nearest: Option<String>,
}

impl Finding {
    pub(crate) fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), expected: String::new(), nearest: None }
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    pub(crate) fn nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }
}

/// The faults found so far: each once, in order, the first [`limits::FAULTS`].
#[derive(Debug, Default)]
pub(crate) struct Faults(BTreeSet<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.insert(fault);
        if self.0.len() > limits::FAULTS {
            self.0.pop_last();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// More faults would only push out others: looking on is not worth it.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= limits::FAULTS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_sorted(self) -> Vec<Fault> {
        self.0.into_iter().collect()
    }
}

/// Text from a file as it may stand in a message: on one line, at most 80 characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}
