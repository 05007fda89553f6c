//! The same recordings in the protocols of all providers, asked as the server asks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_llm::LanguageModels;
use nexus_model::{GenerateRequest, Generation, Message, ModelError, ModelErrorKind, ModelParameters, ModelProvider};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{super::Options, Folder, OUTPUT, Pieces, StandIn, at_once, prompt, recording};

const PROVIDERS: [&str; 3] = ["openai", "anthropic", "ollama"];

async fn ask(
    stand_in: &StandIn,
    provider: &str,
    messages: Vec<Message>,
    schema: &Value,
) -> (Result<Generation, ModelError>, Vec<String>) {
    let endpoint = stand_in.url(if provider == "ollama" { "" } else { "/v1" });
    let settings = json!({ "provider": provider, "endpoint": endpoint, "model": "small-1", "key": { "env": "KEY" } });
    let models = BTreeMap::from([("small".to_owned(), serde_json::from_value(settings).unwrap())]);
    let models = LanguageModels::new(models, Arc::new(|_| Some(SecretString::from("sk-test")))).unwrap();
    let request = GenerateRequest {
        model: "small".to_owned(),
        messages,
        parameters: ModelParameters::default(),
        schema: Arc::new(schema.clone()),
        timeout: Duration::from_secs(2),
        fallback: true,
    };
    let mut pieces = Pieces::default();
    let result = models.generate(&request, Some(&mut pieces)).await;
    (result, pieces.0)
}

#[tokio::test]
async fn a_recorded_answer_is_streamed_in_every_protocol() {
    let folder = Folder::new();
    folder.record(&[recording("twelve million", 12_000_000)]);
    let stand_in = StandIn::start(folder.load().unwrap(), Options { key: Some("sk-test".into()), ..at_once() }).await;
    let closed: Value = serde_json::from_str(OUTPUT).unwrap();
    // Anthropic gives an open schema as a tool.
    for schema in [&closed, &json!({ "type": "object" })] {
        for provider in PROVIDERS {
            let (result, pieces) = ask(&stand_in, provider, prompt("twelve million"), schema).await;
            let generation = result.unwrap();
            assert_eq!(generation.value, json!({ "n": 12_000_000 }), "{provider}");
            assert_eq!((generation.usage.input_tokens, generation.usage.output_tokens), (12, 5), "{provider}");
            assert_eq!(generation.by.model, "small-1", "{provider}");
            assert!(pieces.len() > 1 && pieces.concat() == r#"{"n":12000000}"#, "{provider}: {pieces:?}");
        }
    }
}

#[tokio::test]
async fn faults_have_their_names_in_every_protocol() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let schema: Value = serde_json::from_str(OUTPUT).unwrap();
    for (faults, kind) in [
        ("429=1", ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(1)) }),
        ("500=1", ModelErrorKind::ProviderFailed { status: 500 }),
        ("truncate=1", ModelErrorKind::Truncated),
        ("stall=1", ModelErrorKind::Timeout),
        ("not_json=1", ModelErrorKind::Rejected { status: 404 }),
        ("bad_schema=1", ModelErrorKind::Rejected { status: 404 }),
    ] {
        for provider in PROVIDERS {
            let options = Options { faults: faults.parse().unwrap(), ..at_once() };
            let stand_in = StandIn::start(folder.load().unwrap(), options).await;
            // Nobody recorded what is asked for after an answer of no use.
            let error = ask(&stand_in, provider, prompt("seven"), &schema).await.0.unwrap_err();
            assert_eq!(error.kind, kind, "{provider}, {faults}: {error}");
        }
    }
    for provider in PROVIDERS {
        let options = Options { key: Some("another".into()), ..at_once() };
        let stand_in = StandIn::start(folder.load().unwrap(), options).await;
        let error = ask(&stand_in, provider, prompt("seven"), &schema).await.0.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Unauthorized, "{provider}: {error}");
    }
}
