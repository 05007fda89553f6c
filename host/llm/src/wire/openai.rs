//! Chat completions as `OpenAI` defined them.

use nexus_model::{ChatMessage, ToolRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Part, Stop, function, parsed, put, result, schema};
use crate::{
    calls::CallPiece,
    failure::{Failure, failed_midway},
    question::Question,
    settings::{ModelSettings, ResponseFormat},
    tokens::Reported,
};

/// The message that ends a stream.
const END_MARK: &[u8] = b"[DONE]";

pub(super) fn body(settings: &ModelSettings, question: &Question<'_>, messages: &[ChatMessage]) -> Value {
    let mut body = json!({
        "model": settings.model,
        "messages": messages.iter().map(said).collect::<Vec<_>>(),
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let parameters = question.parameters;
    // OpenAI's newer models know only the second name, and most other endpoints only the first.
    let max_tokens = if settings.endpoint.is_openai() { "max_completion_tokens" } else { "max_tokens" };
    let tools = (!question.tools.is_empty()).then(|| question.tools.iter().map(function).collect::<Vec<_>>());
    put(
        &mut body,
        [
            ("temperature", parameters.temperature.map(Value::from)),
            ("top_p", parameters.top_p.map(Value::from)),
            (max_tokens, parameters.max_tokens.or(settings.max_tokens).map(Value::from)),
            ("tool_choice", tools.is_some().then(|| json!("auto"))),
            ("tools", tools.map(Value::from)),
            ("response_format", response_format(settings, question)),
        ],
    );
    body
}

fn said(message: &ChatMessage) -> Value {
    match message {
        ChatMessage::System { content } => json!({ "role": "system", "content": content }),
        ChatMessage::User { content } => json!({ "role": "user", "content": content }),
        ChatMessage::Assistant { content, tool_calls } if tool_calls.is_empty() => {
            json!({ "role": "assistant", "content": content })
        }
        ChatMessage::Assistant { content, tool_calls } => json!({
            "role": "assistant",
            "content": (!content.is_empty()).then_some(content),
            "tool_calls": tool_calls.iter().map(called).collect::<Vec<_>>(),
        }),
        ChatMessage::Tool { id, content, failed } => {
            json!({ "role": "tool", "tool_call_id": id, "content": result(content, *failed) })
        }
    }
}

/// A call in the past, its arguments as the model wrote them.
fn called(call: &ToolRequest) -> Value {
    let arguments = match &call.arguments {
        Value::String(text) => text.clone(),
        arguments => arguments.to_string(),
    };
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
}

/// Other endpoints than `OpenAI` itself refuse a form beside tools, or hold the model to it so that it can call none.
fn may_have_form(settings: &ModelSettings, question: &Question<'_>) -> bool {
    question.tools.is_empty() || settings.endpoint.is_openai()
}

pub(super) fn tells_schema(settings: &ModelSettings, question: &Question<'_>) -> bool {
    let object = question.schema.is_some_and(|schema| schema["type"] == "object");
    settings.response_format == ResponseFormat::JsonSchema && object && may_have_form(settings, question)
}

fn response_format(settings: &ModelSettings, question: &Question<'_>) -> Option<Value> {
    let schema = question.schema.filter(|_| may_have_form(settings, question))?;
    match settings.response_format {
        // What cannot be enforced is sent as advice; the answer is checked here in any case.
        ResponseFormat::JsonSchema if tells_schema(settings, question) => Some(json!({
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
        calls: choice.delta.tool_calls.unwrap_or_default().into_iter().map(Call::piece).collect(),
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
    tool_calls: Option<Vec<Call>>,
}

/// A piece of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    function: Function,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

impl Call {
    fn piece(self) -> CallPiece {
        CallPiece {
            index: self.index,
            id: self.id.unwrap_or_default(),
            name: self.function.name.unwrap_or_default(),
            arguments: self.function.arguments.unwrap_or_default(),
        }
    }
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
    use nexus_model::{ModelParameters, ModelTool};
    use serde_json::{Value, json};

    use super::{super::Stop, body, read, tells_schema};
    use crate::{calls::CallPiece, question::Question, settings::ModelSettings, tokens::Reported};

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
    #[test]
    fn pieces_of_calls_are_read() {
        let part = read(
            json!({ "choices": [{ "delta": { "content": null, "tool_calls": [
                { "index": 0, "id": "a", "type": "function", "function": { "name": "add", "arguments": "" } },
                { "index": 1, "id": null, "function": { "arguments": "{" } },
            ] }, "finish_reason": "tool_calls" }] })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let first = CallPiece { index: Some(0), id: "a".into(), name: "add".into(), arguments: String::new() };
        let second = CallPiece { index: Some(1), arguments: "{".into(), ..CallPiece::default() };
        assert_eq!((part.calls, part.stop), (vec![first, second], Some(Stop::Done)));
        assert_eq!(read(br#"{"choices":[{"delta":{"tool_calls":null}}]}"#).unwrap().calls, []);
    }

    #[test]
    fn only_openai_itself_is_told_a_form_beside_tools() {
        let schema = json!({ "type": "object" });
        let tools = [ModelTool { name: "add".into(), description: "Adds.".into(), input: json!({ "type": "object" }) }];
        let parameters = ModelParameters::default();
        let question =
            |tools| Question { messages: &[], tools, parameters: &parameters, schema: Some(&schema), instructed: true };
        for (endpoint, format, with_tools, kind) in [
            ("https://api.openai.com/v1", "json_schema", true, json!("json_schema")),
            ("https://api.openai.com/v1", "json_object", true, json!("json_object")),
            ("https://api.openai.com/v1", "text", true, Value::Null),
            ("https://models.example.com/v1", "json_schema", true, Value::Null),
            ("https://models.example.com/v1", "json_object", true, Value::Null),
            ("https://models.example.com/v1", "json_schema", false, json!("json_schema")),
        ] {
            let settings = json!({ "endpoint": endpoint, "model": "m", "response_format": format });
            let settings: ModelSettings = serde_json::from_value(settings).unwrap();
            let question = question(if with_tools { &tools[..] } else { &[] });
            let body = body(&settings, &question, &[]);
            assert_eq!(body["response_format"]["type"], kind, "{endpoint} {format}");
            assert_eq!(tells_schema(&settings, &question), kind == "json_schema");
            assert_eq!(body["tools"].is_array(), with_tools);
        }
    }
}
