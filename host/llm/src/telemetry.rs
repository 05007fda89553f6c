//! What a collector sees of one request to a provider: a span by `OpenTelemetry`'s conventions for generative AI. Neither
//! prompts nor answers are in it.

use nexus_model::{MODEL_SPAN, SPANS};
use opentelemetry::{Context, trace::TraceContextExt};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Span, field::Empty};
use url::Url;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The span of one request, to which its outcome is told once. Costs next to nothing unless requests are counted or
/// exported.
pub(crate) struct Asked {
    span: Span,
    told: bool,
}

impl Asked {
    pub(crate) fn new(provider: &'static str, model: &str, endpoint: &impl ToString, output: &'static str) -> Self {
        Self { span: span(provider, model, endpoint, output), told: false }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// How it ended: the model that answered, or the stable word for what went wrong; and what the provider counted.
    pub(crate) fn tell(mut self, outcome: Result<Option<&str>, &'static str>, input: u64, output: u64) {
        self.told = true;
        record(&self.span, outcome, input, output);
    }
}

impl Drop for Asked {
    /// Whoever asked is gone before there was an outcome.
    fn drop(&mut self) {
        if !self.told {
            record(&self.span, Err("cancelled"), 0, 0);
        }
    }
}

fn span(provider: &'static str, model: &str, endpoint: &impl ToString, output: &'static str) -> Span {
    let span = tracing::trace_span!(
        target: SPANS,
        MODEL_SPAN,
        "otel.name" = Empty,
        "otel.kind" = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "server.address" = Empty,
        "server.port" = Empty,
        "gen_ai.operation.name" = "chat",
        "gen_ai.provider.name" = provider,
        "gen_ai.output.type" = output,
        "gen_ai.request.model" = model,
        "gen_ai.response.model" = Empty,
        "gen_ai.usage.input_tokens" = Empty,
        "gen_ai.usage.output_tokens" = Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("chat {model}"));
        if let Ok(url) = Url::parse(&endpoint.to_string()) {
            span.record("server.address", url.host_str());
            span.record("server.port", url.port_or_known_default());
        }
    }
    span
}

fn record(span: &Span, outcome: Result<Option<&str>, &'static str>, input: u64, output: u64) {
    if span.is_disabled() {
        return;
    }
    match outcome {
        Ok(model) => {
            span.record("gen_ai.response.model", model);
        }
        Err(code) => {
            span.record("error.type", code);
            span.record("otel.status_code", "ERROR");
        }
    }
    if input > 0 || output > 0 {
        span.record("gen_ai.usage.input_tokens", input);
        span.record("gen_ai.usage.output_tokens", output);
    }
}

/// The fields that tell a provider which trace its request belongs to; none where there is no trace.
pub(crate) fn trace_fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return;
        }
        let parent = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8());
        if let Ok(parent) = HeaderValue::from_str(&parent) {
            fields.insert(TRACEPARENT, parent);
        }
        let state = span.trace_state().header();
        if let Some(state) = HeaderValue::from_str(&state).ok().filter(|_| !state.is_empty()) {
            fields.insert(TRACESTATE, state);
        }
    });
    fields
}
