//! Chat completions as `OpenAI` defined them, the part of it that is needed. Pure.

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
    messages: Vec<Said>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Said {
    role: Role,
    content: Content,
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Asked> {
    let request: Request = serde_json::from_slice(body)?;
    let message = |said: Said| Message { role: said.role, content: said.content.text() };
    Ok(Asked {
        model: request.model,
        messages: request.messages.into_iter().map(message).collect(),
        stream: request.stream,
        usage: request.stream_options.is_some_and(|options| options.include_usage),
        tool: None,
    })
}

/// The whole answer at once.
pub(super) fn whole(envelope: &Envelope, text: &str, tokens: Tokens) -> Value {
    json!({
        "id": envelope.id,
        "object": "chat.completion",
        "created": envelope.created.unix_timestamp(),
        "model": envelope.model,
        "system_fingerprint": "nexus-replay",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text },
            "finish_reason": "stop",
        }],
        "usage": usage(tokens),
    })
}

/// The events of a streamed answer.
pub(super) fn events(envelope: &Envelope, text: &str, tokens: Tokens, with_usage: bool) -> Vec<String> {
    let chunk = |delta: Value, finish_reason: Option<&str>| {
        event(envelope, &json!([{ "index": 0, "delta": delta, "finish_reason": finish_reason }]), &Value::Null)
    };
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
    events.extend(pieces(text).iter().map(|piece| chunk(json!({ "content": piece }), None)));
    events.push(chunk(json!({}), Some("stop")));
    if with_usage {
        events.push(event(envelope, &json!([]), &usage(tokens)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
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
