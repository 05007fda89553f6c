//! The Messages API of Anthropic (<https://platform.claude.com/docs/en/api/messages>).

use nexus_model::{ChatMessage, ToolRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Part, Stop, object, parsed, put, schema};
use crate::{
    calls::CallPiece,
    failure::{Failure, failed_midway},
    question::Question,
    settings::{ModelSettings, ResponseFormat},
    tokens::Reported,
};

/// The version of the API that this file speaks.
pub(super) const VERSION: &str = "2023-06-01";
/// The most tokens of an answer where neither the prompt nor the settings say; the API insists on a number.
const MAX_TOKENS: u32 = 8_192;
/// The tool that an answer is given with where its schema cannot be enforced.
const TOOL: &str = "answer";

pub(super) fn body(settings: &ModelSettings, question: &Question<'_>, messages: &[ChatMessage]) -> Value {
    let parameters = question.parameters;
    let (instructions, said) = spoken(messages);
    // The API wants at least one message; a prompt of instructions alone is one from the user.
    let (instructions, said) = if said.is_empty() {
        (Vec::new(), instructions.iter().map(|text| json!({ "role": "user", "content": text })).collect())
    } else {
        (instructions, said)
    };
    let mut body = json!({
        "model": settings.model,
        "max_tokens": parameters.max_tokens.or(settings.max_tokens).unwrap_or(MAX_TOKENS),
        "messages": said,
        "stream": true,
    });
    let blocks = instructions.iter().map(|text| json!({ "type": "text", "text": text })).collect::<Vec<_>>();
    put(
        &mut body,
        [
            ("system", (!blocks.is_empty()).then(|| Value::from(blocks))),
            ("temperature", parameters.temperature.map(Value::from)),
            ("top_p", parameters.top_p.map(Value::from)),
        ],
    );
    tools(&mut body, question, messages);
    form(&mut body, settings.response_format, question);
    body
}

/// The instructions, which stand beside the messages, and those.
fn spoken(messages: &[ChatMessage]) -> (Vec<&str>, Vec<Value>) {
    let mut instructions = Vec::new();
    let mut said: Vec<Value> = Vec::new();
    // The results of the calls of one turn belong into one message.
    let mut results: Vec<Value> = Vec::new();
    for message in messages {
        if let ChatMessage::Tool { id, content, failed } = message {
            results.push(answered(id, content, *failed));
            continue;
        }
        said.extend(together(&mut results));
        match message {
            ChatMessage::System { content } => instructions.push(content.as_str()),
            ChatMessage::User { content } => said.push(json!({ "role": "user", "content": content })),
            ChatMessage::Assistant { content, tool_calls } if !tool_calls.is_empty() => {
                let text = (!content.is_empty()).then(|| json!({ "type": "text", "text": content }));
                let blocks = text.into_iter().chain(tool_calls.iter().map(called)).collect::<Vec<_>>();
                said.push(json!({ "role": "assistant", "content": blocks }));
            }
            ChatMessage::Assistant { content, .. } if !content.is_empty() => {
                said.push(json!({ "role": "assistant", "content": content }));
            }
            // The API refuses a message that says nothing.
            ChatMessage::Assistant { .. } | ChatMessage::Tool { .. } => {}
        }
    }
    said.extend(together(&mut results));
    (instructions, said)
}

fn together(results: &mut Vec<Value>) -> Option<Value> {
    (!results.is_empty()).then(|| json!({ "role": "user", "content": std::mem::take(results) }))
}

fn answered(id: &str, content: &str, failed: bool) -> Value {
    let mut block = json!({ "type": "tool_result", "tool_use_id": id, "content": content });
    put(&mut block, [("is_error", failed.then_some(Value::Bool(true)))]);
    block
}

fn called(call: &ToolRequest) -> Value {
    json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": object(&call.arguments) })
}

/// The tools. Where a conversation has used some that may be used no more, the API insists that it is told of them.
fn tools(body: &mut Value, question: &Question<'_>, messages: &[ChatMessage]) {
    if !question.tools.is_empty() {
        let tools = question
            .tools
            .iter()
            .map(|tool| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.input }));
        body["tools"] = tools.collect();
        body["tool_choice"] = json!({ "type": "auto" });
        return;
    }
    let used = messages.iter().flat_map(|message| match message {
        ChatMessage::Assistant { tool_calls, .. } => tool_calls.as_slice(),
        _ => &[],
    });
    let mut names: Vec<&str> = used.map(|call| call.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        let gone = |name: &&str| json!({ "name": name, "input_schema": { "type": "object" } });
        body["tools"] = names.iter().map(gone).collect();
        body["tool_choice"] = json!({ "type": "none" });
    }
}

/// How a schema is asked for.
enum Form {
    /// Enforced.
    Enforced(Value),
    /// As the input of a tool that must be called.
    Tool,
}

fn form_of(format: ResponseFormat, question: &Question<'_>) -> Option<Form> {
    let schema = question.schema.filter(|schema| format != ResponseFormat::Text && schema["type"] == "object")?;
    let enforced = (format == ResponseFormat::JsonSchema).then(|| schema::enforceable(schema)).flatten();
    // A model that must call one tool can call no other.
    enforced.map(Form::Enforced).or_else(|| question.tools.is_empty().then_some(Form::Tool))
}

pub(super) fn tells_schema(settings: &ModelSettings, question: &Question<'_>) -> bool {
    form_of(settings.response_format, question).is_some()
}

fn form(body: &mut Value, format: ResponseFormat, question: &Question<'_>) {
    match form_of(format, question) {
        Some(Form::Enforced(schema)) => {
            body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema } });
        }
        Some(Form::Tool) => {
            body["tools"] =
                json!([{ "name": TOOL, "description": "Gives the answer.", "input_schema": question.schema }]);
            body["tool_choice"] = json!({ "type": "tool", "name": TOOL });
        }
        None => {}
    }
}

/// Without `tools`, the input of a tool is the answer.
pub(super) fn read(message: &[u8], tools: bool) -> Result<Part, Failure> {
    let event: Event = parsed(message, "a message of Anthropic")?;
    Ok(match event {
        Event::MessageStart { message } => {
            Part { model: message.model, tokens: message.usage.reported(), ..Part::default() }
        }
        Event::ContentBlockStart { index, content_block: Block::ToolUse { id, name } } => {
            Part { calls: vec![CallPiece { index, id, name, arguments: String::new() }], ..Part::default() }
        }
        Event::ContentBlockDelta { index, delta } => match delta {
            Delta::Input { partial_json: arguments } if tools => {
                Part { calls: vec![CallPiece { index, arguments, ..CallPiece::default() }], ..Part::default() }
            }
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
        Event::ContentBlockStart { .. } | Event::Other => Part::default(),
    })
}

/// One event of a streamed answer; the API may add others at any time.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        #[serde(default)]
        index: Option<u64>,
        #[serde(default)]
        content_block: Block,
    },
    ContentBlockDelta {
        #[serde(default)]
        index: Option<u64>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    ToolUse {
        id: String,
        name: String,
    },
    #[default]
    #[serde(other)]
    Other,
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
    use crate::{calls::CallPiece, tokens::Reported};

    fn part(event: &Value) -> super::Part {
        read(event.to_string().as_bytes(), false).unwrap()
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
    #[test]
    fn the_input_of_a_tool_is_a_call_where_there_are_tools() {
        let part = |event: &Value| read(event.to_string().as_bytes(), true).unwrap();
        let start = part(&json!({ "type": "content_block_start", "index": 1, "content_block": {
            "type": "tool_use", "id": "toolu_1", "name": "add", "input": {},
        } }));
        let begun = CallPiece { index: Some(1), id: "toolu_1".into(), name: "add".into(), arguments: String::new() };
        assert_eq!(start.calls, [begun]);
        let delta = part(&json!({ "type": "content_block_delta", "index": 1, "delta": {
            "type": "input_json_delta", "partial_json": "{\"n",
        } }));
        assert_eq!(delta.text, "");
        let more = CallPiece { index: Some(1), arguments: "{\"n".into(), ..CallPiece::default() };
        assert_eq!(delta.calls, [more]);
        for other in [json!({ "type": "text", "text": "" }), json!({ "type": "thinking", "thinking": "" })] {
            let start = json!({ "type": "content_block_start", "index": 0, "content_block": other });
            assert_eq!(part(&start), super::Part::default());
        }
    }
}
