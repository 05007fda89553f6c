//! JSON.

use serde_json::Value;

use crate::{Fault, malformed};

pub(crate) fn read(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let reason = error.to_string();
        malformed(line, column, reason.trim_end_matches(&format!(" at line {line} column {column}")))
    })
}

/// Indented, with a line break at the end.
pub(crate) fn write(value: &Value) -> String {
    format!("{value:#}\n")
}
