//! From the errors of JSON Schema to faults that say what was expected.

use jsonschema::{ValidationError, Validator, error::TypeKind, error::ValidationErrorKind as Kind};
use serde_json::{Map, Value};

use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    json_schema::{SchemaError, brief, schema_validator},
    limits,
    nearest::{listed, nearest},
    tree::{join, last_segment},
};

/// The schema of a kind of file.
pub(crate) struct Form {
    schema: Value,
    validator: Validator,
}

impl Form {
    pub(crate) fn read(text: &str) -> Result<Self, SchemaError> {
        let schema: Value = serde_json::from_str(text)
            .map_err(|error| SchemaError { path: String::new(), message: error.to_string() })?;
        let validator = schema_validator(&schema)?;
        Ok(Self { schema, validator })
    }

    /// Adds a fault for each way in which the document breaks this form.
    pub(crate) fn check(&self, document: &Document, faults: &mut Faults) {
        let errors = self.validator.iter_errors(&document.value);
        report(errors, Some(&self.schema), document, faults);
    }
}

/// Adds a fault for each error; without `schema`, the document is a schema itself and the faults are its own.
pub(crate) fn report<'a>(
    errors: impl Iterator<Item = ValidationError<'a>>,
    schema: Option<&Value>,
    document: &Document,
    faults: &mut Faults,
) {
    for explained in errors.flat_map(|error| explain(&error, schema)).take(limits::FAULTS) {
        let mut finding = explained.finding;
        if schema.is_none() {
            finding.code = FaultCode::BadSchema;
        }
        faults.add(match explained.at {
            At::Key => document.fault_at_key(&explained.pointer, finding),
            At::Value => document.fault_at_value(&explained.pointer, finding),
        });
    }
}

enum At {
    Key,
    Value,
}

struct Explained {
    at: At,
    pointer: String,
    finding: Finding,
}

fn explain(error: &ValidationError<'_>, schema: Option<&Value>) -> Vec<Explained> {
    let pointer = error.instance_path().to_string();
    let around = schema.and_then(|schema| parent(schema, error.schema_path().as_str()));
    let here = |at, finding| vec![Explained { at, pointer: pointer.clone(), finding }];
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => unknown_fields(&pointer, unexpected, around),
        Kind::Not { .. } if let Some(why) = refused(around) => {
            let message = format!("{} is not supported: {why}", quoted(&last_segment(&pointer)));
            here(At::Key, Finding::new(FaultCode::Unsupported, message))
        }
        Kind::Required { property } => here(At::Key, missing_field(property, around)),
        Kind::PropertyNames { error: name } => bad_names(&pointer, name, schema),
        Kind::AnyOf { context } if let Some(finding) = missing_one(context) => here(At::Key, finding),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            alternative(context, &pointer, schema).unwrap_or_else(|| here(At::Value, of_value(error, &pointer, around)))
        }
        _ => here(At::Value, of_value(error, &pointer, around)),
    }
}

/// The schema that the failed keyword stands in.
fn parent<'a>(schema: &'a Value, keyword: &str) -> Option<&'a Value> {
    schema.pointer(keyword.rsplit_once('/')?.0)
}

/// Why a form refuses a field that others have: what `not: {}` describes.
fn refused(schema: Option<&Value>) -> Option<&str> {
    let schema = schema.filter(|schema| schema.get("not").and_then(Value::as_object).is_some_and(Map::is_empty));
    schema?.get("description")?.as_str()
}

fn unknown_fields(pointer: &str, unexpected: &[String], around: Option<&Value>) -> Vec<Explained> {
    let mut known: Vec<&str> = around
        .and_then(|schema| schema.get("properties")?.as_object())
        .into_iter()
        .flatten()
        .filter(|(_, schema)| refused(Some(schema)).is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    known.sort_unstable();
    let explained = |name: &String| Explained {
        at: At::Key,
        pointer: join(pointer, name),
        finding: Finding::new(FaultCode::UnknownField, format!("unknown field {}", quoted(name)))
            .expected(listed(known.iter().copied()))
            .nearest(nearest(name, known.iter().copied())),
    };
    unexpected.iter().take(limits::FAULTS).map(explained).collect()
}

fn missing_field(property: &Value, around: Option<&Value>) -> Finding {
    let name = property.as_str().unwrap_or_default();
    let description = around
        .and_then(|schema| schema.get("properties")?.get(name)?.get("description")?.as_str())
        .map(|text| text.trim_end_matches('.'));
    let finding = Finding::new(FaultCode::MissingField, format!("the field {} is missing", quoted(name)));
    match description {
        Some(text) => finding.expected(format!("{}: {}", quoted(name), lower_first(text))),
        None => finding,
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn bad_names(pointer: &str, error: &ValidationError<'_>, schema: Option<&Value>) -> Vec<Explained> {
    let name = error.instance().as_str().unwrap_or_default();
    let around = schema.and_then(|schema| parent(schema, error.schema_path().as_str()));
    let finding = Finding::new(FaultCode::BadName, format!("{} is not a valid name", quoted(name)))
        .expected(expected(error, around));
    vec![Explained { at: At::Key, pointer: join(pointer, name), finding }]
}

/// That one of several fields must be there, and none is.
fn missing_one(context: &[Vec<ValidationError<'_>>]) -> Option<Finding> {
    let name = |errors: &Vec<ValidationError<'_>>| match errors.as_slice() {
        [error] if let Kind::Required { property } = error.kind() => property.as_str().map(str::to_owned),
        _ => None,
    };
    let names = context.iter().map(name).collect::<Option<Vec<_>>>()?;
    let names = listed(names.iter().map(String::as_str));
    Some(Finding::new(FaultCode::MissingField, format!("one of the fields {names} must be there")).expected(names))
}

/// What is wrong with the only alternative that is of the value's type.
fn alternative(context: &[Vec<ValidationError<'_>>], pointer: &str, schema: Option<&Value>) -> Option<Vec<Explained>> {
    let of_type = |errors: &&Vec<ValidationError<'_>>| {
        !errors.iter().any(|e| matches!(e.kind(), Kind::Type { .. }) && e.instance_path().as_str() == pointer)
    };
    let mut meant = context.iter().filter(of_type);
    match (meant.next(), meant.next()) {
        (Some(errors), None) => Some(errors.iter().flat_map(|error| explain(error, schema)).collect()),
        _ => None,
    }
}

fn of_value(error: &ValidationError<'_>, pointer: &str, around: Option<&Value>) -> Finding {
    let value: &Value = error.instance();
    let subject = if pointer.is_empty() { "the file".to_owned() } else { quoted(&last_segment(pointer)) };
    let expected = expected(error, around);
    let (code, message) = match error.kind() {
        Kind::Type { .. } => (FaultCode::WrongType, format!("{subject} is {}", type_of(value))),
        Kind::Minimum { .. } | Kind::Maximum { .. } | Kind::ExclusiveMinimum { .. } | Kind::ExclusiveMaximum { .. } => {
            (FaultCode::OutOfRange, format!("{subject} is {value}"))
        }
        Kind::MinLength { .. }
        | Kind::MaxLength { .. }
        | Kind::MinItems { .. }
        | Kind::MaxItems { .. }
        | Kind::MinProperties { .. }
        | Kind::MaxProperties { .. } => (FaultCode::OutOfRange, format!("{subject} has {}", size_of(value))),
        Kind::Enum { .. } | Kind::Constant { .. } | Kind::Pattern { .. } => {
            let code = if last_segment(pointer) == "name" { FaultCode::BadName } else { FaultCode::BadValue };
            (code, format!("{subject} is {}", shown(value)))
        }
        _ => (FaultCode::BadValue, format!("{subject}: {}", brief(error))),
    };
    Finding::new(code, message).expected(expected).nearest(meant(error))
}

fn meant(error: &ValidationError<'_>) -> Option<String> {
    let given = error.instance().as_str()?;
    match error.kind() {
        Kind::Enum { options } => nearest(given, options.as_array()?.iter().filter_map(Value::as_str)),
        _ => None,
    }
}

fn expected(error: &ValidationError<'_>, around: Option<&Value>) -> String {
    let error_message = || around.and_then(|schema| schema.get("patternErrorMessage")?.as_str());
    match error.kind() {
        // A pattern tells more than the type.
        Kind::Type { .. } if error_message().is_some() => error_message().unwrap_or_default().to_owned(),
        Kind::Type { kind: TypeKind::Single(one) } => type_word(&one.to_string()).to_owned(),
        Kind::Type { kind: TypeKind::Multiple(several) } => {
            let words: Vec<&str> = several.iter().map(|one| type_word(one.as_str())).collect();
            words.join(" or ")
        }
        Kind::Enum { options } => options.as_array().map_or_else(String::new, |options| one_of(options)),
        Kind::Constant { expected_value } => shown(expected_value),
        Kind::Pattern { pattern } => {
            error_message().map_or_else(|| format!("text that matches {}", quoted(pattern)), str::to_owned)
        }
        Kind::Minimum { .. } | Kind::Maximum { .. } | Kind::ExclusiveMinimum { .. } | Kind::ExclusiveMaximum { .. } => {
            range(error.kind(), around)
        }
        Kind::MinLength { limit } | Kind::MinItems { limit } | Kind::MinProperties { limit } => {
            format!("at least {limit}")
        }
        Kind::MaxLength { limit } | Kind::MaxItems { limit } | Kind::MaxProperties { limit } => {
            format!("at most {limit}")
        }
        _ => String::new(),
    }
}

/// Both ends of the range where the schema is at hand, otherwise the one that was broken.
fn range(kind: &Kind, around: Option<&Value>) -> String {
    let words =
        [("minimum", "at least"), ("exclusiveMinimum", "over"), ("maximum", "at most"), ("exclusiveMaximum", "under")];
    let parts: Vec<String> =
        words.iter().filter_map(|(keyword, word)| Some(format!("{word} {}", around?.get(keyword)?))).collect();
    if !parts.is_empty() {
        return parts.join(" and ");
    }
    match kind {
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("over {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("under {limit}"),
        _ => String::new(),
    }
}

fn one_of(options: &[Value]) -> String {
    let texts: Vec<String> =
        options.iter().map(|option| option.as_str().map_or_else(|| option.to_string(), str::to_owned)).collect();
    listed(texts.iter().map(String::as_str))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(_) | Value::Object(_) => type_of(value).to_owned(),
        _ => value.to_string(),
    }
}

fn size_of(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{} characters", text.chars().count()),
        Value::Array(items) => format!("{} elements", items.len()),
        Value::Object(fields) => format!("{} entries", fields.len()),
        _ => type_of(value).to_owned(),
    }
}

pub(crate) fn type_of(value: &Value) -> &'static str {
    type_word(match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

fn type_word(name: &str) -> &'static str {
    match name {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    }
}
