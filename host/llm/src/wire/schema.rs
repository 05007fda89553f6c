//! What of a schema a provider can be asked to enforce. The answer is checked here in any case.

use serde_json::{Map, Value};

/// How deep a schema is looked into.
const MAX_DEPTH: usize = 64;

/// Whether `OpenAI` may be asked to enforce the schema: then each object must rule out further properties and require all
/// of its own.
pub(super) fn is_strict(schema: &Value) -> bool {
    strict(schema, MAX_DEPTH)
}

fn strict(schema: &Value, depth: usize) -> bool {
    if depth == 0 {
        return false;
    }
    match schema {
        Value::Object(map) => is_closed(map) && map.values().all(|part| strict(part, depth - 1)),
        Value::Array(parts) => parts.iter().all(|part| strict(part, depth - 1)),
        _ => true,
    }
}

fn is_closed(schema: &Map<String, Value>) -> bool {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return schema.get("type").is_none_or(|kind| kind != "object");
    };
    let required = schema.get("required").and_then(Value::as_array);
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && properties.keys().all(|name| required.is_some_and(|required| required.iter().any(|other| other == name)))
}

/// Keywords that Anthropic enforces, or that say something to the model.
const KEPT: [&str; 9] =
    ["type", "enum", "const", "title", "description", "default", "required", "additionalProperties", "$ref"];
/// Keywords that hold one schema.
const NESTED: [&str; 1] = ["items"];
/// Keywords that hold a list of schemas.
const LISTS: [&str; 2] = ["anyOf", "allOf"];
/// Keywords that hold schemas by name.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];
/// Formats that Anthropic enforces.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The part of a schema that Anthropic can enforce, or `None` where it cannot: an object that allows further properties,
/// or a keyword that changes what the others mean. Bounds of numbers, texts and lists are left out.
pub(super) fn enforceable(schema: &Value) -> Option<Value> {
    (schema["type"] == "object").then(|| kept(schema, MAX_DEPTH)).flatten()
}

fn kept(schema: &Value, depth: usize) -> Option<Value> {
    let map = schema.as_object()?;
    if depth == 0 {
        return None;
    }
    let closed = map.get("additionalProperties") == Some(&Value::Bool(false));
    let object = map.get("type").is_some_and(|kind| mentions(kind, "object")) || map.contains_key("properties");
    if object && !closed {
        return None;
    }
    let mut result = Map::new();
    for (keyword, value) in map {
        let value = match keyword.as_str() {
            "$ref" if !value.as_str()?.starts_with("#/") => return None,
            name if KEPT.contains(&name) => value.clone(),
            name if NESTED.contains(&name) => kept(value, depth - 1)?,
            name if LISTS.contains(&name) => {
                Value::Array(value.as_array()?.iter().map(|part| kept(part, depth - 1)).collect::<Option<_>>()?)
            }
            name if NAMED.contains(&name) => {
                let parts = value.as_object()?.iter();
                Value::Object(
                    parts.map(|(name, part)| Some((name.clone(), kept(part, depth - 1)?))).collect::<Option<_>>()?,
                )
            }
            "format" if FORMATS.iter().any(|format| value == format) => value.clone(),
            "minItems" if value == 0 || value == 1 => value.clone(),
            // Bounds and notes: what they rule out is found when the answer is checked.
            "$schema" | "$id" | "$comment" | "examples" | "format" | "pattern" | "minLength" | "maxLength"
            | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" | "minItems"
            | "maxItems" | "uniqueItems" | "minProperties" | "maxProperties" => continue,
            _ => return None,
        };
        result.insert(keyword.clone(), value);
    }
    Some(Value::Object(result))
}

fn mentions(kind: &Value, name: &str) -> bool {
    kind == name || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{enforceable, is_strict};

    #[test]
    fn only_closed_schemas_are_strict() {
        let closed = json!({
            "type": "object", "additionalProperties": false, "required": ["a", "b"],
            "properties": { "a": { "type": "string" }, "b": { "type": "array", "items": { "type": "integer" } } },
        });
        assert!(is_strict(&closed));
        for (pointer, value) in [
            ("/required", json!(["a"])),
            ("/additionalProperties", json!(true)),
            ("/properties/a", json!({ "type": "object" })),
            ("/properties/b/items", json!({ "properties": { "c": {} } })),
        ] {
            let mut open = closed.clone();
            *open.pointer_mut(pointer).unwrap() = value;
            assert!(!is_strict(&open), "{pointer}");
        }
    }

    #[test]
    fn what_cannot_be_enforced_is_left_out_or_refused() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {
                "a": { "type": "string", "minLength": 3, "format": "date", "description": "the day" },
                "b": { "type": ["array", "null"], "minItems": 2, "items": { "$ref": "#/$defs/n" } },
            },
            "$defs": { "n": { "type": "integer", "minimum": 0 } },
        });
        let expected = json!({
            "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {
                "a": { "type": "string", "format": "date", "description": "the day" },
                "b": { "type": ["array", "null"], "items": { "$ref": "#/$defs/n" } },
            },
            "$defs": { "n": { "type": "integer" } },
        });
        assert_eq!(enforceable(&schema), Some(expected));
        for (pointer, value) in [
            ("/additionalProperties", json!(true)),
            ("/properties/a", json!({ "type": "object" })),
            ("/properties/a", json!({ "not": { "const": 1 } })),
            ("/properties/a", json!({ "$ref": "https://example.com/x" })),
            ("/properties/a", json!(true)),
            ("/type", json!("array")),
        ] {
            let mut other = schema.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_eq!(enforceable(&other), None, "{pointer}");
        }
    }
}
