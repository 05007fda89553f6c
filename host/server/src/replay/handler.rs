//! One request for an answer.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use nexus_model::{OperationRef, sha256_hex};
use secrecy::ExposeSecret;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    FaultKind, WHAT,
    library::{Found, Recorded},
    random::{Purpose, draw},
    request_sha256,
    router::Shared,
    stream::{self, Ending},
    wire::{Asked, Envelope, Refusal, Wire},
};

/// Says on every answer what gave it.
const STAND_IN: &str = "x-nexus-replay";

/// `POST /v1/chat/completions`
pub(super) async fn openai(shared: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    ask(Wire::OpenAi, &shared, &headers, &body).await
}

/// `POST /v1/messages`
pub(super) async fn anthropic(
    shared: State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    ask(Wire::Anthropic, &shared, &headers, &body).await
}

/// `POST /api/chat`
pub(super) async fn ollama(shared: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    ask(Wire::Ollama, &shared, &headers, &body).await
}

async fn ask(wire: Wire, shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    authorise(wire, shared, headers)?;
    let request = wire.read(body)?;
    shared.stats().requests += 1;
    let recorded = match shared.replay.find(&request.model, &request.messages, request.tools) {
        Found::Recorded(recorded) => recorded,
        Found::OtherPrompt(recorded) => other_prompt(wire, shared, recorded)?,
        Found::Nothing(operation) => return Err(nothing(wire, shared, &request, operation.as_ref()).await),
    };
    {
        let mut stats = shared.stats();
        stats.answered += 1;
        *stats.operations.entry(recorded.label.clone()).or_default() += 1;
    }
    answer(wire, shared, &request, recorded).await
}

fn authorise(wire: Wire, shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(key) = &shared.options.key else { return Ok(()) };
    // Hashes, so that the time it takes tells nothing about the key.
    if wire.key(headers).is_some_and(|given| sha256_hex(given) == sha256_hex(key.expose_secret())) {
        return Ok(());
    }
    Err(Refusal::new(wire, StatusCode::UNAUTHORIZED, "invalid_api_key", "the key is missing or wrong"))
}

fn other_prompt<'a>(wire: Wire, shared: &Shared, recorded: &'a Recorded) -> Result<&'a Recorded, Refusal> {
    shared.stats().other_prompt += 1;
    tracing::warn!(operation = recorded.label, "answered a different prompt than recorded");
    if !shared.options.strict_coder {
        return Ok(recorded);
    }
    let message = format!("the recording of `{}` was made with another prompt; {WHAT} knows no other", recorded.label);
    Err(Refusal::new(wire, StatusCode::NOT_FOUND, "other_prompt", message))
}

async fn nothing(wire: Wire, shared: &Shared, request: &Asked, operation: Option<&OperationRef>) -> Refusal {
    shared.stats().without_recording += 1;
    let sha256 = request_sha256(&request.model, &request.messages);
    if let Some(missing) = &shared.missing
        && let Err(error) = missing.write(&sha256, &request.model, &request.messages, operation).await
    {
        tracing::warn!(%error, "a request without a recording could not be written down");
    }
    let of = operation.map_or_else(String::new, |operation| format!(" of `{operation}`"));
    let message = format!("no recording for this request{of} to `{}` ({sha256}); this is {WHAT}", request.model);
    Refusal::new(wire, StatusCode::NOT_FOUND, "no_recording", message)
}

async fn answer(wire: Wire, shared: &Shared, request: &Asked, recorded: &Recorded) -> Result<Response, Refusal> {
    let turn = shared.turn(&recorded.id);
    let drawn = |purpose| draw(shared.options.seed, &recorded.id, turn, purpose);
    let fault = shared.options.faults.pick(drawn(Purpose::Fault));
    if let Some(fault) = fault {
        *shared.stats().faults.entry(fault.as_str()).or_default() += 1;
    }
    let latency = shared.options.latency.of(recorded.latency, drawn(Purpose::Latency));
    let (instead, ending) = match fault {
        Some(FaultKind::RateLimit) => return Err(on_purpose(wire, StatusCode::TOO_MANY_REQUESTS, "rate_limit_error")),
        Some(FaultKind::ServerError) => {
            return Err(on_purpose(wire, StatusCode::INTERNAL_SERVER_ERROR, "server_error"));
        }
        Some(FaultKind::Truncate) => (None, Ending::Truncated),
        Some(FaultKind::Stall) => (None, Ending::Stalled),
        Some(FaultKind::NotJson) => (Some("I would rather answer in prose, on purpose."), Ending::Whole),
        Some(FaultKind::BadSchema) => (Some(r#"{"this fails the schema":"on purpose"}"#), Ending::Whole),
        None => (None, Ending::Whole),
    };
    let envelope = Envelope {
        id: format!("replay-{}-{turn}", recorded.id.get(..16).unwrap_or_default()),
        model: request.model.clone(),
        created: OffsetDateTime::now_utc(),
    };
    let answer = recorded.answer(&envelope, instead);
    let (parts, content_type) = wire.answer(&envelope, request, &answer, recorded.tokens);
    let before = if request.stream { latency / 2 } else { latency };
    if !stream::wait(Instant::now() + before, &shared.stop).await {
        return Err(Refusal::new(wire, StatusCode::SERVICE_UNAVAILABLE, "server_error", "stopping"));
    }
    Ok(response(content_type, stream::body(parts, latency.saturating_sub(before), ending, shared.stop.clone())))
}

fn response(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(STAND_IN, HeaderValue::from_static(WHAT));
    response
}

fn on_purpose(wire: Wire, status: StatusCode, kind: &'static str) -> Refusal {
    Refusal::new(wire, status, kind, "a fault on purpose")
}
