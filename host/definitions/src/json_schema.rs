//! JSON Schema 2020-12, offline and bounded.

use jsonschema::{Draft, PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde::Serialize;
use serde_json::Value;

/// A JSON Schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable JSON Schema: {message}")]
pub struct SchemaError {
    /// Where in the schema, as a JSON Pointer.
    pub path: String,
    /// Why.
    pub message: String,
}

/// One way in which a value breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The value that breaks it, as a JSON Pointer (RFC 6901); empty for the whole.
    pub path: String,
    /// How, in at most 300 characters. The value itself is not repeated; names of properties may be.
    pub message: String,
}

/// The most violations that are told.
const VIOLATIONS: usize = 20;
const MESSAGE_CHARS: usize = 300;
const PATH_CHARS: usize = 500;
const PATTERN_BYTES: usize = 1 << 20;

/// A validator for a JSON Schema of the dialect 2020-12.
///
/// References lead only into the schema itself: nothing is ever fetched. `format` is asserted, and an unknown format is
/// an error. Patterns run in linear time (no look-around, no back-references) and compile to at most 1 MiB.
/// Validation always ends; recursion goes as deep as the value, which JSON bounds at 127.
///
/// # Errors
/// If it is not a valid schema, refers outside itself, or uses a format or pattern that is not supported.
pub fn schema_validator(schema: &Value) -> Result<Validator, SchemaError> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES))
        .build(schema)
        .map_err(|error| SchemaError { path: error.instance_path().to_string(), message: brief(&error) })
}

/// How `value` breaks the schema: the first 20 violations, none if it is valid.
pub fn violations(validator: &Validator, value: &Value) -> Vec<Violation> {
    if validator.is_valid(value) {
        return Vec::new();
    }
    validator
        .iter_errors(value)
        .take(VIOLATIONS)
        .map(|error| Violation { path: cut(error.instance_path().as_str(), PATH_CHARS), message: brief(&error) })
        .collect()
}

/// A message that does not repeat the value.
pub(crate) fn brief(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::AnyOf { .. } => "the value fits none of the alternatives (anyOf)".to_owned(),
        ValidationErrorKind::OneOfNotValid { .. } => "the value fits none of the alternatives (oneOf)".to_owned(),
        ValidationErrorKind::OneOfMultipleValid { .. } => "the value fits several alternatives (oneOf)".to_owned(),
        ValidationErrorKind::Not { .. } => "the value is what the schema rules out (not)".to_owned(),
        _ => cut(&error.masked_with("the value").to_string(), MESSAGE_CHARS),
    }
}

/// The first `most` characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{schema_validator, violations};

    #[test]
    fn violations_are_bounded_and_do_not_repeat_the_value() {
        let validator =
            schema_validator(&json!({"type": "array", "items": {"type": "string", "maxLength": 3}})).unwrap();
        let value = Value::Array((0..100).map(|_| json!("a secret")).collect());
        let found = violations(&validator, &value);
        assert_eq!(found.len(), 20);
        assert_eq!(found[0].path, "/0");
        assert!(found.iter().all(|v| !v.message.contains("secret")), "{found:?}");
        assert!(violations(&validator, &json!(["abc"])).is_empty());
    }

    #[test]
    fn nothing_is_fetched() {
        for reference in ["https://example.com/schema.json", "file:///etc/passwd", "other.json"] {
            assert!(schema_validator(&json!({"$ref": reference})).is_err(), "{reference}");
        }
        assert!(schema_validator(&json!({"$ref": "#/$defs/a", "$defs": {"a": true}})).is_ok());
    }

    #[test]
    fn formats_are_asserted_and_must_be_known() {
        let validator = schema_validator(&json!({"format": "date"})).unwrap();
        assert!(!validator.is_valid(&json!("2026-02-30")));
        assert!(validator.is_valid(&json!("2026-02-28")));
        assert!(schema_validator(&json!({"format": "dote"})).is_err());
    }

    #[test]
    fn recursive_schemas_end() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
            json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        ] {
            if let Ok(validator) = schema_validator(&schema) {
                violations(&validator, &json!({"a": 1}));
            }
        }
    }

    #[test]
    fn patterns_run_in_linear_time() {
        let validator = schema_validator(&json!({"pattern": "^(a+)+$"})).unwrap();
        // An engine that goes back would not come to the end of this.
        assert!(!validator.is_valid(&Value::String("a".repeat(100_000) + "!")));
        assert!(schema_validator(&json!({"pattern": "(?=a)"})).is_err());
    }
}
