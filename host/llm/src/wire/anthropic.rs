//! The Messages API of Anthropic (<https://platform.claude.com/docs/en/api/messages>).

use nexus_model::{GenerateRequest, Message, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Part, Stop, parsed, put, schema};
use crate::{
    failure::{Failure, failed_midway},
    settings::{ModelSettings, ResponseFormat},
    tokens::Reported,
};

/// The version of the API that this file speaks.
pub(super) const VERSION: &str = "2023-06-01";
/// The most tokens of an answer where neither the prompt nor the settings say; the API insists on a number.
const MAX_TOKENS: u32 = 8_192;
/// The tool that an answer is given with where its schema cannot be enforced.
const TOOL: &str = "answer";

pub(super) fn body(settings: &ModelSettings, request: &GenerateRequest, messages: &[Message]) -> Value {
    let parameters = request.parameters;
    let (system, rest): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.role == Role::System);
    // The API wants at least one message; a prompt of instructions alone is one from the user.
    let (system, rest) = if rest.is_empty() { (rest, system) } else { (system, rest) };
    let spoken = |message: &&Message| {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        json!({ "role": role, "content": message.content })
    };
    let mut body = json!({
        "model": settings.model,
        "max_tokens": parameters.max_tokens.or(settings.max_tokens).unwrap_or(MAX_TOKENS),
        "messages": rest.iter().map(spoken).collect::<Vec<_>>(),
        "stream": true,
    });
    let blocks = system.iter().map(|message| json!({ "type": "text", "text": message.content })).collect::<Vec<_>>();
    put(
        &mut body,
        [
            ("system", (!blocks.is_empty()).then(|| Value::from(blocks))),
            ("temperature", parameters.temperature.map(Value::from)),
            ("top_p", parameters.top_p.map(Value::from)),
        ],
    );
    form(&mut body, settings.response_format, &request.schema);
    body
}

/// Asks for the schema: enforced where it can be, else as the input of a tool that must be called.
fn form(body: &mut Value, format: ResponseFormat, schema: &Value) {
    if format == ResponseFormat::Text || schema["type"] != "object" {
        return;
    }
    let enforced = (format == ResponseFormat::JsonSchema).then(|| schema::enforceable(schema)).flatten();
    if let Some(schema) = enforced {
        body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema } });
    } else {
        body["tools"] = json!([{ "name": TOOL, "description": "Gives the answer.", "input_schema": schema }]);
        body["tool_choice"] = json!({ "type": "tool", "name": TOOL });
    }
}

pub(super) fn read(message: &[u8]) -> Result<Part, Failure> {
    let event: Event = parsed(message, "a message of Anthropic")?;
    Ok(match event {
        Event::MessageStart { message } => {
            Part { model: message.model, tokens: message.usage.reported(), ..Part::default() }
        }
        Event::ContentBlockDelta { delta } => match delta {
            Delta::Text { text } | Delta::Input { partial_json: text } => Part { text, ..Part::default() },
            Delta::Thinking { thinking } => Part { thought: thinking.len(), ..Part::default() },
            Delta::Other => Part::default(),
        },
        Event::MessageDelta { delta, usage } => Part {
            tokens: usage.reported(),
            stop: delta.stop_reason.map(|reason| match reason.as_str() {
                "max_tokens" | "model_context_window_exceeded" => Stop::Length,
                "refusal" => Stop::Filter,
                _ => Stop::Done,
            }),
            ..Part::default()
        },
        Event::MessageStop => Part { end: true, ..Part::default() },
        Event::Error { error } => return Err(failed_midway(&error)),
        Event::Other => Part::default(),
    })
}

/// One event of a streamed answer; the API may add others at any time.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        #[serde(default)]
        delta: End,
        #[serde(default)]
        usage: Usage,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Start {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
struct End {
    #[serde(default)]
    stop_reason: Option<String>,
}

/// Cumulative counts; each may be left out. Tokens of the cache are not among the `input_tokens`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    #[serde(rename = "input_tokens")]
    fresh: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    cache_read: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    cache_write: Option<u64>,
    #[serde(rename = "output_tokens")]
    output: Option<u64>,
}

impl Usage {
    fn reported(self) -> Reported {
        Reported { fresh: self.fresh, cache_read: self.cache_read, cache_write: self.cache_write, output: self.output }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::Stop, read};
    use crate::tokens::Reported;

    fn part(event: &Value) -> super::Part {
        read(event.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn events_are_read_for_what_matters() {
        let start = part(&json!({ "type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m-1",
            "usage": { "input_tokens": 3, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1 },
        } }));
        assert_eq!(start.model.as_deref(), Some("m-1"));
        let expected = Reported { fresh: Some(3), cache_read: Some(100), cache_write: Some(20), output: Some(1) };
        assert_eq!(start.tokens, expected);
        let delta = |delta: Value| part(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
        assert_eq!(delta(json!({ "type": "text_delta", "text": "{" })).text, "{");
        assert_eq!(delta(json!({ "type": "input_json_delta", "partial_json": "{\"a" })).text, "{\"a");
        assert_eq!(delta(json!({ "type": "thinking_delta", "thinking": "hm" })).thought, 2);
        assert_eq!(delta(json!({ "type": "signature_delta", "signature": "x" })), super::Part::default());
        for (reason, stop) in [
            ("end_turn", Stop::Done),
            ("tool_use", Stop::Done),
            ("max_tokens", Stop::Length),
            ("refusal", Stop::Filter),
        ] {
            let event =
                json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": { "output_tokens": 5 } });
            assert_eq!((part(&event).stop, part(&event).tokens.output), (Some(stop), Some(5)));
        }
        assert!(part(&json!({ "type": "message_stop" })).end);
        assert_eq!(part(&json!({ "type": "ping" })), super::Part::default());
        assert_eq!(part(&json!({ "type": "content_block_start", "index": 0 })), super::Part::default());
    }
}
