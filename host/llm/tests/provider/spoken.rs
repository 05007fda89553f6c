//! What each provider says on the wire, as its documentation has it.

use nexus_llm::Provider;
use serde_json::{Value, json};

use crate::endpoint::{Endpoint, Step, event};

pub(crate) const PROVIDERS: [Provider; 3] = [Provider::OpenAi, Provider::Anthropic, Provider::Ollama];

/// Settings of a model behind an endpoint that speaks so.
pub(crate) fn settings(provider: Provider, endpoint: &Endpoint) -> Value {
    let base = if provider == Provider::Ollama { format!("http://{}", endpoint.address) } else { endpoint.url() };
    json!({
        "provider": provider.as_str(),
        "endpoint": base,
        "model": "vendor/model-low",
        "key": { "env": "EXAMPLE_KEY" },
        "price": { "input_usd_per_million": 0.15, "output_usd_per_million": 0.6, "as_of": "2026-01-31" },
    })
}

/// The beginning of a streamed answer, which says that the prompt had so many tokens.
pub(crate) fn opening(provider: Provider, input: u64) -> Step {
    let first = match provider {
        Provider::Anthropic => {
            let usage = json!({ "input_tokens": input, "cache_read_input_tokens": 0, "output_tokens": 1 });
            named(&json!({ "type": "message_start", "message": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "model-1", "content": [],
                "stop_reason": null, "usage": usage,
            } }))
                + &named(
                    &json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
                )
                + &named(&json!({ "type": "ping" }))
        }
        Provider::OpenAi | Provider::Ollama => String::new(),
    };
    let kind = if provider == Provider::Ollama { "application/x-ndjson" } else { "text/event-stream" };
    Step::Send(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{first}"))
}

/// One piece of the answer.
pub(crate) fn piece(provider: Provider, text: &str) -> Step {
    Step::Send(match provider {
        Provider::OpenAi => {
            event(&json!({ "model": "model-1", "choices": [{ "index": 0, "delta": { "content": text } }] }))
        }
        Provider::Anthropic => named(
            &json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } }),
        ),
        Provider::Ollama => {
            line(&json!({ "model": "model-1", "message": { "role": "assistant", "content": text }, "done": false }))
        }
    })
}

/// The end of an answer: complete, or out of tokens.
pub(crate) fn ending(provider: Provider, complete: bool, input: u64, output: u64) -> Step {
    Step::Send(match provider {
        Provider::OpenAi => {
            let reason = if complete { "stop" } else { "length" };
            event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }))
                + &event(&json!({ "choices": [], "usage": { "prompt_tokens": input, "completion_tokens": output } }))
                + "data: [DONE]\n\n"
        }
        Provider::Anthropic => {
            let reason = if complete { "end_turn" } else { "max_tokens" };
            named(&json!({ "type": "content_block_stop", "index": 0 }))
                + &named(&json!({
                    "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null },
                    "usage": { "output_tokens": output },
                }))
                + &named(&json!({ "type": "message_stop" }))
        }
        Provider::Ollama => line(&json!({
            "model": "model-1", "message": { "role": "assistant", "content": "" }, "done": true,
            "done_reason": if complete { "stop" } else { "length" },
            "prompt_eval_count": input, "eval_count": output,
        })),
    })
}

/// A whole answer in pieces.
pub(crate) fn answered(provider: Provider, pieces: &[&str], input: u64, output: u64) -> Vec<Step> {
    let mut script = vec![opening(provider, input)];
    script.extend(pieces.iter().map(|text| piece(provider, text)));
    script.push(ending(provider, true, input, output));
    script
}

/// A tool that a model wants: the identifier, the name, and the arguments as it writes them.
pub(crate) type Wish<'a> = (&'a str, &'a str, &'a str);

/// The wishes of an answer, in pieces, without its end.
pub(crate) fn wishes(provider: Provider, wishes: &[Wish<'_>]) -> Step {
    let halves = |text: &str| {
        let (one, other) = text.split_at(text.len() / 2);
        [one.to_owned(), other.to_owned()]
    };
    let wishes = (0..).zip(wishes).collect::<Vec<(usize, _)>>();
    Step::Send(match provider {
        Provider::OpenAi => {
            let delta = |call: Value| event(&json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] }));
            let begun = wishes.iter().map(|(n, (id, name, _))| {
                let function = json!({ "name": name, "arguments": "" });
                delta(json!({ "index": n, "id": id, "type": "function", "function": function }))
            });
            // The pieces of all calls come mixed.
            let piece = |n: &usize, text: &str| delta(json!({ "index": n, "function": { "arguments": text } }));
            let rest = [0, 1]
                .into_iter()
                .flat_map(|half| wishes.iter().map(move |(n, (_, _, arguments))| piece(n, &halves(arguments)[half])));
            begun.chain(rest).collect()
        }
        Provider::Anthropic => {
            let block = |(n, (id, name, arguments)): &(usize, &Wish<'_>)| {
                let index = n + 1;
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                let pieces = halves(arguments).map(|half| {
                    let delta = json!({ "type": "input_json_delta", "partial_json": half });
                    named(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))
                });
                named(&json!({ "type": "content_block_start", "index": index, "content_block": block }))
                    + &pieces.concat()
                    + &named(&json!({ "type": "content_block_stop", "index": index }))
            };
            wishes.iter().map(block).collect()
        }
        Provider::Ollama => {
            let call = |(_, (_, name, arguments)): &(usize, &Wish<'_>)| {
                let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments));
                json!({ "function": { "name": name, "arguments": arguments } })
            };
            let calls: Vec<Value> = wishes.iter().map(call).collect();
            let message = json!({ "role": "assistant", "content": "", "tool_calls": calls });
            line(&json!({ "model": "model-1", "message": message, "done": false }))
        }
    })
}

/// A whole answer that wants tools to be used, after a text.
pub(crate) fn wished(provider: Provider, text: &str, calls: &[Wish<'_>], input: u64, output: u64) -> Vec<Step> {
    let Step::Send(end) = ending(provider, true, input, output) else { return Vec::new() };
    let end = match provider {
        Provider::OpenAi => end.replace("\"stop\"", "\"tool_calls\""),
        Provider::Anthropic => end.replace("\"end_turn\"", "\"tool_use\""),
        // It has no reason of its own for this.
        Provider::Ollama => end,
    };
    vec![opening(provider, input), piece(provider, text), wishes(provider, calls), Step::Send(end)]
}

/// An error after the answer began.
pub(crate) fn failure_midway(provider: Provider) -> Step {
    Step::Send(match provider {
        Provider::OpenAi => event(&json!({ "error": { "message": "overloaded", "code": 503 } })),
        Provider::Anthropic => {
            named(&json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } }))
        }
        Provider::Ollama => line(&json!({ "error": "an error was encountered while running the model" })),
    })
}

/// A refusal, with a body as the provider writes it.
pub(crate) fn refusal(provider: Provider, status: &str, headers: &str, kind: &str, message: &str) -> Vec<Step> {
    let body = match provider {
        Provider::OpenAi => json!({ "error": { "message": message, "type": kind, "code": kind } }),
        Provider::Anthropic => json!({ "type": "error", "error": { "type": kind, "message": message } }),
        Provider::Ollama => json!({ "error": message }),
    }
    .to_string();
    let length = body.len();
    vec![Step::Send(format!(
        "HTTP/1.1 {status}\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))]
}

/// The beginning of a message that never ends.
pub(crate) fn open_message(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "data: {\"choices\": [",
        Provider::Anthropic => "event: ping\ndata: {\"type\": \"",
        Provider::Ollama => "{\"message\": \"",
    }
}

fn named(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}
