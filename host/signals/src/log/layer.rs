//! From what `tracing` is told to records.

use std::{fmt, io::Write};

use opentelemetry::trace::TraceContextExt;
use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::Context, registry::LookupSpan};

use super::{
    queue::LogQueue,
    record::{LogContext, LogRecord},
};
use crate::{LogFormat, Redactor, telemetry::LogExport};

/// Makes one record of each event, cleans it once, and hands it to the terminal, the disk and the collector.
pub(crate) struct RecordLayer<W> {
    pub(crate) lines: W,
    pub(crate) format: LogFormat,
    pub(crate) colour: bool,
    pub(crate) redactor: Redactor,
    pub(crate) queue: Option<LogQueue>,
    pub(crate) export: Option<LogExport>,
}

impl<S, W> Layer<S> for RecordLayer<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, spans: Context<'_, S>) {
        let mut context = LogContext::default();
        attributes.record(&mut About(&mut context));
        if context.is_empty() {
            return;
        }
        // A call that belongs to no trace is one of its own, named as in the answer's `traceparent`.
        let own = || context.execution.as_ref().map(|id| id.replace('-', ""));
        context.trace_id = context.trace_id.clone().or_else(current_trace).or_else(own);
        if let Some(span) = spans.span(id) {
            span.extensions_mut().insert(context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, spans: Context<'_, S>) {
        if let Some(span) = spans.span(id)
            && let Some(context) = span.extensions_mut().get_mut::<LogContext>()
        {
            values.record(&mut About(context));
        }
    }

    fn on_event(&self, event: &Event<'_>, spans: Context<'_, S>) {
        let metadata = event.metadata();
        let mut record = LogRecord::now((*metadata.level()).into(), metadata.target());
        event.record(&mut Said(&mut record));
        for span in spans.event_scope(event).into_iter().flatten() {
            if let Some(context) = span.extensions().get::<LogContext>() {
                record.context.complete(context);
            }
        }
        record.context.trace_id = record.context.trace_id.take().or_else(current_trace);
        let record = record.cleaned(&self.redactor);
        // Nobody can be told that the log cannot be written.
        let _ = self.lines.make_writer().write_all(record.line(self.format, self.colour).as_bytes());
        if let Some(export) = &self.export {
            export.put(&record);
        }
        if let Some(queue) = &self.queue {
            queue.put(record);
        }
    }
}

/// The trace that the present task belongs to, a caller's or one of our own.
fn current_trace() -> Option<String> {
    opentelemetry::Context::map_current(|context| {
        let span = context.span();
        let context = span.span_context();
        context.is_valid().then(|| context.trace_id().to_string())
    })
}

/// Reads what a span is about.
struct About<'a>(&'a mut LogContext);

impl Visit for About<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.take(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if LogContext::knows(field.name()) {
            self.0.take(field.name(), &format!("{value:?}"));
        }
    }
}

/// Reads what an event says.
struct Said<'a>(&'a mut LogRecord);

impl Said<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Said<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.0.message),
            name if self.0.context.take(name, value) => {}
            _ => self.put(field, value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let reasons = std::iter::successors(value.source(), |reason| reason.source());
        let text = reasons.take(8).fold(value.to_string(), |text, reason| format!("{text}: {reason}"));
        self.put(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
