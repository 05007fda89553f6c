//! What goes over the wire.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use nexus_model::{GenerateRequest, ModelErrorKind, ModelProvider};
use serde_json::json;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

use crate::{
    KEY, ask,
    endpoint::{Endpoint, Step, answered, ending, event, opening, refusal},
    models, request, settings,
};

#[tokio::test]
async fn a_request_is_sent_as_the_settings_say() {
    let endpoint = Endpoint::start(vec![answered(&[r#"{"sum":2}"#], 1, 1)]).await;
    ask(&endpoint, &request()).await.0.unwrap();

    let sent = endpoint.requests().remove(0);
    assert!(sent.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", sent.head);
    assert!(sent.head.contains(&format!("authorization: Bearer {KEY}")), "{}", sent.head);
    assert_eq!(
        sent.body,
        json!({
            "model": "vendor/model-low",
            "stream": true,
            "stream_options": { "include_usage": true },
            "temperature": 0.0,
            "max_tokens": 50,
            "messages": [
                { "role": "system", "content": "You count." },
                { "role": "user", "content": "one and one" },
            ],
            "response_format": { "type": "json_schema", "json_schema": {
                "name": "answer",
                "strict": true,
                "schema": *request().schema,
            } },
        })
    );
}

#[tokio::test]
async fn the_response_format_is_a_setting() {
    let endpoint = Endpoint::start(vec![answered(&[r#"{"sum":2}"#], 1, 1)]).await;
    for (format, expected) in [("json_object", json!({ "type": "json_object" })), ("text", json!(null))] {
        let mut settings = settings(&endpoint);
        settings["response_format"] = json!(format);
        models(settings, Some(KEY)).generate(&request(), None).await.unwrap();
        assert_eq!(endpoint.requests().last().unwrap().body["response_format"], expected);
    }
}

#[tokio::test]
async fn an_endpoint_may_want_no_key() {
    let endpoint = Endpoint::start(vec![answered(&[r#"{"sum":2}"#], 1, 1)]).await;
    let settings = json!({ "endpoint": format!("{}/", endpoint.url()), "model": "ns::m" });
    models(settings, None).generate(&request(), None).await.unwrap();
    let sent = endpoint.requests().remove(0);
    assert!(!sent.head.to_ascii_lowercase().contains("authorization"), "{}", sent.head);
    assert!(sent.head.starts_with("POST /v1/chat/completions "), "{}", sent.head);
    assert_eq!(sent.body["model"], "ns::m");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Endpoint::start(vec![answered(&[r#"{"sum":2}"#], 1, 1)]).await;
    for status in ["307 Temporary Redirect", "302 Found"] {
        let location = format!("location: {}/chat/completions\r\n", elsewhere.url());
        let endpoint = Endpoint::start(vec![refusal(status, &location, "moved")]).await;
        let error = ask(&endpoint, &request()).await.0.unwrap_err();
        assert!(matches!(error.kind, ModelErrorKind::Rejected { status: 302 | 307 }), "{error}");
        assert!(error.hint.contains("redirect"), "{}", error.hint);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn an_alias_resolves_to_what_stands_behind_it() {
    let endpoint = Endpoint::start(vec![answered(&[r#"{"sum":2}"#], 1, 1)]).await;
    let models = models(settings(&endpoint), Some(KEY));
    assert_eq!(models.resolve("small"), Some(format!("{}/vendor/model-low", endpoint.url())));
    assert_eq!(models.resolve("large"), None);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_key_is_in_no_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log works");

    let repeats_key = format!("wrong key {KEY}");
    for script in [
        refusal("401 Unauthorized", "", &repeats_key),
        refusal("500 Internal Server Error", "", &repeats_key),
        refusal("400 Bad Request", "", &repeats_key),
        answered(&[&format!("not JSON but {KEY}")], 1, 1),
        answered(&[&format!("{{\"{KEY}\":1}}")], 1, 1),
    ] {
        let endpoint = Endpoint::start(vec![script]).await;
        ask(&endpoint, &request()).await.0.unwrap_err();
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log works") && log.contains("asking for a repaired answer"), "{log}");
    assert!(!log.contains(KEY), "{log}");
}

#[tokio::test]
async fn the_span_of_a_request_tells_how_it_ended() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_span_events(FmtSpan::CLOSE);
    let _guard = tracing::subscriber::set_default(subscriber.with_ansi(false).with_writer(log.clone()).finish());
    let silence = || vec![Step::Sleep(Duration::from_mins(1))];
    let closed = |log: &Log| {
        let said = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
        let closed = said.lines().filter(|line| line.contains("model{") && line.contains("close"));
        closed.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };

    let endpoint = Endpoint::start(vec![answered(&["{\"sum\":2}"], 3, 2)]).await;
    ask(&endpoint, &request()).await.0.unwrap();
    let said = closed(&log);
    assert!(said.contains("gen_ai.usage.input_tokens=3") && !said.contains("error.type"), "{said}");

    let endpoint = Endpoint::start(vec![silence()]).await;
    let impatient = GenerateRequest { timeout: Duration::from_millis(300), ..request() };
    ask(&endpoint, &impatient).await.0.unwrap_err();
    let said = closed(&log);
    assert!(said.contains("error.type=\"timeout\""), "{said}");

    let endpoint = Endpoint::start(vec![silence()]).await;
    let (request, asked) = (request(), async {
        while endpoint.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    tokio::select! {
        _ = ask(&endpoint, &request) => panic!("silence is no answer"),
        () = asked => {}
    }
    let said = closed(&log);
    assert!(said.contains("error.type=\"cancelled\""), "{said}");
}

#[tokio::test]
async fn a_model_that_is_called_like_the_key_has_no_name() {
    for (said, kept) in
        [("model-1", "model-1"), (KEY, "vendor/model-low"), (&*format!("{:0200}{KEY}", 0), "vendor/model-low")]
    {
        let chunk = json!({ "model": said, "choices": [{ "index": 0, "delta": { "content": "{\"sum\":2}" } }] });
        let script = vec![opening(), Step::Send(event(&chunk)), ending("stop", 1, 1)];
        let endpoint = Endpoint::start(vec![script]).await;
        assert_eq!(ask(&endpoint, &request()).await.0.unwrap().by.model, kept);
    }
}

#[tokio::test]
async fn anthropic_is_sent_messages() {
    use crate::spoken::{answered, settings};
    let provider = nexus_llm::Provider::Anthropic;
    let endpoint = Endpoint::start(vec![answered(provider, &["{\"sum\":2}"], 1, 1)]).await;
    models(settings(provider, &endpoint), Some(KEY)).generate(&request(), None).await.unwrap();
    let sent = endpoint.requests().remove(0);
    assert!(sent.head.starts_with("POST /v1/messages HTTP/1.1"), "{}", sent.head);
    for header in [&*format!("x-api-key: {KEY}\r\n"), "anthropic-version: 2023-06-01\r\n"] {
        assert!(sent.head.contains(header), "{}", sent.head);
    }
    assert!(!sent.head.contains("authorization"), "{}", sent.head);
    assert_eq!(
        sent.body,
        json!({
            "model": "vendor/model-low",
            "max_tokens": 50,
            "stream": true,
            "temperature": 0.0,
            "system": [{ "type": "text", "text": "You count." }],
            "messages": [{ "role": "user", "content": "one and one" }],
            "output_config": { "format": { "type": "json_schema", "schema": *request().schema } },
        })
    );
}

#[tokio::test]
async fn anthropic_gives_an_open_schema_as_a_tool() {
    use crate::spoken::{answered, settings};
    let provider = nexus_llm::Provider::Anthropic;
    let endpoint = Endpoint::start(vec![answered(provider, &["{\"sum\":2}"], 1, 1)]).await;
    let open = nexus_model::GenerateRequest {
        schema: Arc::new(json!({ "type": "object", "properties": { "sum": { "type": "integer" } } })),
        parameters: nexus_model::ModelParameters::default(),
        ..request()
    };
    models(settings(provider, &endpoint), Some(KEY)).generate(&open, None).await.unwrap();
    let sent = endpoint.requests().remove(0).body;
    assert_eq!(sent["output_config"], json!(null));
    assert_eq!(sent["tools"][0]["input_schema"], *open.schema);
    assert_eq!(sent["tool_choice"], json!({ "type": "tool", "name": sent["tools"][0]["name"] }));
    assert_eq!(sent["max_tokens"], 8_192);
}

#[tokio::test]
async fn ollama_is_sent_a_chat() {
    use crate::spoken::{answered, settings};
    let provider = nexus_llm::Provider::Ollama;
    let endpoint = Endpoint::start(vec![answered(provider, &["{\"sum\":2}"], 1, 1)]).await;
    let mut settings = settings(provider, &endpoint);
    settings.as_object_mut().unwrap().remove("key");
    models(settings, None).generate(&request(), None).await.unwrap();
    let sent = endpoint.requests().remove(0);
    assert!(sent.head.starts_with("POST /api/chat HTTP/1.1"), "{}", sent.head);
    assert!(!sent.head.contains("authorization"), "{}", sent.head);
    assert_eq!(
        sent.body,
        json!({
            "model": "vendor/model-low",
            "stream": true,
            "messages": [
                { "role": "system", "content": "You count." },
                { "role": "user", "content": "one and one" },
            ],
            "options": { "temperature": 0.0, "num_predict": 50 },
            "format": *request().schema,
        })
    );
}
