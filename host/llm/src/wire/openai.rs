//! Chat completions as `OpenAI` defined them.

use nexus_model::{GenerateRequest, Message};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Part, Stop, parsed, put, schema};
use crate::{
    failure::{Failure, failed_midway},
    settings::{ModelSettings, ResponseFormat},
    tokens::Reported,
};

/// The message that ends a stream.
const END_MARK: &[u8] = b"[DONE]";

pub(super) fn body(settings: &ModelSettings, request: &GenerateRequest, messages: &[Message]) -> Value {
    let mut body = json!({
        "model": settings.model,
        "messages": messages,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let parameters = request.parameters;
    // OpenAI's newer models know only the second name, and most other endpoints only the first.
    let max_tokens = if settings.endpoint.is_openai() { "max_completion_tokens" } else { "max_tokens" };
    put(
        &mut body,
        [
            ("temperature", parameters.temperature.map(Value::from)),
            ("top_p", parameters.top_p.map(Value::from)),
            (max_tokens, parameters.max_tokens.or(settings.max_tokens).map(Value::from)),
            ("response_format", response_format(settings.response_format, &request.schema)),
        ],
    );
    body
}

fn response_format(format: ResponseFormat, schema: &Value) -> Option<Value> {
    match format {
        // What cannot be enforced is sent as advice; the answer is checked here in any case.
        ResponseFormat::JsonSchema if schema["type"] == "object" => Some(json!({
            "type": "json_schema",
            "json_schema": { "name": "answer", "strict": schema::is_strict(schema), "schema": schema },
        })),
        ResponseFormat::JsonObject => Some(json!({ "type": "json_object" })),
        ResponseFormat::JsonSchema | ResponseFormat::Text => None,
    }
}

pub(super) fn read(message: &[u8]) -> Result<Part, Failure> {
    if message == END_MARK {
        return Ok(Part { end: true, ..Part::default() });
    }
    let chunk: Chunk = parsed(message, "a chat completion")?;
    if let Some(error) = chunk.error {
        return Err(failed_midway(&error));
    }
    let choice = chunk.choices.into_iter().next().unwrap_or_default();
    Ok(Part {
        text: choice.delta.content.unwrap_or_default(),
        thought: choice.delta.reasoning_content.map_or(0, |thought| thought.len()),
        model: chunk.model,
        tokens: chunk.usage.map(Usage::reported).unwrap_or_default(),
        stop: choice.finish_reason.map(|reason| match reason.as_str() {
            "length" => Stop::Length,
            "content_filter" => Stop::Filter,
            _ => Stop::Done,
        }),
        end: false,
    })
}

/// One event of a streamed answer; what is not named here is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Chunk {
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// An error that the provider found after it had begun to answer.
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Usage {
    /// Tokens from the cache are among those of the prompt here.
    fn reported(self) -> Reported {
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        Reported {
            fresh: Some(self.prompt_tokens.saturating_sub(cached)),
            cache_read: Some(cached.min(self.prompt_tokens)),
            cache_write: None,
            output: Some(self.completion_tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Stop, read};
    use crate::tokens::Reported;

    #[test]
    fn events_are_read_for_what_matters() {
        let part = read(
            json!({
                "id": "x", "model": "m-1", "usage": null,
                "choices": [{ "index": 0, "delta": { "role": "assistant", "reasoning": "hm" }, "finish_reason": null }],
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        assert_eq!((part.thought, part.model.as_deref(), part.stop, part.end), (2, Some("m-1"), None, false));
        let usage = json!({ "prompt_tokens": 30, "x": 1, "prompt_tokens_details": { "cached_tokens": 10 } });
        let part = read(json!({ "choices": [], "usage": usage }).to_string().as_bytes()).unwrap();
        let expected = Reported { fresh: Some(20), cache_read: Some(10), cache_write: None, output: Some(0) };
        assert_eq!(part.tokens, expected);
        let part = read(br#"{"choices":[{"finish_reason":"length"}]}"#).unwrap();
        assert_eq!(part.stop, Some(Stop::Length));
        assert!(read(b"[DONE]").unwrap().end);
    }
}
