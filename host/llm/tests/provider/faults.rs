//! One list of faults, and each of them with each provider: its own kind, a hint that helps, nothing of the key.

use std::time::Duration;

use nexus_llm::Provider;
use nexus_model::{GenerateRequest, ModelErrorKind, ModelProvider};

use crate::{
    KEY, Pieces,
    endpoint::{Endpoint, Step},
    models, request,
    spoken::{PROVIDERS, answered, ending, failure_midway, open_message, opening, piece, refusal, settings},
};

struct Fault {
    name: &'static str,
    key: Option<&'static str>,
    timeout: Duration,
    /// What the endpoint does, connection by connection; nothing at all where nobody listens.
    script: fn(Provider) -> Vec<Vec<Step>>,
    expected: fn(Provider) -> ModelErrorKind,
    /// A word of the hint.
    hint: &'static str,
    /// How often the endpoint is asked.
    asked: usize,
}

const FAULT: Fault = Fault {
    name: "",
    key: Some(KEY),
    timeout: Duration::from_secs(20),
    script: |_| vec![vec![]],
    expected: |_| ModelErrorKind::Unreachable,
    hint: "",
    asked: 1,
};

fn repeating_key() -> String {
    format!("because of {KEY}")
}

/// Every fault that is told apart.
const FAULTS: [Fault; 20] = [
    Fault {
        name: "missing key",
        key: None,
        expected: |_| ModelErrorKind::MissingKey,
        hint: "the environment variable `EXAMPLE_KEY`",
        asked: 0,
        ..FAULT
    },
    Fault {
        name: "401",
        script: |p| vec![refusal(p, "401 Unauthorized", "", "authentication_error", &repeating_key())],
        expected: |_| ModelErrorKind::Unauthorized,
        hint: "`EXAMPLE_KEY`",
        ..FAULT
    },
    Fault {
        name: "403",
        script: |p| vec![refusal(p, "403 Forbidden", "", "permission_error", &repeating_key())],
        expected: |_| ModelErrorKind::Unauthorized,
        hint: "may use `vendor/model-low`",
        ..FAULT
    },
    Fault {
        name: "429 with Retry-After",
        script: |p| vec![refusal(p, "429 Too Many Requests", "retry-after: 12\r\n", "rate_limit_error", "slow down")],
        expected: |_| ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(12)) },
        hint: "wait",
        ..FAULT
    },
    Fault {
        name: "400",
        script: |p| vec![refusal(p, "400 Bad Request", "", "invalid_request_error", &repeating_key())],
        expected: |_| ModelErrorKind::Rejected { status: 400 },
        hint: "response_format",
        ..FAULT
    },
    Fault {
        name: "404",
        script: |p| vec![refusal(p, "404 Not Found", "", "not_found_error", "model not found")],
        expected: |_| ModelErrorKind::Rejected { status: 404 },
        hint: "base URL",
        ..FAULT
    },
    Fault {
        name: "500",
        script: |p| vec![refusal(p, "500 Internal Server Error", "", "api_error", &repeating_key())],
        expected: |_| ModelErrorKind::ProviderFailed { status: 500 },
        hint: "try again later",
        ..FAULT
    },
    Fault {
        name: "overloaded",
        script: |p| vec![refusal(p, "529 Overloaded", "", "overloaded_error", "Overloaded")],
        expected: |_| ModelErrorKind::ProviderFailed { status: 529 },
        hint: "overloaded",
        ..FAULT
    },
    Fault {
        name: "failure within the stream",
        script: |p| vec![vec![opening(p, 1), piece(p, "{"), failure_midway(p)]],
        expected: |provider| ModelErrorKind::ProviderFailed {
            status: match provider {
                Provider::OpenAi => 503,
                Provider::Anthropic => 529,
                Provider::Ollama => 200,
            },
        },
        hint: "try again later",
        ..FAULT
    },
    Fault { name: "connection closed before the answer", hint: "check `http://", ..FAULT },
    Fault {
        name: "silence before the answer",
        timeout: Duration::from_millis(300),
        script: |_| vec![vec![Step::Sleep(Duration::from_mins(1))]],
        expected: |_| ModelErrorKind::Timeout,
        hint: "`timeout`",
        ..FAULT
    },
    Fault {
        name: "silence within the answer",
        timeout: Duration::from_millis(300),
        script: |p| vec![vec![opening(p, 1), piece(p, "{\"su"), Step::Sleep(Duration::from_mins(1))]],
        expected: |_| ModelErrorKind::Timeout,
        hint: "`timeout`",
        ..FAULT
    },
    Fault {
        name: "stream cut off",
        script: |p| vec![vec![opening(p, 1), piece(p, "{\"sum\":2}")]],
        expected: |_| ModelErrorKind::Truncated,
        hint: "try again",
        ..FAULT
    },
    Fault {
        name: "out of tokens",
        script: |p| vec![vec![opening(p, 1), piece(p, "{\"su"), ending(p, false, 1, 1)]],
        expected: |_| ModelErrorKind::Truncated,
        hint: "max_tokens",
        ..FAULT
    },
    Fault {
        name: "not JSON, twice",
        script: |p| vec![answered(p, &["Sure: 2"], 1, 1)],
        expected: |_| ModelErrorKind::NotJson,
        hint: "JSON and nothing else",
        asked: 2,
        ..FAULT
    },
    Fault {
        name: "other than the schema, twice",
        script: |p| vec![answered(p, &["{\"sum\":", "\"two\"}"], 1, 1)],
        expected: |_| ModelErrorKind::SchemaMismatch,
        hint: "schema",
        asked: 2,
        ..FAULT
    },
    Fault {
        name: "endless line",
        script: |p| {
            vec![vec![opening(p, 1), Step::Send(open_message(p).to_owned()), Step::Forever("x".repeat(10_000))]]
        },
        expected: |_| ModelErrorKind::TooLarge,
        hint: "1 MiB",
        ..FAULT
    },
    Fault {
        name: "endless answer",
        script: |p| {
            let Step::Send(text) = piece(p, &"x".repeat(1_000)) else { return vec![] };
            vec![vec![opening(p, 1), Step::Forever(text)]]
        },
        expected: |_| ModelErrorKind::TooLarge,
        hint: "1 MiB",
        ..FAULT
    },
    Fault {
        name: "endless refusal",
        script: |_| {
            let head = "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n".to_owned();
            vec![vec![Step::Send(head), Step::Forever("x".repeat(10_000))]]
        },
        expected: |_| ModelErrorKind::ProviderFailed { status: 500 },
        hint: "try again later",
        ..FAULT
    },
    Fault {
        name: "a message that is none",
        script: |p| vec![vec![opening(p, 1), Step::Send("data: <html>\n\n<html>\n".to_owned())]],
        expected: |_| ModelErrorKind::ProviderFailed { status: 200 },
        hint: "try again later",
        ..FAULT
    },
];

#[tokio::test]
async fn every_fault_has_its_name_with_every_provider() {
    for provider in PROVIDERS {
        for fault in &FAULTS {
            let place = format!("{}, {}", provider.as_str(), fault.name);
            let endpoint = Endpoint::start((fault.script)(provider)).await;
            let models = models(settings(provider, &endpoint), fault.key);
            let request = GenerateRequest { timeout: fault.timeout, ..request() };
            let mut pieces = Pieces::default();
            let outcome = tokio::time::timeout(Duration::from_mins(1), models.generate(&request, Some(&mut pieces)));
            let error = outcome.await.unwrap_or_else(|_| panic!("{place}: it hangs")).unwrap_err();
            assert_eq!(error.kind, (fault.expected)(provider), "{place}: {error}");
            assert!(error.hint.contains(fault.hint) || ollama_mends(provider, &error.hint), "{place}: {}", error.hint);
            assert!(error.detail.chars().count() <= 500, "{place}");
            let shown = format!("{error} {error:?} {models:?}");
            assert!(!shown.contains(KEY), "{place}: the key shows: {shown}");
            assert_eq!(endpoint.requests().len(), fault.asked, "{place}");
        }
    }
}

/// Ollama runs where the operator is: there the mend is a command.
fn ollama_mends(provider: Provider, hint: &str) -> bool {
    provider == Provider::Ollama && (hint.contains("`ollama pull vendor/model-low`") || hint.contains("`ollama serve`"))
}

#[tokio::test]
async fn nobody_listens() {
    for provider in PROVIDERS {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let endpoint = Endpoint::start(vec![vec![]]).await;
        let mut settings = settings(provider, &endpoint);
        settings["endpoint"] = format!("http://{free}").into();
        let error = models(settings, Some(KEY)).generate(&request(), None).await.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Unreachable, "{error}");
        assert!(error.detail.contains("refused"), "{error}");
        assert!(error.hint.contains(&free.to_string()), "{}", error.hint);
    }
}

#[tokio::test]
async fn what_is_well_said_is_an_answer_with_every_provider() {
    for provider in PROVIDERS {
        let scripts = vec![
            answered(provider, &["{\"sum\":", "\"two\"}"], 10, 3),
            answered(provider, &["{\"su", "m\":2}"], 30, 5),
        ];
        let endpoint = Endpoint::start(scripts).await;
        let mut pieces = Pieces::default();
        let models = models(settings(provider, &endpoint), Some(KEY));
        let generation = models.generate(&request(), Some(&mut pieces)).await.unwrap();
        assert_eq!(generation.value, serde_json::json!({ "sum": 2 }), "{provider:?}");
        assert!(generation.repaired);
        assert_eq!((generation.by.alias.as_str(), generation.by.model.as_str()), ("small", "model-1"), "{provider:?}");
        assert_eq!((generation.usage.input_tokens, generation.usage.output_tokens), (40, 8), "{provider:?}");
        assert_eq!(generation.usage.cost.unwrap().0, 40 * 150 + 8 * 600);
        assert_eq!(pieces.0, ["{\"sum\":", "\"two\"}", "<restart>", "{\"su", "m\":2}"], "{provider:?}");
        let complaint = endpoint.requests()[1].body["messages"].to_string();
        assert!(complaint.contains("/sum: "), "{complaint}");
    }
}
