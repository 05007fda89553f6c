//! Conversations with tools, turn by turn, in the protocols of all providers, asked as the server asks.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use nexus_llm::LanguageModels;
use nexus_model::{
    ChatMessage, ConverseRequest, ModelError, ModelErrorKind, ModelParameters, ModelProvider, ModelTool, Reply,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    super::{Options, ReplayError},
    Folder, OUTPUT, Pieces, StandIn, at_once, coder_recording, joined, recording,
};

const PROVIDERS: [&str; 3] = ["openai", "anthropic", "ollama"];
const QUESTION: &str = "How many files are there?";

/// One turn of the script.
fn turn(results: usize, answer: &Value, calls: &Value) -> Value {
    json!({
        "model": "small-1", "key": { "operation": "desk/read", "said": QUESTION, "results": results },
        "answer": answer, "tool_calls": calls,
        "tokens": { "input": 12, "output": 5 }, "latency_ms": 0, "origin": "written",
    })
}

/// Two tools at one time, then one more, then the answer.
fn script() -> Vec<Value> {
    let list = |folder: &str| json!({ "name": "files__list", "arguments": { "folder": folder, "é": "ü".repeat(20) } });
    vec![
        turn(0, &json!("Let me look."), &json!([list("a"), list("b")])),
        turn(2, &json!(""), &json!([{ "name": "files__count", "arguments": {} }])),
        turn(3, &json!({ "n": 12_000_000 }), &json!([])),
    ]
}

fn folder(lines: &[Value]) -> Folder {
    let folder = Folder::new();
    folder.put("recordings/desk/read.agent.jsonl", &joined(lines));
    folder
}

fn request(messages: Vec<ChatMessage>) -> ConverseRequest {
    let tool = |name: &str| ModelTool {
        name: name.to_owned(),
        description: "A tool.".to_owned(),
        input: json!({ "type": "object" }),
    };
    ConverseRequest {
        model: "small".to_owned(),
        messages,
        tools: vec![tool("files__list"), tool("files__count")],
        parameters: ModelParameters::default(),
        schema: Some(Arc::new(serde_json::from_str(OUTPUT).unwrap())),
        timeout: Duration::from_secs(2),
    }
}

fn opening() -> Vec<ChatMessage> {
    vec![ChatMessage::System { content: "You tidy up.".to_owned() }, ChatMessage::User { content: QUESTION.to_owned() }]
}

/// The conversation after a reply and what its tools answered.
fn gone_on(mut messages: Vec<ChatMessage>, reply: Reply) -> Vec<ChatMessage> {
    let answered = |id: &str| ChatMessage::Tool { id: id.to_owned(), content: "whatever".to_owned(), failed: false };
    let results: Vec<ChatMessage> = reply.tool_calls.iter().map(|call| answered(&call.id)).collect();
    messages.push(ChatMessage::Assistant { content: reply.content, tool_calls: reply.tool_calls });
    messages.extend(results);
    messages
}

async fn converse(
    stand_in: &StandIn,
    provider: &str,
    request: &ConverseRequest,
) -> (Result<Reply, ModelError>, Vec<String>) {
    let endpoint = stand_in.url(if provider == "ollama" { "" } else { "/v1" });
    let settings = json!({ "provider": provider, "endpoint": endpoint, "model": "small-1", "key": { "env": "KEY" } });
    let models = BTreeMap::from([("small".to_owned(), serde_json::from_value(settings).unwrap())]);
    let models = LanguageModels::new(models, Arc::new(|_| Some(SecretString::from("sk-test")))).unwrap();
    let mut pieces = Pieces::default();
    let result = models.converse(request, Some(&mut pieces)).await;
    (result, pieces.0)
}

#[tokio::test]
async fn a_script_is_followed_turn_by_turn_in_every_protocol() {
    let stand_in = StandIn::start(folder(&script()).load().unwrap(), at_once()).await;
    for provider in PROVIDERS {
        let (first, pieces) = converse(&stand_in, provider, &request(opening())).await;
        let first = first.unwrap();
        assert_eq!((first.content.as_str(), pieces.concat().as_str()), ("Let me look.", "Let me look."), "{provider}");
        let wanted = |call: usize| (first.tool_calls[call].name.as_str(), &first.tool_calls[call].arguments["folder"]);
        assert_eq!((wanted(0), wanted(1)), (("files__list", &json!("a")), ("files__list", &json!("b"))), "{provider}");
        assert_eq!(first.tool_calls[0].arguments["é"], "ü".repeat(20));
        assert_eq!((first.usage.input_tokens, first.usage.output_tokens), (12, 5), "{provider}");

        let messages = gone_on(opening(), first);
        let second = converse(&stand_in, provider, &request(messages.clone())).await.0.unwrap();
        assert_eq!((second.content.as_str(), second.tool_calls.len()), ("", 1), "{provider}");
        assert_eq!((second.tool_calls[0].name.as_str(), &second.tool_calls[0].arguments), ("files__count", &json!({})));

        let messages = gone_on(messages, second);
        let (last, pieces) = converse(&stand_in, provider, &request(messages)).await;
        let last = last.unwrap();
        assert_eq!((last.value, last.tool_calls), (Some(json!({ "n": 12_000_000 })), vec![]), "{provider}");
        assert!(pieces.len() > 1 && pieces.concat() == r#"{"n":12000000}"#, "{provider}: {pieces:?}");
    }
    assert_eq!(stand_in.stats().await["operations"], json!({ "desk/read (agent)": 9 }));
}

#[tokio::test]
async fn a_whole_answer_has_its_calls_in_every_protocol() {
    let stand_in = StandIn::start(folder(&script()).load().unwrap(), at_once()).await;
    let messages = json!([{ "role": "user", "content": QUESTION }]);
    for (path, tools, pointer) in [
        ("/v1/chat/completions", json!([{ "type": "function" }]), "/choices/0/message/tool_calls/1/function"),
        ("/v1/messages", json!([{ "name": "x" }]), "/content/2"),
        ("/api/chat", json!([{ "type": "function" }]), "/message/tool_calls/1/function"),
    ] {
        let body =
            json!({ "model": "small-1", "max_tokens": 9, "messages": messages, "tools": tools, "stream": false });
        let answer = super::client().post(stand_in.url(path)).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer.pointer(pointer).unwrap()["name"], "files__list", "{path}: {answer}");
        assert!(answer.to_string().contains("tool_use") == (path == "/v1/messages"), "{answer}");
        assert!(answer.to_string().contains("Let me look."), "{answer}");
    }
}

#[tokio::test]
async fn a_remark_changes_nothing_and_a_question_does() {
    let mut lines = script();
    let mut summary = turn(0, &json!({ "n": 1 }), &json!([]));
    summary["key"]["said"] = json!("Sum it up.");
    lines.push(summary);
    let folder = folder(&lines);
    let missing = folder.path().join("missing");
    let options = Options { missing: Some(missing.clone()), ..at_once() };
    let stand_in = StandIn::start(folder.load().unwrap(), options).await;
    for provider in PROVIDERS {
        let first = converse(&stand_in, provider, &request(opening())).await.0.unwrap();
        let behind = |text: &str| {
            let mut messages = gone_on(opening(), first.clone());
            messages.push(ChatMessage::User { content: text.to_owned() });
            messages
        };
        let remarked = converse(&stand_in, provider, &request(behind("Hurry up."))).await.0.unwrap();
        assert_eq!(remarked.tool_calls[0].name, "files__count", "{provider}");
        let summed_up = converse(&stand_in, provider, &request(behind("Sum it up."))).await.0.unwrap();
        assert_eq!(summed_up.value, Some(json!({ "n": 1 })), "{provider}");

        // Who may call no tools is not answered with calls.
        let bare = ConverseRequest { tools: Vec::new(), ..request(behind("Hurry up.")) };
        let error = converse(&stand_in, provider, &bare).await.0.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Rejected { status: 404 }, "{provider}: {error}");
    }
    let written = fs::read_dir(&missing).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let written: Vec<Value> = written.filter_map(|text| serde_json::from_str(&text).ok()).collect();
    assert!(!written.is_empty());
    for request in written {
        let expected = json!([{ "said": "Hurry up.", "results": 0 }, { "said": QUESTION, "results": 2 }]);
        assert_eq!(request["questions"], expected, "{request}");
    }
}

#[tokio::test]
async fn faults_are_met_by_calls_too() {
    let folder = folder(&script());
    for provider in PROVIDERS {
        for (faults, kind) in [
            ("429=1", ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(1)) }),
            ("500=1", ModelErrorKind::ProviderFailed { status: 500 }),
            ("truncate=1", ModelErrorKind::Truncated),
            ("stall=1", ModelErrorKind::Timeout),
        ] {
            let options = Options { faults: faults.parse().unwrap(), ..at_once() };
            let stand_in = StandIn::start(folder.load().unwrap(), options).await;
            let error = converse(&stand_in, provider, &request(opening())).await.0.unwrap_err();
            assert_eq!(error.kind, kind, "{provider}, {faults}: {error}");
        }
        for (faults, arguments) in [
            ("not_json=1", json!("I would rather answer in prose, on purpose.")),
            ("bad_schema=1", json!({ "this fails the schema": "on purpose" })),
        ] {
            let options = Options { faults: faults.parse().unwrap(), ..at_once() };
            let stand_in = StandIn::start(folder.load().unwrap(), options).await;
            let reply = converse(&stand_in, provider, &request(opening())).await.0.unwrap();
            assert_eq!(reply.tool_calls.len(), 2, "{provider}, {faults}");
            assert!(reply.tool_calls.iter().all(|call| call.arguments == arguments), "{provider}: {reply:?}");
        }
    }
}

#[test]
fn scripts_that_cannot_be_are_refused() {
    let mut elsewhere = turn(5, &json!(""), &json!([]));
    elsewhere["key"]["operation"] = json!("desk/write");
    let mut coders = turn(6, &json!(""), &json!([]));
    coders["prompt_sha256"] = json!("00");
    let nameless = turn(7, &json!(""), &json!([{ "arguments": {} }]));
    let folder =
        folder(&[turn(0, &json!(""), &json!([])), turn(0, &json!("x"), &json!([])), elsewhere, coders, nameless]);
    let calls = json!([{ "name": "now", "arguments": {} }]);
    let mut input = recording("seven", 7);
    input["tool_calls"] = calls.clone();
    folder.record(&[input]);
    let mut coder = coder_recording(1, "00");
    coder["tool_calls"] = calls;
    folder.record_coder(&[coder]);
    folder.put("recordings/desk/gone.agent.jsonl", "");

    let Err(ReplayError::Recordings(faults)) = folder.load() else { panic!("it was loaded") };
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    for expected in [
        "desk/gone.agent.jsonl: there is no operation `desk/gone`",
        "desk/read.agent.jsonl:2: the same model, question and number of results are there already",
        "desk/read.agent.jsonl:3: the recording is of `desk/write`",
        "desk/read.agent.jsonl:4: `prompt_sha256` belongs",
        "desk/read.agent.jsonl:5: missing field `name`",
        "desk/read.coder.jsonl:1: `tool_calls` belong",
        "desk/read.jsonl:1: `tool_calls` belong",
    ] {
        assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
    }
    assert_eq!(faults.len(), 7, "{faults:#?}");
}
