//! `POST /v1/apps/{app}/operations/{operation}`: the main job.

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use nexus_core::{Answer, Call};
use nexus_model::SPANS;
use opentelemetry::{Context, context::FutureExt};
use tracing::{Instrument, field::Empty};

use super::{
    api::{Api, Caller, Verb},
    body,
    description::StreamEvent,
    executions::{BegunView, replay::begun},
    headers,
    params::Named,
    problem::Problem,
    rate, stream,
    trace_context::{self, TraceContext},
};

/// Runs an operation
///
/// The body is the operation's input, the answer its output, both by the operation's own JSON Schemas
/// (`GET /v1/apps/{app}` shows them). With `Accept: text/event-stream` the answer is a stream of events: `token`
/// (`{"text"}`, a piece of the model's answer as it comes), `restart` (what came so far is void), and at the end one
/// `answer` (`{"execution", "path", "fallback"?, "output"}`) or one `error` (a problem).
#[utoipa::path(
    post, path = "/v1/apps/{app}/operations/{operation}", tag = "operations", operation_id = "execute",
    params(
        ("app" = String, Path, description = "The application", example = "order-desk"),
        ("operation" = String, Path, description = "The operation", example = "parse-date"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context; the answer continues it"),
        ("prefer" = Option<String>, Header, description = "`respond-async`: an operation that has a workflow is begun, and not waited for"),
    ),
    request_body(
        content = serde_json::Value, content_type = "application/json",
        description = "The input, by the operation's schema", example = json!({"text": "next Friday"}),
    ),
    responses(
        (status = 200, description = "The output, by the operation's schema", content(
            (serde_json::Value = "application/json", example = json!({"date": "2026-03-06"})),
            (StreamEvent = "text/event-stream", example = json!("event: token\ndata: {\"text\":\"{\"}\n\n")),
        ), headers(
            ("x-nexus-execution" = String, description = "The execution's id"),
            ("x-nexus-path" = String, description = "`component` or `model`: which path answered"),
            ("x-nexus-fallback" = String, description = "Why a component that was asked first did not answer; absent when none was"),
            ("traceparent" = String, description = "W3C Trace Context"),
            ("ratelimit-policy" = String, description = "The rates of the key and of the application, where they have one"),
            ("ratelimit" = String, description = "What is left of them"),
        )),
        (status = 202, body = BegunView, description = "Begun, and not waited for (`Prefer: respond-async`)"),
        (status = 402, description = "The answer might cost more than is left of the application's budget", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `apps:{app}:invoke`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or operation", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The application was taken out of service", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The input does not satisfy the schema, or a component written by hand refused it", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Above the rate of the key or of the application: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The model or the component gave no usable answer", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Full, stopping, or limited by the provider: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The time-out of the application passed", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn execute(
    State(api): State<Api>,
    caller: Caller,
    Named((app, operation)): Named<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    api.permit(&caller, Verb::Invoke, &app)?;
    let rates = [caller.rate(), api.rated(api.core.router.admit(&app))?];
    let (Parts { headers: incoming, .. }, body) = request.into_parts();
    let remote = trace_context::remote(&incoming);
    let span = {
        let _parent = remote.clone().map(Context::attach);
        span()
    };
    let answered = answer(&api, caller, app, operation, &incoming, body).instrument(span.clone());
    let answered = match remote {
        Some(remote) => answered.with_context(remote).await,
        None => answered.await,
    };
    if !span.is_disabled() {
        record(&span, answered.as_ref().map_or_else(|problem| problem.status, |response| response.status().as_u16()));
    }
    let mut response = answered?;
    rate::tell(response.headers_mut(), rates.iter().flatten());
    Ok(response)
}

async fn answer(
    api: &Api,
    caller: Caller,
    app: String,
    operation: String,
    incoming: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(api, incoming, body).await?;
    if wants_events(incoming) {
        return stream::events(api.clone(), caller, app, operation, body, incoming).await;
    }
    let call = || Call { app: &app, operation: &operation, body: &body, sink: None };
    if wants_no_answer(incoming)
        && let Some(id) = api.core.router.begin(call()).await?
    {
        let mut response = begun(id);
        response.headers_mut().insert("preference-applied", HeaderValue::from_static("respond-async"));
        return Ok(response);
    }
    Ok(plain(api.core.router.execute(call()).await?, incoming))
}

/// The request as a collector sees it. Costs next to nothing unless something is exported.
fn span() -> tracing::Span {
    tracing::trace_span!(
        target: SPANS,
        "request",
        "otel.name" = "POST /v1/apps/{app}/operations/{operation}",
        "otel.kind" = "server",
        "http.request.method" = "POST",
        "http.route" = "/v1/apps/{app}/operations/{operation}",
        "http.response.status_code" = Empty,
        "otel.status_code" = Empty,
    )
}

fn record(span: &tracing::Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

pub(super) fn wants_events(incoming: &HeaderMap) -> bool {
    let accepts = incoming.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|value| value.split(',').any(|range| range.trim_start().starts_with("text/event-stream")))
}

/// Whether the caller does not want to wait: `Prefer: respond-async` (RFC 7240).
fn wants_no_answer(incoming: &HeaderMap) -> bool {
    let preferred = incoming.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferred.flat_map(|value| value.split([',', ';'])).any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
}

fn plain(answer: Answer, incoming: &HeaderMap) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(answer.output)));
    let fields = response.headers_mut();
    fields.reserve(10);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(headers::PATH, HeaderValue::from_static(answer.path.as_str()));
    if let Some(reason) = answer.fallback {
        fields.insert(headers::FALLBACK, HeaderValue::from_static(reason.as_str()));
    }
    let mut digits = [0; uuid::fmt::Hyphenated::LENGTH];
    if let Ok(id) = HeaderValue::from_str(answer.execution.0.as_hyphenated().encode_lower(&mut digits)) {
        fields.insert(headers::EXECUTION, id);
    }
    let own = || trace_context::continued(TraceContext::of(incoming), answer.execution);
    if let Some(trace) = trace_context::exported().or_else(own) {
        fields.insert(headers::TRACEPARENT, trace);
    }
    response.into_response()
}
