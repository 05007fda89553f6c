//! Another model answers where one cannot.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_llm::{LanguageModels, LlmError, Provider};
use nexus_model::{GenerateRequest, ModelErrorKind, ModelProvider, NanoUsd, Usage};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    KEY, Pieces,
    endpoint::{Endpoint, Step},
    request,
    spoken::{answered, opening, piece, refusal, settings},
};

/// `small`, which falls back to `other`.
fn two(small: Value, other: Value) -> LanguageModels {
    let mut small = small;
    small["fallback"] = json!(["other"]);
    let models = [("small", small), ("other", other)];
    let models = models.map(|(alias, settings)| (alias.to_owned(), serde_json::from_value(settings).unwrap()));
    LanguageModels::new(BTreeMap::from(models), Arc::new(|_| Some(SecretString::from(KEY)))).unwrap()
}

/// A model of `OpenAI` with this script, which falls back to one of Anthropic that answers.
async fn before(script: Vec<Step>) -> (LanguageModels, Endpoint, Endpoint) {
    let first = Endpoint::start(vec![script]).await;
    let second = Endpoint::start(vec![answered(Provider::Anthropic, &["{\"sum\":", "2}"], 10, 5)]).await;
    let mut other = settings(Provider::Anthropic, &second);
    other["price"] = json!({ "input_usd_per_million": 3, "output_usd_per_million": 15, "as_of": "2026-01-31" });
    (two(settings(Provider::OpenAi, &first), other), first, second)
}

#[tokio::test]
async fn what_may_pass_is_asked_of_the_next_model() {
    let silence = Step::Sleep(Duration::from_mins(1));
    for script in [
        refusal(Provider::OpenAi, "429 Too Many Requests", "retry-after: 3\r\n", "rate_limit_error", "slow down"),
        refusal(Provider::OpenAi, "503 Service Unavailable", "", "server_error", "down"),
        vec![],
        vec![silence.clone()],
    ] {
        let (models, first, second) = before(script).await;
        let request = GenerateRequest { timeout: Duration::from_secs(4), ..request() };
        let generation = models.generate(&request, None).await.unwrap();
        assert_eq!(generation.value, json!({ "sum": 2 }));
        assert_eq!((generation.by.alias.as_str(), generation.by.model.as_str()), ("other", "model-1"));
        assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    }
}

#[tokio::test]
async fn the_price_is_of_the_model_that_answered() {
    let down = refusal(Provider::OpenAi, "503 Service Unavailable", "", "server_error", "down");
    let (models, _first, _second) = before(down).await;
    let usage = models.generate(&request(), None).await.unwrap().usage;
    let cost = Some(NanoUsd(10 * 3_000 + 5 * 15_000));
    assert_eq!(usage, Usage { input_tokens: 10, cached_input_tokens: 0, output_tokens: 5, cost });
}

#[tokio::test]
async fn what_was_streamed_before_is_void() {
    let script =
        vec![opening(Provider::OpenAi, 1), piece(Provider::OpenAi, "{\"su"), Step::Sleep(Duration::from_mins(1))];
    let (models, _first, _second) = before(script).await;
    let mut pieces = Pieces::default();
    let request = GenerateRequest { timeout: Duration::from_secs(2), ..request() };
    let generation = models.generate(&request, Some(&mut pieces)).await.unwrap();
    assert_eq!(pieces.0, ["{\"su", "<restart>", "{\"sum\":", "2}"]);
    assert_eq!(generation.usage.cost, None, "nobody told what the first answer had cost so far");
}

#[tokio::test]
async fn what_does_not_pass_is_told_at_once() {
    for (script, kind) in [
        (refusal(Provider::OpenAi, "401 Unauthorized", "", "invalid_api_key", "no"), ModelErrorKind::Unauthorized),
        (refusal(Provider::OpenAi, "400 Bad Request", "", "bad", "no"), ModelErrorKind::Rejected { status: 400 }),
        (answered(Provider::OpenAi, &["no"], 1, 1), ModelErrorKind::NotJson),
        (vec![opening(Provider::OpenAi, 1)], ModelErrorKind::Truncated),
    ] {
        let (models, _first, second) = before(script).await;
        assert_eq!(models.generate(&request(), None).await.unwrap_err().kind, kind);
        assert!(second.requests().is_empty());
    }
}

#[tokio::test]
async fn who_wants_this_model_and_no_other_gets_its_error() {
    let down = refusal(Provider::OpenAi, "503 Service Unavailable", "", "server_error", "down");
    let (models, _first, second) = before(down).await;
    let request = GenerateRequest { fallback: false, ..request() };
    let error = models.generate(&request, None).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::ProviderFailed { status: 503 });
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn when_all_fail_the_error_is_of_the_first_and_names_the_others() {
    let limit =
        refusal(Provider::OpenAi, "429 Too Many Requests", "retry-after: 3\r\n", "rate_limit_error", "slow down");
    let first = Endpoint::start(vec![limit]).await;
    let wrong = refusal(Provider::Ollama, "401 Unauthorized", "", "", "who are you");
    let second = Endpoint::start(vec![wrong]).await;
    let models = two(settings(Provider::OpenAi, &first), settings(Provider::Ollama, &second));
    let error = models.generate(&request(), None).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(3)) });
    assert_eq!((error.model.as_str(), error.usage), ("small", Usage::NONE));
    assert!(
        error.detail.contains("slow down; fall-backs failed too: `other`: the provider refused the API key"),
        "{error}"
    );
}

#[tokio::test]
async fn an_alias_stands_for_its_own_model_alone() {
    let (models, first, _second) = before(vec![]).await;
    assert_eq!(models.resolve("small"), Some(format!("{}/vendor/model-low", first.url())));
}

#[test]
fn a_circle_is_refused() {
    let model = |fallback: &str| serde_json::from_value(json!({ "model": "m", "fallback": [fallback] })).unwrap();
    let models = BTreeMap::from([("a".to_owned(), model("b")), ("b".to_owned(), model("a"))]);
    let Err(LlmError::Fallback(faults)) = LanguageModels::new(models, Arc::new(|_| None)) else { panic!("it starts") };
    assert_eq!(faults[0], "`models.a.fallback[0]`: the models fall back in a circle: a → b → a");
}
