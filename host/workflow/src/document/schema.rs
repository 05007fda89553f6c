//! JSON Schema 2020-12, offline and bounded.

use std::{fmt, sync::Arc};

use jsonschema::{Draft, PatternOptions, ValidationError, Validator, error::ValidationErrorKind as Kind};
use serde_json::Value;

use super::{node::Node, places, reader::Reader};
use crate::fault::{Fault, FaultKind, cut};

const PATTERN_BYTES: usize = 1 << 20;
const VIOLATIONS: usize = 5;

/// What a value must be.
#[derive(Clone)]
pub struct Schema {
    validator: Arc<Validator>,
}

impl Schema {
    /// How the value breaks the schema, in one sentence that does not repeat it; `None` if it does not.
    pub fn violations(&self, value: &Value) -> Option<String> {
        if self.validator.is_valid(value) {
            return None;
        }
        let said: Vec<String> = self
            .validator
            .iter_errors(value)
            .take(VIOLATIONS)
            .map(|error| format!("at `{}`: {}", cut(error.instance_path().as_str(), 200), brief(&error)))
            .collect();
        Some(said.join("; "))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

fn brief(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::AnyOf { .. } => "the value fits none of the alternatives (anyOf)".to_owned(),
        Kind::OneOfNotValid { .. } => "the value fits none of the alternatives (oneOf)".to_owned(),
        Kind::OneOfMultipleValid { .. } => "the value fits several alternatives (oneOf)".to_owned(),
        Kind::Not { .. } => "the value is what the schema rules out (not)".to_owned(),
        _ => cut(&error.masked_with("the value").to_string(), 300),
    }
}

pub(super) fn read(reader: &mut Reader, node: Option<Node<'_>>) -> Option<Schema> {
    let node = node?;
    if !reader.object(&node, &places::SCHEMA) {
        return None;
    }
    if let Some(format) = node.get("format") {
        let text = reader.text(&format)?;
        let (name, version) = text.split_once(':').map_or((text, None), |(name, version)| (name, Some(version)));
        if name != "json" || version.is_some_and(|version| version != "2020-12") {
            let message = format!("schemas of the format `{}` are not there", cut(text, 60));
            reader.wrong(&format, FaultKind::Unsupported, message, "`json`");
            return None;
        }
    }
    let Some(document) = node.get("document") else {
        if node.get("resource").is_none() {
            reader.fault(Fault::new(FaultKind::MissingField, &node.at, "`document` is missing"));
        }
        return None;
    };
    let built = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES))
        .build(document.value);
    match built {
        Ok(validator) => Some(Schema { validator: Arc::new(validator) }),
        Err(error) => {
            let at = format!("{}{}", document.at, error.instance_path());
            reader.fault(Fault::new(FaultKind::BadSchema, at, format!("not a usable JSON Schema: {}", brief(&error))));
            None
        }
    }
}
