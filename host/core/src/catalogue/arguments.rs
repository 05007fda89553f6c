//! Between the arguments of a tool, which are always an object, and an operation's input, which need not be.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

/// The one argument of a tool whose operation takes no object.
const INPUT: &str = "input";

/// Whether a schema says that all it takes are objects.
pub(crate) fn is_object(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "object")
}

/// The schema of a tool's arguments.
pub(crate) fn schema(input: &Arc<Value>) -> Arc<Value> {
    if is_object(input) {
        return Arc::clone(input);
    }
    let mut inner = (**input).clone();
    if let Some(schema) = inner.as_object_mut() {
        // With an identity of its own, its references stay within it (JSON Schema 2020-12, 8.2.1).
        schema.entry("$id").or_insert_with(|| "urn:nexus:input".into());
    }
    Arc::new(json!({
        "type": "object", "properties": { INPUT: inner }, "required": [INPUT], "additionalProperties": false,
    }))
}

/// An operation's input out of a tool's arguments; `None` if it is not there.
pub(crate) fn input(schema: &Value, arguments: Value) -> Option<Value> {
    if is_object(schema) {
        return Some(arguments);
    }
    match arguments {
        Value::Object(mut arguments) => arguments.remove(INPUT),
        _ => None,
    }
}

/// An operation's input out of the arguments of a prompt, which are texts: where a text is not what the schema asks for, it
/// is read as JSON.
pub(crate) fn of_texts(schema: &Value, arguments: BTreeMap<String, Value>) -> Value {
    let read = |(name, value): (String, Value)| {
        let kind = schema.pointer(&format!("/properties/{}/type", name.replace('~', "~0").replace('/', "~1")));
        let value = match value {
            Value::String(text) if kind.is_some_and(|kind| kind != "string") => {
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            other => other,
        };
        (name, value)
    };
    Value::Object(arguments.into_iter().map(read).collect::<Map<_, _>>())
}

/// An argument as text.
pub(super) fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What an argument may be that begins so, where its schema names all that it may be.
pub(super) fn completions(schema: &Value, argument: &str, value: &str) -> Vec<String> {
    let named = schema.get("properties").and_then(|properties| properties.get(argument)?.get("enum")?.as_array());
    let named = named.into_iter().flatten().filter_map(Value::as_str);
    named.filter(|named| named.starts_with(value)).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_one_argument() {
        let text = Arc::new(json!({ "$ref": "#/$defs/t", "$defs": { "t": { "type": "string" } } }));
        let wrapped = schema(&text);
        let validator = jsonschema::validator_for(&wrapped).unwrap();
        assert!(validator.is_valid(&json!({ "input": "x" })));
        assert!(!validator.is_valid(&json!({ "input": 1 })) && !validator.is_valid(&json!({})));
        assert_eq!(input(&text, json!({ "input": "x" })), Some(json!("x")));
        assert_eq!(input(&text, json!({})), None);
        let object = Arc::new(json!({ "type": "object" }));
        assert!(Arc::ptr_eq(&schema(&object), &object));
        assert_eq!(input(&object, json!({ "input": 1 })), Some(json!({ "input": 1 })));
    }

    #[test]
    fn what_a_schema_names_is_completed() {
        let schema = json!({ "properties": { "unit": { "enum": ["kg", "km", "m", 1] }, "n": {} } });
        assert_eq!(completions(&schema, "unit", "k"), ["kg", "km"]);
        assert!(completions(&schema, "n", "").is_empty() && completions(&schema, "none", "").is_empty());
    }

    #[test]
    fn texts_become_what_the_schema_asks_for() {
        let schema = json!({ "properties": { "n": { "type": "integer" }, "t": { "type": "string" }, "a/b": { "type": "array" } } });
        let texts = [("n", "3"), ("t", "3"), ("a/b", "[1]"), ("other", "4")];
        let texts = texts.map(|(name, text)| (name.to_owned(), json!(text))).into();
        assert_eq!(of_texts(&schema, texts), json!({ "n": 3, "t": "3", "a/b": [1], "other": "4" }));
    }
}
