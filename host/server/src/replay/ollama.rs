//! Ollama's own chat API, the part of it that is needed. Pure.

use nexus_model::{Message, Role};
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    WHAT,
    recording::Tokens,
    stream::pieces,
    wire::{Asked, Envelope, Refusal},
};

/// A request; what is not named here is ignored, as sampling settings do not change a recorded answer.
#[derive(Debug, Deserialize)]
struct Request {
    model: String,
    messages: Vec<Said>,
    /// An answer is streamed unless the request says otherwise.
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Said {
    role: Role,
    content: String,
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Asked> {
    let request: Request = serde_json::from_slice(body)?;
    let message = |said: Said| Message { role: said.role, content: said.content };
    Ok(Asked {
        model: request.model,
        messages: request.messages.into_iter().map(message).collect(),
        stream: request.stream.unwrap_or(true),
        usage: true,
        tool: None,
    })
}

/// The whole answer at once.
pub(super) fn whole(envelope: &Envelope, text: &str, tokens: Tokens) -> Value {
    last(envelope, text, tokens)
}

/// The lines of a streamed answer.
pub(super) fn lines(envelope: &Envelope, text: &str, tokens: Tokens) -> Vec<String> {
    let mut lines: Vec<String> = pieces(text).iter().map(|piece| format!("{}\n", part(envelope, piece))).collect();
    lines.push(format!("{}\n", last(envelope, "", tokens)));
    lines
}

fn part(envelope: &Envelope, text: &str) -> Value {
    json!({
        "model": envelope.model,
        "created_at": envelope.created.format(&Rfc3339).unwrap_or_default(),
        "message": { "role": "assistant", "content": text },
        "done": false,
    })
}

fn last(envelope: &Envelope, text: &str, tokens: Tokens) -> Value {
    let mut line = part(envelope, text);
    line["done"] = json!(true);
    line["done_reason"] = json!("stop");
    line["prompt_eval_count"] = json!(tokens.input);
    line["eval_count"] = json!(tokens.output);
    for duration in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
        line[duration] = json!(0);
    }
    line
}

/// The list of models.
pub(super) fn tags<'a>(models: impl Iterator<Item = &'a str>) -> Value {
    let model =
        |name: &str| json!({ "name": name, "model": name, "size": 0, "digest": "", "details": { "family": WHAT } });
    json!({ "models": models.map(model).collect::<Vec<_>>() })
}

pub(super) fn error(refusal: &Refusal) -> Value {
    json!({ "error": refusal.message })
}
