//! Anthropic's Messages API, the part of it that is needed. Pure.

use axum::http::StatusCode;
use nexus_model::{Message, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    recording::Tokens,
    stream::pieces,
    wire::{Asked, Content, Envelope, Refusal},
};

/// A request; what is not named here is ignored, as sampling settings do not change a recorded answer.
#[derive(Debug, Deserialize)]
struct Request {
    model: String,
    /// The API insists on it.
    #[serde(rename = "max_tokens")]
    _max_tokens: u32,
    #[serde(default)]
    system: Option<Content>,
    messages: Vec<Said>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    tool_choice: Option<ToolChoice>,
}

#[derive(Debug, Deserialize)]
struct Said {
    role: Speaker,
    content: Content,
}

/// There is no message of the system: what it says stands beside them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    User,
    Assistant,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolChoice {
    Tool {
        name: String,
    },
    #[serde(other)]
    Other,
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Asked> {
    let request: Request = serde_json::from_slice(body)?;
    let system = request.system.map(Content::parts).unwrap_or_default().into_iter();
    let system = system.map(|content| Message { role: Role::System, content });
    let said = request.messages.into_iter().map(|said| Message {
        role: match said.role {
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        },
        content: said.content.text(),
    });
    Ok(Asked {
        model: request.model,
        messages: system.chain(said).collect(),
        stream: request.stream,
        usage: true,
        tool: match request.tool_choice {
            Some(ToolChoice::Tool { name }) => Some(name),
            Some(ToolChoice::Other) | None => None,
        },
    })
}

/// The tool that the answer is given with, and the answer as its input; only an object can be one.
fn called<'a>(tool: Option<&'a str>, text: &str) -> Option<(&'a str, Value)> {
    Some((tool?, serde_json::from_str(text).ok().filter(Value::is_object)?))
}

/// The whole answer at once.
pub(super) fn whole(envelope: &Envelope, text: &str, tokens: Tokens, tool: Option<&str>) -> Value {
    let (content, reason) = match called(tool, text) {
        Some((name, input)) => (block(envelope, Some(name), &input, ""), "tool_use"),
        None => (block(envelope, None, &Value::Null, text), "end_turn"),
    };
    message(envelope, &json!([content]), Some(reason), &usage(tokens.input, tokens.output))
}

/// The events of a streamed answer.
pub(super) fn events(envelope: &Envelope, text: &str, tokens: Tokens, tool: Option<&str>) -> Vec<String> {
    let tool = called(tool, text).map(|(name, _)| name);
    let delta = |piece: &String| match tool {
        Some(_) => json!({ "type": "input_json_delta", "partial_json": piece }),
        None => json!({ "type": "text_delta", "text": piece }),
    };
    let reason = if tool.is_some() { "tool_use" } else { "end_turn" };
    let start = message(envelope, &json!([]), None, &usage(tokens.input, 1));
    let mut events = vec![
        event(&json!({ "type": "message_start", "message": start })),
        event(
            &json!({ "type": "content_block_start", "index": 0, "content_block": block(envelope, tool, &json!({}), "") }),
        ),
        event(&json!({ "type": "ping" })),
    ];
    let deltas = pieces(text);
    events.extend(
        deltas.iter().map(|piece| event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta(piece) }))),
    );
    events.push(event(&json!({ "type": "content_block_stop", "index": 0 })));
    events.push(event(&json!({
        "type": "message_delta",
        "delta": { "stop_reason": reason, "stop_sequence": null },
        "usage": { "output_tokens": tokens.output },
    })));
    events.push(event(&json!({ "type": "message_stop" })));
    events
}

fn message(envelope: &Envelope, content: &Value, stop_reason: Option<&str>, usage: &Value) -> Value {
    json!({
        "id": format!("msg_{}", envelope.id),
        "type": "message",
        "role": "assistant",
        "model": envelope.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn block(envelope: &Envelope, tool: Option<&str>, input: &Value, text: &str) -> Value {
    match tool {
        Some(name) => {
            json!({ "type": "tool_use", "id": format!("toolu_{}", envelope.id), "name": name, "input": input })
        }
        None => json!({ "type": "text", "text": text }),
    }
}

fn usage(input: u32, output: u32) -> Value {
    json!({
        "input_tokens": input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
    })
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

pub(super) fn error(refusal: &Refusal) -> Value {
    let kind = match refusal.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": refusal.message } })
}
