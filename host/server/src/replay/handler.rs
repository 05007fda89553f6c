//! One request for an answer.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use nexus_model::{Message, OperationRef, sha256_hex};
use secrecy::ExposeSecret;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    FaultKind, WHAT,
    chat::{ChatError, ChatRequest, Envelope},
    library::{Found, Recorded},
    random::{Purpose, draw},
    request_sha256,
    router::Shared,
    stream::{self, Ending},
};

/// Says on every answer what gave it.
const STAND_IN: &str = "x-nexus-replay";

pub(super) async fn completions(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ChatError> {
    authorise(&shared, &headers)?;
    let request: ChatRequest = serde_json::from_slice(&body).map_err(|error| ChatError {
        status: StatusCode::BAD_REQUEST,
        kind: "invalid_request_error",
        message: error.to_string(),
    })?;
    shared.stats().requests += 1;

    let messages = request.messages();
    let recorded = match shared.replay.find(&request.model, &messages) {
        Found::Recorded(recorded) => recorded,
        Found::OtherPrompt(recorded) => other_prompt(&shared, recorded)?,
        Found::Nothing(operation) => return Err(nothing(&shared, &request, &messages, operation.as_ref()).await),
    };
    {
        let mut stats = shared.stats();
        stats.answered += 1;
        *stats.operations.entry(recorded.label.clone()).or_default() += 1;
    }
    answer(&shared, &request, recorded).await
}

fn authorise(shared: &Shared, headers: &HeaderMap) -> Result<(), ChatError> {
    let Some(key) = &shared.options.key else { return Ok(()) };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // Hashes, so that the time it takes tells nothing about the key.
    if given.is_some_and(|given| sha256_hex(given) == sha256_hex(key.expose_secret())) {
        return Ok(());
    }
    Err(ChatError {
        status: StatusCode::UNAUTHORIZED,
        kind: "invalid_api_key",
        message: "the bearer key is missing or wrong".to_owned(),
    })
}

fn other_prompt<'a>(shared: &Shared, recorded: &'a Recorded) -> Result<&'a Recorded, ChatError> {
    shared.stats().other_prompt += 1;
    tracing::warn!(operation = recorded.label, "answered a different prompt than recorded");
    if !shared.options.strict_coder {
        return Ok(recorded);
    }
    Err(ChatError {
        status: StatusCode::NOT_FOUND,
        kind: "other_prompt",
        message: format!("the recording of `{}` was made with another prompt; {WHAT} knows no other", recorded.label),
    })
}

async fn nothing(
    shared: &Shared,
    request: &ChatRequest,
    messages: &[Message],
    operation: Option<&OperationRef>,
) -> ChatError {
    shared.stats().without_recording += 1;
    let sha256 = request_sha256(&request.model, messages);
    if let Some(missing) = &shared.missing
        && let Err(error) = missing.write(&sha256, &request.model, messages, operation).await
    {
        tracing::warn!(%error, "a request without a recording could not be written down");
    }
    let of = operation.map_or_else(String::new, |operation| format!(" of `{operation}`"));
    ChatError {
        status: StatusCode::NOT_FOUND,
        kind: "no_recording",
        message: format!("no recording for this request{of} to `{}` ({sha256}); this is {WHAT}", request.model),
    }
}

async fn answer(shared: &Shared, request: &ChatRequest, recorded: &Recorded) -> Result<Response, ChatError> {
    let turn = shared.turn(&recorded.id);
    let drawn = |purpose| draw(shared.options.seed, &recorded.id, turn, purpose);
    let fault = shared.options.faults.pick(drawn(Purpose::Fault));
    if let Some(fault) = fault {
        *shared.stats().faults.entry(fault.as_str()).or_default() += 1;
    }
    let latency = shared.options.latency.of(recorded.latency, drawn(Purpose::Latency));
    let (text, ending) = match fault {
        Some(FaultKind::RateLimit) => return Err(on_purpose(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error")),
        Some(FaultKind::ServerError) => return Err(on_purpose(StatusCode::INTERNAL_SERVER_ERROR, "server_error")),
        Some(FaultKind::Truncate) => (recorded.text.as_str(), Ending::Truncated),
        Some(FaultKind::Stall) => (recorded.text.as_str(), Ending::Stalled),
        Some(FaultKind::NotJson) => ("I would rather answer in prose, on purpose.", Ending::Whole),
        Some(FaultKind::BadSchema) => (r#"{"this fails the schema":"on purpose"}"#, Ending::Whole),
        None => (recorded.text.as_str(), Ending::Whole),
    };
    let envelope = Envelope {
        id: format!("replay-{}-{turn}", recorded.id.get(..16).unwrap_or_default()),
        model: request.model.clone(),
        created: OffsetDateTime::now_utc().unix_timestamp(),
    };

    let (parts, content_type, before) = if request.stream {
        (stream::events(&envelope, text, recorded.tokens, request.wants_usage()), "text/event-stream", latency / 2)
    } else {
        (vec![envelope.completion(text, recorded.tokens).to_string()], "application/json", latency)
    };
    if !stream::wait(Instant::now() + before, &shared.stop).await {
        return Err(ChatError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "server_error",
            message: "stopping".to_owned(),
        });
    }
    Ok(response(content_type, stream::body(parts, latency.saturating_sub(before), ending, shared.stop.clone())))
}

fn response(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(STAND_IN, HeaderValue::from_static(WHAT));
    response
}

fn on_purpose(status: StatusCode, kind: &'static str) -> ChatError {
    ChatError { status, kind, message: "a fault on purpose".to_owned() }
}
