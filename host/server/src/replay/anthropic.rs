//! Anthropic's Messages API, the part of it that is needed. Pure.

use axum::http::StatusCode;
use nexus_model::ChatMessage;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    recording::Tokens,
    stream::pieces,
    wire::{Answer, Asked, Call, Content, Envelope, Refusal, past},
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
    tools: Vec<Value>,
    #[serde(default)]
    tool_choice: Option<ToolChoice>,
}

#[derive(Debug, Deserialize)]
struct Said {
    role: Speaker,
    content: Blocks,
}

/// A text, or its blocks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Blocks {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        #[serde(default)]
        content: Option<Content>,
        #[serde(default)]
        is_error: bool,
    },
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
    None,
    #[serde(other)]
    Other,
}

impl Said {
    /// The results of tools are messages of their own elsewhere.
    fn messages(self) -> Vec<ChatMessage> {
        let blocks = match self.content {
            Blocks::Text(text) => vec![Block::Text { text }],
            Blocks::Blocks(blocks) => blocks,
        };
        let mut content: Option<String> = None;
        let mut tool_calls = Vec::new();
        let mut messages = Vec::new();
        for block in blocks {
            match block {
                Block::Text { text } => content.get_or_insert_default().push_str(&text),
                Block::ToolUse { id, name, input } => tool_calls.push(past(id, name, input)),
                Block::ToolResult { tool_use_id, content, is_error } => messages.push(ChatMessage::Tool {
                    id: tool_use_id,
                    content: content.map(Content::text).unwrap_or_default(),
                    failed: is_error,
                }),
            }
        }
        match self.role {
            Speaker::User => messages.extend(content.map(|content| ChatMessage::User { content })),
            Speaker::Assistant => {
                messages.push(ChatMessage::Assistant { content: content.unwrap_or_default(), tool_calls });
            }
        }
        messages
    }
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Asked> {
    let request: Request = serde_json::from_slice(body)?;
    let system = request.system.map(Content::parts).unwrap_or_default().into_iter();
    let system = system.map(|content| ChatMessage::System { content });
    let said = request.messages.into_iter().flat_map(Said::messages);
    Ok(Asked {
        model: request.model,
        messages: system.chain(said).collect(),
        stream: request.stream,
        usage: true,
        tools: !request.tools.is_empty() && matches!(request.tool_choice, None | Some(ToolChoice::Other)),
        tool: match request.tool_choice {
            Some(ToolChoice::Tool { name }) => Some(name),
            Some(ToolChoice::None | ToolChoice::Other) | None => None,
        },
    })
}

/// The blocks of an answer: its text, or the tool that it must be given with and it as the input, which only an object can
/// be; then the tools that are wanted.
fn spoken(envelope: &Envelope, answer: &Answer, tool: Option<&str>) -> Vec<Spoken> {
    let form = |name: &str| {
        serde_json::from_str::<Value>(&answer.text).ok().filter(Value::is_object)?;
        let id = format!("toolu_{}", envelope.id);
        Some(Spoken::Call(Call { id, name: name.to_owned(), arguments: answer.text.clone() }))
    };
    let text = || (!answer.text.is_empty() || answer.calls.is_empty()).then(|| Spoken::Text(answer.text.clone()));
    let said = tool.and_then(form).or_else(text);
    said.into_iter().chain(answer.calls.iter().cloned().map(Spoken::Call)).collect()
}

enum Spoken {
    Text(String),
    Call(Call),
}

impl Spoken {
    /// The block, whole or as it begins in a stream.
    fn block(&self, whole: bool) -> Value {
        match self {
            Self::Text(text) => json!({ "type": "text", "text": if whole { text } else { "" } }),
            Self::Call(call) => {
                let input = if whole { call.value() } else { json!({}) };
                json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input })
            }
        }
    }

    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Text(text) => {
                pieces(text).iter().map(|piece| json!({ "type": "text_delta", "text": piece })).collect()
            }
            Self::Call(call) => {
                let piece = |piece| json!({ "type": "input_json_delta", "partial_json": piece });
                pieces(&call.arguments).iter().map(piece).collect()
            }
        }
    }
}

fn reason(blocks: &[Spoken]) -> &'static str {
    if blocks.iter().any(|block| matches!(block, Spoken::Call(_))) { "tool_use" } else { "end_turn" }
}

/// The whole answer at once.
pub(super) fn whole(envelope: &Envelope, answer: &Answer, tokens: Tokens, tool: Option<&str>) -> Value {
    let blocks = spoken(envelope, answer, tool);
    let content = blocks.iter().map(|block| block.block(true)).collect();
    message(envelope, &content, Some(reason(&blocks)), &usage(tokens.input, tokens.output))
}

/// The events of a streamed answer.
pub(super) fn events(envelope: &Envelope, answer: &Answer, tokens: Tokens, tool: Option<&str>) -> Vec<String> {
    let blocks = spoken(envelope, answer, tool);
    let start = message(envelope, &json!([]), None, &usage(tokens.input, 1));
    let mut events = vec![event(&json!({ "type": "message_start", "message": start }))];
    for (index, block) in blocks.iter().enumerate() {
        let begun = block.block(false);
        events.push(event(&json!({ "type": "content_block_start", "index": index, "content_block": begun })));
        if index == 0 {
            events.push(event(&json!({ "type": "ping" })));
        }
        let delta = |delta| event(&json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        events.extend(block.deltas().into_iter().map(delta));
        events.push(event(&json!({ "type": "content_block_stop", "index": index })));
    }
    events.push(event(&json!({
        "type": "message_delta",
        "delta": { "stop_reason": reason(&blocks), "stop_sequence": null },
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
