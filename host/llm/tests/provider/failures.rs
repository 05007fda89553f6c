//! Every way in which a provider fails, and the name it gets.

use std::time::Duration;

use nexus_model::{GenerateRequest, ModelErrorKind, ModelProvider, NanoUsd};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{
    KEY, ask,
    endpoint::{Endpoint, Step, answered, ending, event, opening, piece, refusal},
    models, request, settings,
};

async fn kind_of(script: Vec<Step>) -> ModelErrorKind {
    let endpoint = Endpoint::start(vec![script]).await;
    ask(&endpoint, &request()).await.0.unwrap_err().kind
}

#[tokio::test]
async fn an_unknown_alias_names_the_known_ones() {
    let endpoint = Endpoint::start(vec![answered(&["{}"], 1, 1)]).await;
    let unknown = GenerateRequest { model: "large".to_owned(), ..request() };
    let error = ask(&endpoint, &unknown).await.0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::UnknownModel);
    assert!(error.hint.contains("`small`") && error.hint.contains("`large`"), "{}", error.hint);
}

#[tokio::test]
async fn a_missing_key_names_where_it_belongs() {
    let endpoint = Endpoint::start(vec![answered(&["{}"], 1, 1)]).await;
    for key in [None, Some(""), Some(" \n"), Some("a\r\nb")] {
        let error = models(settings(&endpoint), key).generate(&request(), None).await.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::MissingKey, "{key:?}");
        assert!(error.hint.contains("the environment variable `EXAMPLE_KEY`"), "{}", error.hint);
    }
    let mut settings = settings(&endpoint);
    settings["key"] = json!({ "file": "/run/secrets/example" });
    let error = models(settings, None).generate(&request(), None).await.unwrap_err();
    assert!(error.hint.contains("the file `/run/secrets/example`"), "{}", error.hint);
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_key_may_end_with_a_line_break() {
    let endpoint = Endpoint::start(vec![answered(&["{\"sum\":2}"], 1, 1)]).await;
    models(settings(&endpoint), Some("sk-x\n")).generate(&request(), None).await.unwrap();
    assert!(endpoint.requests()[0].head.contains("authorization: Bearer sk-x\r\n"));
}

#[tokio::test]
async fn a_refused_key_is_named_but_not_shown() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let endpoint = Endpoint::start(vec![refusal(status, "", &format!("wrong: {KEY}"))]).await;
        let error = ask(&endpoint, &request()).await.0.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Unauthorized);
        assert!(error.detail.contains("invalid_api_key") && !error.detail.contains("wrong"), "{error}");
        assert!(error.hint.contains("`EXAMPLE_KEY`"), "{}", error.hint);
    }
}

#[tokio::test]
async fn a_limit_says_when_to_come_back() {
    let later = (OffsetDateTime::now_utc() + Duration::from_secs(90)).format(&Rfc2822).unwrap().replace("+0000", "GMT");
    for (header, at_least, at_most) in
        [("retry-after: 12\r\n".to_owned(), 12, 12), (format!("retry-after: {later}\r\n"), 80, 90)]
    {
        let kind = kind_of(refusal("429 Too Many Requests", &header, "slow down")).await;
        let ModelErrorKind::RateLimited { retry_after: Some(wait) } = kind else { panic!("{kind:?}") };
        assert!((at_least..=at_most).contains(&wait.as_secs()), "{wait:?}");
    }
    let kind = kind_of(refusal("429 Too Many Requests", "", "slow down")).await;
    assert_eq!(kind, ModelErrorKind::RateLimited { retry_after: None });
}

#[tokio::test]
async fn other_statuses_are_told() {
    for (status, kind) in [
        ("500 Internal Server Error", ModelErrorKind::ProviderFailed { status: 500 }),
        ("503 Service Unavailable", ModelErrorKind::ProviderFailed { status: 503 }),
        ("400 Bad Request", ModelErrorKind::Rejected { status: 400 }),
        ("404 Not Found", ModelErrorKind::Rejected { status: 404 }),
    ] {
        let endpoint = Endpoint::start(vec![refusal(status, "", &format!("because of {KEY}"))]).await;
        let error = ask(&endpoint, &request()).await.0.unwrap_err();
        assert_eq!(error.kind, kind);
        assert_eq!(error.detail, "because of [redacted]");
        assert_eq!(endpoint.requests().len(), 1, "asked again");
    }
}

#[tokio::test]
async fn what_is_not_http_cannot_be_reached() {
    for script in [
        vec![],
        vec![Step::Send("220 mail ready\r\n\r\n".to_owned())],
        vec![Step::Send("HTTP/1.1 200 OK\r\nx: ".to_owned()), Step::Send("y".repeat(2_000_000))],
        vec![Step::Send("HTTP/1.1 200 OK\r\n".to_owned()), Step::Send("x: y\r\n".repeat(100_000))],
        vec![Step::Send("HTTP/1.1 200 OK\r\nx: ".to_owned()), Step::Forever("y".repeat(10_000))],
    ] {
        assert_eq!(kind_of(script).await, ModelErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn silence_ends_in_time() {
    let silence = Step::Sleep(Duration::from_mins(1));
    let comment = Step::Send(": still there\n\n".to_owned());
    let impatient = GenerateRequest { timeout: Duration::from_millis(300), ..request() };
    for script in [
        vec![silence.clone()],
        vec![opening(), silence.clone()],
        vec![opening(), piece("{\"su"), silence.clone()],
        vec![opening(), comment, silence],
        vec![opening(), Step::Forever(": still there\n\n".to_owned())],
        refusal("500 Internal Server Error", "", "x")
            .into_iter()
            .map(|step| if let Step::Send(text) = step { Step::Send(text[..text.len() - 1].to_owned()) } else { step })
            .chain([Step::Sleep(Duration::from_mins(1))])
            .collect(),
    ] {
        let endpoint = Endpoint::start(vec![script]).await;
        // Who waits for as long as the endpoint is silent finds the connection closed.
        let error = ask(&endpoint, &impatient).await.0.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Timeout, "{error}");
    }
}

#[tokio::test]
async fn the_repair_round_has_no_time_of_its_own() {
    let stalled = vec![Step::Sleep(Duration::from_mins(1))];
    let endpoint = Endpoint::start(vec![answered(&["no"], 10, 1), stalled]).await;
    let impatient = GenerateRequest { timeout: Duration::from_millis(300), ..request() };
    let error = ask(&endpoint, &impatient).await.0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Timeout);
    // The second answer is still on its way, and nobody knows what it will cost.
    assert_eq!((error.usage.input_tokens, error.usage.cost), (10, None));
}

#[tokio::test]
async fn a_broken_stream_is_no_answer() {
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    for script in [
        vec![opening()],
        vec![opening(), piece("{\"sum\":2}")],
        vec![opening(), Step::Send("data: {\"choices\":".to_owned())],
        vec![Step::Send(chunked.to_owned()), Step::Send("ff\r\ndata: {\"choi".to_owned())],
        vec![opening(), piece("{\"sum\":2}"), ending("length", 1, 1)],
        vec![opening(), ending("content_filter", 1, 1)],
        vec![Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n<html>no</html>".to_owned())],
    ] {
        let kind = kind_of(script).await;
        assert!(matches!(kind, ModelErrorKind::Truncated | ModelErrorKind::ProviderFailed { status: 200 }), "{kind:?}");
    }
    assert_eq!(kind_of(vec![opening(), piece("{\"sum\":2}")]).await, ModelErrorKind::Truncated);
    assert_eq!(kind_of(vec![opening(), piece("{}"), ending("length", 1, 1)]).await, ModelErrorKind::Truncated);
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let Step::Send(answer) = piece(&"x".repeat(1_000)) else { unreachable!() };
    let thought = event(&json!({ "choices": [{ "delta": { "reasoning_content": "x".repeat(1_000) } }] }));
    for text in [answer, thought, "x".repeat(10_000), "data: x\n".repeat(1_000)] {
        assert_eq!(kind_of(vec![opening(), Step::Forever(text)]).await, ModelErrorKind::TooLarge);
    }
}

#[tokio::test]
async fn an_answer_of_too_many_tokens_is_paid_for() {
    let endpoint = Endpoint::start(vec![vec![opening(), piece("{"), ending("length", 100, 50)]]).await;
    let error = ask(&endpoint, &request()).await.0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Truncated);
    assert_eq!(error.usage.cost, Some(NanoUsd(100 * 150 + 50 * 600)));
}
