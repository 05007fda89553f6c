//! Chat completions as `OpenAI` defined them: what is sent, and the events that come back. Pure.

use nexus_model::{GenerateRequest, Message};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::settings::{ModelSettings, ResponseFormat};

/// How deep a schema is looked into.
const MAX_SCHEMA_DEPTH: usize = 64;

/// The body of a request for a streamed answer.
pub(crate) fn body(settings: &ModelSettings, request: &GenerateRequest, messages: &[Message]) -> Value {
    let mut body = json!({
        "model": settings.model,
        "messages": messages,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let parameters = request.parameters;
    // OpenAI's newer models know only the second name, and most other endpoints only the first.
    let max_tokens = if settings.endpoint.is_openai() { "max_completion_tokens" } else { "max_tokens" };
    for (name, value) in [
        ("temperature", parameters.temperature.map(Value::from)),
        ("top_p", parameters.top_p.map(Value::from)),
        (max_tokens, parameters.max_tokens.map(Value::from)),
        ("response_format", response_format(settings.response_format, &request.schema)),
    ] {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}

fn response_format(format: ResponseFormat, schema: &Value) -> Option<Value> {
    match format {
        ResponseFormat::JsonSchema if schema["type"] == "object" => Some(json!({
            "type": "json_schema",
            "json_schema": { "name": "answer", "strict": is_strict(schema, MAX_SCHEMA_DEPTH), "schema": schema },
        })),
        ResponseFormat::JsonObject => Some(json!({ "type": "json_object" })),
        ResponseFormat::JsonSchema | ResponseFormat::Text => None,
    }
}

/// Whether the endpoint may be asked to enforce the schema: then each object must rule out further properties and require
/// all of its own. Other schemas are sent as advice; the answer is checked here in any case.
fn is_strict(schema: &Value, depth: usize) -> bool {
    if depth == 0 {
        return false;
    }
    match schema {
        Value::Object(map) => is_closed(map) && map.values().all(|part| is_strict(part, depth - 1)),
        Value::Array(parts) => parts.iter().all(|part| is_strict(part, depth - 1)),
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

/// One event of a streamed answer; what is not named here is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    pub(crate) model: Option<String>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Option<Tokens>,
    /// An error that the provider found after it had begun to answer.
    pub(crate) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    pub(crate) delta: Delta,
    pub(crate) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    pub(crate) content: Option<String>,
    #[serde(alias = "reasoning")]
    pub(crate) reasoning_content: Option<String>,
}

/// What an answer used, as the provider counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Tokens {
    #[serde(rename = "prompt_tokens")]
    pub(crate) input: u64,
    #[serde(rename = "completion_tokens")]
    pub(crate) output: u64,
}

impl Tokens {
    /// Adds what another answer used.
    pub(crate) fn add(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Chunk, Tokens, is_strict};

    #[test]
    fn only_closed_schemas_are_strict() {
        let closed = json!({
            "type": "object", "additionalProperties": false, "required": ["a", "b"],
            "properties": { "a": { "type": "string" }, "b": { "type": "array", "items": { "type": "integer" } } },
        });
        assert!(is_strict(&closed, 64));
        for (pointer, value) in [
            ("/required", json!(["a"])),
            ("/additionalProperties", json!(true)),
            ("/properties/a", json!({ "type": "object" })),
            ("/properties/b/items", json!({ "properties": { "c": {} } })),
        ] {
            let mut open = closed.clone();
            *open.pointer_mut(pointer).unwrap() = value;
            assert!(!is_strict(&open, 64), "{pointer}");
        }
    }

    #[test]
    fn events_are_read_for_what_matters() {
        let chunk: Chunk = serde_json::from_value(json!({
            "id": "x", "model": "m-1", "usage": null,
            "choices": [{ "index": 0, "delta": { "role": "assistant", "reasoning": "hm" }, "finish_reason": null }],
        }))
        .unwrap();
        assert_eq!(chunk.choices[0].delta.reasoning_content.as_deref(), Some("hm"));
        let chunk: Chunk =
            serde_json::from_value(json!({ "choices": [], "usage": { "prompt_tokens": 3, "x": 1 } })).unwrap();
        assert_eq!(chunk.usage, Some(Tokens { input: 3, output: 0 }));
    }
}
