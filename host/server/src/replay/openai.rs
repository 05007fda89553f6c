//! Chat completions as `OpenAI` defined them, the part of it that is needed. Pure.

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
    messages: Vec<Said>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    tool_choice: Value,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Said {
    System {
        content: Content,
    },
    User {
        content: Content,
    },
    Assistant {
        #[serde(default)]
        content: Option<Content>,
        #[serde(default)]
        tool_calls: Option<Vec<Called>>,
    },
    Tool {
        tool_call_id: String,
        content: Content,
    },
}

#[derive(Debug, Deserialize)]
struct Called {
    id: String,
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

impl Said {
    fn message(self) -> ChatMessage {
        match self {
            Self::System { content } => ChatMessage::System { content: content.text() },
            Self::User { content } => ChatMessage::User { content: content.text() },
            Self::Assistant { content, tool_calls } => ChatMessage::Assistant {
                content: content.map(Content::text).unwrap_or_default(),
                tool_calls: tool_calls
                    .unwrap_or_default()
                    .into_iter()
                    .map(|call| past(call.id, call.function.name, call.function.arguments.into()))
                    .collect(),
            },
            Self::Tool { tool_call_id, content } => {
                ChatMessage::Tool { id: tool_call_id, content: content.text(), failed: false }
            }
        }
    }
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Asked> {
    let request: Request = serde_json::from_slice(body)?;
    Ok(Asked {
        model: request.model,
        messages: request.messages.into_iter().map(Said::message).collect(),
        stream: request.stream,
        usage: request.stream_options.is_some_and(|options| options.include_usage),
        tools: !request.tools.is_empty() && request.tool_choice != "none",
        tool: None,
    })
}

/// The whole answer at once.
pub(super) fn whole(envelope: &Envelope, answer: &Answer, tokens: Tokens) -> Value {
    let mut message = json!({ "role": "assistant", "content": answer.text });
    if !answer.calls.is_empty() {
        let call = |call: &Call| called(call, &call.arguments);
        message["tool_calls"] = answer.calls.iter().map(call).collect();
        if answer.text.is_empty() {
            message["content"] = Value::Null;
        }
    }
    json!({
        "id": envelope.id,
        "object": "chat.completion",
        "created": envelope.created.unix_timestamp(),
        "model": envelope.model,
        "system_fingerprint": "nexus-replay",
        "choices": [{ "index": 0, "message": message, "finish_reason": reason(answer) }],
        "usage": usage(tokens),
    })
}

/// The events of a streamed answer.
pub(super) fn events(envelope: &Envelope, answer: &Answer, tokens: Tokens, with_usage: bool) -> Vec<String> {
    let chunk = |delta: Value, finish_reason: Option<&str>| {
        event(envelope, &json!([{ "index": 0, "delta": delta, "finish_reason": finish_reason }]), &Value::Null)
    };
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
    events.extend(pieces(&answer.text).iter().map(|piece| chunk(json!({ "content": piece }), None)));
    for (index, call) in answer.calls.iter().enumerate() {
        let mut begun = called(call, "");
        begun["index"] = json!(index);
        events.push(chunk(json!({ "tool_calls": [begun] }), None));
        events.extend(pieces(&call.arguments).iter().map(|piece| {
            chunk(json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }), None)
        }));
    }
    events.push(chunk(json!({}), Some(reason(answer))));
    if with_usage {
        events.push(event(envelope, &json!([]), &usage(tokens)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn reason(answer: &Answer) -> &'static str {
    if answer.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn called(call: &Call, arguments: &str) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
}

fn event(envelope: &Envelope, choices: &Value, usage: &Value) -> String {
    let data = json!({
        "id": envelope.id,
        "object": "chat.completion.chunk",
        "created": envelope.created.unix_timestamp(),
        "model": envelope.model,
        "system_fingerprint": "nexus-replay",
        "choices": choices,
        "usage": usage,
    });
    format!("data: {data}\n\n")
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": u64::from(tokens.input) + u64::from(tokens.output),
    })
}

pub(super) fn error(refusal: &Refusal) -> Value {
    json!({ "error": { "message": refusal.message, "type": refusal.kind, "code": refusal.kind } })
}
