//! Conversations with each provider: tools that a model wants, what they answered, and how it ends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_llm::{LanguageModels, Provider};
use nexus_model::{
    ChatMessage, ConverseRequest, ModelError, ModelErrorKind, ModelParameters, ModelProvider, ModelTool, NanoUsd,
    Reply, ToolRequest, Usage,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    KEY, Pieces,
    endpoint::{Endpoint, Step},
    models,
    spoken::{PROVIDERS, Wish, answered, ending, opening, piece, refusal, settings, wished, wishes},
};

const ADD: Wish<'_> = ("toolu_a", "add", r#"{"one":1,"other":41}"#);
const NOW: Wish<'_> = ("toolu_b", "now", "");

fn tool(name: &str) -> ModelTool {
    ModelTool {
        name: name.to_owned(),
        description: format!("Does {name}."),
        input: json!({ "type": "object", "properties": { "one": { "type": "integer" } } }),
    }
}

fn asked() -> Vec<ChatMessage> {
    vec![
        ChatMessage::System { content: "You count.".to_owned() },
        ChatMessage::User { content: "one and forty-one".to_owned() },
    ]
}

/// A conversation in which two tools were used, one of them in vain.
fn used() -> Vec<ChatMessage> {
    let call = |id: &str, name: &str, arguments: Value| ToolRequest { id: id.into(), name: name.into(), arguments };
    let mut messages = asked();
    messages.extend([
        ChatMessage::Assistant {
            content: "Let me see.".to_owned(),
            tool_calls: vec![call("a", "add", json!({ "one": 1 })), call("b", "now", json!("{\"zone"))],
        },
        ChatMessage::Tool { id: "a".to_owned(), content: "42".to_owned(), failed: false },
        ChatMessage::Tool { id: "b".to_owned(), content: "that is not JSON".to_owned(), failed: true },
    ]);
    messages
}

fn request(messages: Vec<ChatMessage>) -> ConverseRequest {
    ConverseRequest {
        model: "small".to_owned(),
        messages,
        tools: vec![tool("add"), tool("now")],
        parameters: ModelParameters { temperature: Some(0.0), max_tokens: Some(50), top_p: None },
        schema: Some(crate::request().schema),
        timeout: Duration::from_secs(20),
    }
}

async fn converse(
    provider: Provider,
    endpoint: &Endpoint,
    request: &ConverseRequest,
) -> (Result<Reply, ModelError>, Vec<String>) {
    let models = models(settings(provider, endpoint), Some(KEY));
    let mut pieces = Pieces::default();
    let result = models.converse(request, Some(&mut pieces)).await;
    let shown = format!("{models:?} {result:?}");
    assert!(!shown.contains(KEY), "the key shows: {shown}");
    if let Err(error) = &result {
        assert!(!error.hint.is_empty() && error.detail.chars().count() <= 500, "{error}");
    }
    (result, pieces.0)
}

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    let cost = Some(NanoUsd(input_tokens * 150 + output_tokens * 600));
    Usage { input_tokens, cached_input_tokens: 0, output_tokens, cost }
}

/// Ollama gives calls no identifiers.
fn id(provider: Provider, given: &str, made: &str) -> String {
    if provider == Provider::Ollama { made } else { given }.to_owned()
}

#[tokio::test]
async fn a_model_may_want_one_tool() {
    for provider in PROVIDERS {
        let endpoint = Endpoint::start(vec![wished(provider, "Let me see.", &[ADD], 1_203, 7)]).await;
        let (result, pieces) = converse(provider, &endpoint, &request(asked())).await;
        let reply = result.unwrap();
        let wanted = ToolRequest {
            id: id(provider, "toolu_a", "call_1"),
            name: "add".to_owned(),
            arguments: json!({ "one": 1, "other": 41 }),
        };
        assert_eq!(reply.tool_calls, [wanted], "{provider:?}");
        assert_eq!((reply.content.as_str(), reply.value), ("Let me see.", None), "{provider:?}");
        assert_eq!(reply.usage, usage(1_203, 7), "{provider:?}");
        assert_eq!(reply.by.alias, "small");
        assert_eq!(pieces, ["Let me see."], "{provider:?}");

        let sent = endpoint.requests().remove(0);
        let key = if provider == Provider::Anthropic { "x-api-key: " } else { "authorization: Bearer " };
        assert!(sent.head.contains(&format!("{key}{KEY}")), "{}", sent.head);
        let form = &tool("add");
        let (told, choice) = match provider {
            Provider::Anthropic => (
                json!({ "name": "add", "description": form.description, "input_schema": form.input }),
                json!({ "type": "auto" }),
            ),
            _ => (
                json!({ "type": "function", "function": {
                    "name": "add", "description": form.description, "parameters": form.input,
                } }),
                if provider == Provider::OpenAi { json!("auto") } else { Value::Null },
            ),
        };
        assert_eq!((&sent.body["tools"][0], &sent.body["tool_choice"]), (&told, &choice), "{provider:?}");
        assert_eq!(sent.body["tools"].as_array().map(Vec::len), Some(2), "{provider:?}");
    }
}

#[tokio::test]
async fn a_model_may_want_tools_at_one_time() {
    for provider in PROVIDERS {
        let again = ("toolu_c", "add", r#"{"one":"é"}"#);
        let endpoint = Endpoint::start(vec![wished(provider, "", &[ADD, NOW, again], 10, 20)]).await;
        let reply = converse(provider, &endpoint, &request(asked())).await.0.unwrap();
        let wanted = |given, made, name: &str, arguments| ToolRequest {
            id: id(provider, given, made),
            name: name.to_owned(),
            arguments,
        };
        let expected = [
            wanted("toolu_a", "call_1", "add", json!({ "one": 1, "other": 41 })),
            // Ollama's call has a text where its arguments are none.
            wanted("toolu_b", "call_2", "now", json!({})),
            wanted("toolu_c", "call_3", "add", json!({ "one": "é" })),
        ];
        assert_eq!(reply.tool_calls, expected, "{provider:?}");
        assert_eq!((reply.content.as_str(), reply.usage), ("", usage(10, 20)), "{provider:?}");
    }
}

#[tokio::test]
async fn what_tools_answered_is_sent_back_in_the_providers_form() {
    for provider in PROVIDERS {
        let endpoint = Endpoint::start(vec![answered(provider, &["{\"sum\":", "42}"], 30, 5)]).await;
        let (result, pieces) = converse(provider, &endpoint, &request(used())).await;
        let reply = result.unwrap();
        assert_eq!((reply.value, reply.content.as_str()), (Some(json!({ "sum": 42 })), "{\"sum\":42}"));
        assert_eq!((reply.tool_calls, reply.usage), (vec![], usage(30, 5)), "{provider:?}");
        assert_eq!(pieces, ["{\"sum\":", "42}"], "{provider:?}");

        let messages = endpoint.requests()[0].body["messages"].as_array().unwrap().clone();
        let expected = match provider {
            Provider::OpenAi => vec![
                json!({ "role": "assistant", "content": "Let me see.", "tool_calls": [
                    { "id": "a", "type": "function", "function": { "name": "add", "arguments": "{\"one\":1}" } },
                    { "id": "b", "type": "function", "function": { "name": "now", "arguments": "{\"zone" } },
                ] }),
                json!({ "role": "tool", "tool_call_id": "a", "content": "42" }),
                json!({ "role": "tool", "tool_call_id": "b", "content": "The tool failed: that is not JSON" }),
            ],
            Provider::Anthropic => vec![
                json!({ "role": "assistant", "content": [
                    { "type": "text", "text": "Let me see." },
                    { "type": "tool_use", "id": "a", "name": "add", "input": { "one": 1 } },
                    { "type": "tool_use", "id": "b", "name": "now", "input": { "invalid": "{\"zone" } },
                ] }),
                json!({ "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "a", "content": "42" },
                    { "type": "tool_result", "tool_use_id": "b", "content": "that is not JSON", "is_error": true },
                ] }),
            ],
            Provider::Ollama => vec![
                json!({ "role": "assistant", "content": "Let me see.", "tool_calls": [
                    { "function": { "name": "add", "arguments": { "one": 1 } } },
                    { "function": { "name": "now", "arguments": { "invalid": "{\"zone" } } },
                ] }),
                json!({ "role": "tool", "tool_name": "add", "content": "42" }),
                json!({ "role": "tool", "tool_name": "now", "content": "The tool failed: that is not JSON" }),
            ],
        };
        assert_eq!(messages[messages.len() - expected.len()..], expected, "{provider:?}");
    }
}

#[tokio::test]
async fn the_answer_at_the_end_is_repaired_once() {
    for provider in PROVIDERS {
        let scripts = vec![
            answered(provider, &["{\"sum\":", "\"two\"}"], 10, 3),
            answered(provider, &["{\"su", "m\":42}"], 30, 5),
        ];
        let endpoint = Endpoint::start(scripts).await;
        let (result, pieces) = converse(provider, &endpoint, &request(used())).await;
        let reply = result.unwrap();
        assert_eq!((reply.value, reply.content.as_str()), (Some(json!({ "sum": 42 })), "{\"sum\":42}"));
        assert_eq!(reply.usage, usage(40, 8), "{provider:?}");
        assert_eq!(pieces, ["{\"sum\":", "\"two\"}", "<restart>", "{\"su", "m\":42}"], "{provider:?}");
        let second = &endpoint.requests()[1].body;
        let last = second["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
        assert!(last.contains("/sum: "), "{last}");
        assert_eq!(second["tools"].as_array().map(Vec::len), Some(2), "{provider:?}");
    }
    for provider in PROVIDERS {
        let endpoint =
            Endpoint::start(vec![answered(provider, &["42"], 10, 3), answered(provider, &["no"], 1, 1)]).await;
        let error = converse(provider, &endpoint, &request(used())).await.0.unwrap_err();
        assert_eq!((error.kind, error.usage), (ModelErrorKind::NotJson, usage(11, 4)), "{provider:?}");
    }
}

#[tokio::test]
async fn who_is_asked_for_a_better_answer_may_want_a_tool() {
    for provider in PROVIDERS {
        let scripts = vec![answered(provider, &["I need more"], 10, 3), wished(provider, "Then", &[ADD], 30, 5)];
        let endpoint = Endpoint::start(scripts).await;
        let reply = converse(provider, &endpoint, &request(asked())).await.0.unwrap();
        assert_eq!((reply.tool_calls.len(), reply.content.as_str(), reply.value), (1, "Then", None), "{provider:?}");
        assert_eq!(reply.usage, usage(40, 8), "{provider:?}");
    }
}

#[tokio::test]
async fn the_schema_is_told_with_the_request_or_else_in_the_instructions() {
    let schema = crate::request().schema;
    for provider in PROVIDERS {
        for tools in [true, false] {
            let endpoint = Endpoint::start(vec![answered(provider, &["{\"sum\":42}"], 1, 1)]).await;
            let mut request = request(asked());
            request.tools.retain(|_| tools);
            converse(provider, &endpoint, &request).await.0.unwrap();
            let body = endpoint.requests().remove(0).body;
            let (form, instructions) = match provider {
                Provider::OpenAi => (&body["response_format"]["json_schema"]["schema"], &body["messages"][0]),
                Provider::Anthropic => (&body["output_config"]["format"]["schema"], &body["system"][0]),
                Provider::Ollama => (&body["format"], &body["messages"][0]),
            };
            let instructions = instructions["content"].as_str().or(instructions["text"].as_str()).unwrap();
            // Anthropic alone takes both.
            if tools && provider != Provider::Anthropic {
                assert_eq!(form, &Value::Null, "{provider:?}");
                assert!(instructions.starts_with("You count.\n\n"), "{provider:?}: {instructions}");
                assert!(instructions.contains(&schema.to_string()), "{provider:?}: {instructions}");
            } else {
                assert_eq!((form, instructions), (&*schema, "You count."), "{provider:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_schema_any_text_is_an_answer() {
    for provider in PROVIDERS {
        let endpoint = Endpoint::start(vec![answered(provider, &["It is ", "42."], 10, 3)]).await;
        let request = ConverseRequest { schema: None, ..request(used()) };
        let reply = converse(provider, &endpoint, &request).await.0.unwrap();
        assert_eq!((reply.content.as_str(), reply.value, reply.usage), ("It is 42.", None, usage(10, 3)));
        let body = endpoint.requests().remove(0).body.to_string();
        assert!(["response_format", "output_config", "\"format\""].iter().all(|form| !body.contains(form)), "{body}");
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_stay_a_text() {
    for provider in PROVIDERS {
        let bad = ("toolu_a", "add", "{\"one\": 1, é");
        let endpoint = Endpoint::start(vec![wished(provider, "", &[bad, ADD], 1, 1)]).await;
        let reply = converse(provider, &endpoint, &request(asked())).await.0.unwrap();
        let arguments: Vec<&Value> = reply.tool_calls.iter().map(|call| &call.arguments).collect();
        assert_eq!(arguments, [&json!("{\"one\": 1, é"), &json!({ "one": 1, "other": 41 })], "{provider:?}");
    }
}

#[tokio::test]
async fn a_call_that_breaks_off_is_none() {
    for provider in PROVIDERS {
        for script in [
            vec![opening(provider, 1), wishes(provider, &[ADD])],
            vec![opening(provider, 1), wishes(provider, &[ADD]), ending(provider, false, 1, 1)],
        ] {
            let endpoint = Endpoint::start(vec![script]).await;
            let error = converse(provider, &endpoint, &request(asked())).await.0.unwrap_err();
            assert_eq!(error.kind, ModelErrorKind::Truncated, "{provider:?}: {error}");
            assert_eq!(endpoint.requests().len(), 1, "{provider:?}: asked again");
        }
    }
}

#[tokio::test]
async fn failures_have_the_names_that_they_have_for_answers() {
    for provider in PROVIDERS {
        let impatient = Duration::from_millis(300);
        let slow_down = || refusal(provider, "429 Too Many Requests", "retry-after: 12\r\n", "rate_limit_error", "no");
        let wrong_key = || refusal(provider, "401 Unauthorized", "", "authentication_error", &format!("not {KEY}"));
        let silence = || vec![opening(provider, 1), piece(provider, "Let"), Step::Sleep(Duration::from_mins(1))];
        for (script, kind) in [
            (slow_down(), ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(12)) }),
            (wrong_key(), ModelErrorKind::Unauthorized),
            (silence(), ModelErrorKind::Timeout),
            (vec![], ModelErrorKind::Unreachable),
        ] {
            let timeout = if kind == ModelErrorKind::Timeout { impatient } else { Duration::from_secs(20) };
            let endpoint = Endpoint::start(vec![script]).await;
            let request = ConverseRequest { timeout, ..request(asked()) };
            let error = converse(provider, &endpoint, &request).await.0.unwrap_err();
            assert_eq!(error.kind, kind, "{provider:?}: {error}");
        }
    }
    let endpoint = Endpoint::start(vec![vec![]]).await;
    let unknown = ConverseRequest { model: "large".to_owned(), ..request(asked()) };
    let error = converse(Provider::OpenAi, &endpoint, &unknown).await.0.unwrap_err();
    assert_eq!((error.kind, error.model.as_str()), (ModelErrorKind::UnknownModel, "large"));
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn wishes_are_bounded_in_number_and_in_bytes() {
    for provider in PROVIDERS {
        let ids: Vec<String> = (0..65).map(|n| format!("toolu_{n}")).collect();
        let many: Vec<Wish<'_>> = ids.iter().map(|id| (id.as_str(), "add", "{}")).collect();
        let long = format!("{{\"one\":\"{}\"}}", "x".repeat(1 << 20));
        for (calls, count) in [(&many[..64], Some(64)), (&many[..], None), (&[("toolu_a", "add", &*long)], None)] {
            let endpoint = Endpoint::start(vec![wished(provider, "", calls, 1, 1)]).await;
            let result = converse(provider, &endpoint, &request(asked())).await.0;
            assert_eq!(result.as_ref().ok().map(|reply| reply.tool_calls.len()), count, "{provider:?}");
            if let Err(error) = result {
                assert_eq!(error.kind, ModelErrorKind::TooLarge, "{provider:?}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn who_is_told_of_no_tools_wants_none() {
    for provider in PROVIDERS {
        let endpoint = Endpoint::start(vec![answered(provider, &["{\"sum\":42}"], 1, 1)]).await;
        let request = ConverseRequest { tools: Vec::new(), ..request(used()) };
        converse(provider, &endpoint, &request).await.0.unwrap();
        let body = endpoint.requests().remove(0).body;
        if provider == Provider::Anthropic {
            // The API insists on being told of tools that were used before.
            assert_eq!((&body["tools"][0]["name"], &body["tools"][1]["name"]), (&json!("add"), &json!("now")));
            assert_eq!(body["tool_choice"], json!({ "type": "none" }));
        } else {
            assert_eq!((&body["tools"], &body["tool_choice"]), (&Value::Null, &Value::Null), "{provider:?}");
        }
    }
    for provider in [Provider::OpenAi, Provider::Ollama] {
        let endpoint = Endpoint::start(vec![wished(provider, "Well", &[ADD], 1, 1)]).await;
        let request = ConverseRequest { tools: Vec::new(), schema: None, ..request(used()) };
        let reply = converse(provider, &endpoint, &request).await.0.unwrap();
        assert_eq!((reply.content.as_str(), reply.tool_calls), ("Well", vec![]), "{provider:?}");
    }
}

#[tokio::test]
async fn an_open_schema_is_anthropics_tool_only_where_there_are_no_others() {
    let schema = Arc::new(json!({ "type": "object", "properties": { "sum": { "type": "integer" } } }));
    for tools in [true, false] {
        let provider = Provider::Anthropic;
        let script = if tools {
            answered(provider, &["{\"sum\":42}"], 1, 1)
        } else {
            wished(provider, "", &[("toolu_x", "answer", "{\"sum\":42}")], 1, 1)
        };
        let endpoint = Endpoint::start(vec![script]).await;
        let mut request = ConverseRequest { schema: Some(Arc::clone(&schema)), ..request(used()) };
        request.tools.retain(|_| tools);
        let reply = converse(provider, &endpoint, &request).await.0.unwrap();
        assert_eq!((reply.value, reply.tool_calls), (Some(json!({ "sum": 42 })), vec![]));
        let body = endpoint.requests().remove(0).body;
        let instructed = body["system"][0]["text"].as_str().unwrap().contains(&schema.to_string());
        assert_eq!((instructed, body["output_config"].is_null()), (tools, true));
        let choice = if tools { json!({ "type": "auto" }) } else { json!({ "type": "tool", "name": "answer" }) };
        assert_eq!(body["tool_choice"], choice);
    }
}

#[tokio::test]
async fn another_model_goes_on_with_the_conversation_where_one_cannot() {
    let limit = refusal(Provider::OpenAi, "429 Too Many Requests", "retry-after: 3\r\n", "rate_limit_error", "no");
    let first = Endpoint::start(vec![limit]).await;
    let second = Endpoint::start(vec![wished(Provider::Anthropic, "", &[ADD], 10, 5)]).await;
    let mut small = settings(Provider::OpenAi, &first);
    small["fallback"] = json!(["other"]);
    let mut other = settings(Provider::Anthropic, &second);
    other["price"] = json!({ "input_usd_per_million": 3, "output_usd_per_million": 15, "as_of": "2026-01-31" });
    let settings = [("small", small), ("other", other)];
    let settings = settings.map(|(alias, settings)| (alias.to_owned(), serde_json::from_value(settings).unwrap()));
    let keys: nexus_llm::KeyResolver = Arc::new(|_| Some(SecretString::from(KEY)));
    let models = LanguageModels::new(BTreeMap::from(settings), keys).unwrap();
    let mut pieces = Pieces::default();
    let reply = models.converse(&request(used()), Some(&mut pieces)).await.unwrap();
    assert_eq!((reply.by.alias.as_str(), reply.tool_calls.len()), ("other", 1));
    assert_eq!(reply.usage.cost, Some(NanoUsd(10 * 3_000 + 5 * 15_000)));
    assert_eq!(pieces.0.first().map(String::as_str), Some("<restart>"));
}
