//! YAML.

use serde_json::Value;

use crate::{Fault, malformed};

pub(crate) fn read(text: &str) -> Result<Value, Fault> {
    serde_saphyr::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        malformed(line, column, error.without_snippet())
    })
}

pub(crate) fn write(value: &Value) -> Result<String, Fault> {
    serde_saphyr::to_string(value).map_err(|error| Fault::Inexpressible(error.to_string()))
}
