//! What goes over the wire.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use nexus_model::{ModelErrorKind, ModelProvider};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    KEY, ask,
    endpoint::{Endpoint, answered, refusal},
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
