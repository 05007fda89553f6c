//! The provider against a real socket: what it sends, what it answers, and the name of everything that goes wrong.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod conversations;
mod endpoint;
mod failures;
mod fallback;
mod faults;
mod probe;
mod requests;
mod spoken;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_llm::{KeyResolver, LanguageModels};
use nexus_model::{GenerateRequest, Generation, Message, ModelError, ModelParameters, ModelProvider, Role, TokenSink};
use secrecy::SecretString;
use serde_json::{Value, json};

use endpoint::Endpoint;

/// The key that must appear nowhere but in the `Authorization` header.
const KEY: &str = "sk-canary-5f2e91";

fn models(settings: Value, key: Option<&'static str>) -> LanguageModels {
    let keys: KeyResolver = Arc::new(move |_| key.map(SecretString::from));
    let models = BTreeMap::from([("small".to_owned(), serde_json::from_value(settings).unwrap())]);
    LanguageModels::new(models, keys).unwrap()
}

fn settings(endpoint: &Endpoint) -> Value {
    json!({
        "endpoint": endpoint.url(),
        "model": "vendor/model-low",
        "key": { "env": "EXAMPLE_KEY" },
        "price": { "input_usd_per_million": 0.15, "output_usd_per_million": 0.6, "as_of": "2026-01-31" },
    })
}

fn request() -> GenerateRequest {
    GenerateRequest {
        model: "small".to_owned(),
        messages: vec![
            Message { role: Role::System, content: "You count.".to_owned() },
            Message { role: Role::User, content: "one and one".to_owned() },
        ],
        parameters: ModelParameters { temperature: Some(0.0), max_tokens: Some(50), top_p: None },
        schema: Arc::new(json!({
            "type": "object",
            "properties": { "sum": { "type": "integer" } },
            "required": ["sum"],
            "additionalProperties": false,
        })),
        timeout: Duration::from_secs(20),
        fallback: true,
    }
}

#[derive(Default)]
struct Pieces(Vec<String>);

impl TokenSink for Pieces {
    fn token(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }

    fn restart(&mut self) {
        self.0.push("<restart>".to_owned());
    }
}

/// Asks with the key and a sink.
async fn ask(endpoint: &Endpoint, request: &GenerateRequest) -> (Result<Generation, ModelError>, Vec<String>) {
    let models = models(settings(endpoint), Some(KEY));
    let mut pieces = Pieces::default();
    let result = models.generate(request, Some(&mut pieces)).await;
    let shown = format!("{models:?} {result:?}");
    assert!(!shown.contains(KEY), "the key shows: {shown}");
    if let Err(error) = &result {
        let shown = format!("{error} {} {}", error.detail, error.hint);
        assert!(!shown.contains(KEY), "the key shows: {shown}");
        assert!(!error.hint.is_empty(), "{error} has no hint");
        assert!(error.detail.chars().count() <= 500);
    }
    (result, pieces.0)
}
