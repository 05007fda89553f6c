//! Log records for the collector: the same that are shown and kept, without secrets.

use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use serde_json::Value;

use crate::log::{LogLevel, LogRecord};

/// Hands records to a bounded queue; what does not fit is dropped.
#[derive(Debug)]
pub(crate) struct LogExport(SdkLogger);

impl LogExport {
    pub(super) fn new(provider: &SdkLoggerProvider) -> Self {
        Self(provider.logger(super::SCOPE))
    }

    /// Takes a record; the trace that it belongs to is the present task's.
    pub(crate) fn put(&self, record: &LogRecord) {
        let mut out = self.0.create_log_record();
        let time = SystemTime::from(record.time);
        out.set_timestamp(time);
        out.set_observed_timestamp(time);
        out.set_severity_text(record.level.as_str());
        out.set_severity_number(severity(record.level));
        out.set_target(record.target.clone());
        out.set_body(AnyValue::from(record.message.clone()));
        let context = &record.context;
        let about = [
            ("nexus.app", &context.app),
            ("nexus.operation", &context.operation),
            ("nexus.execution", &context.execution),
        ];
        for (name, value) in about {
            if let Some(value) = value {
                out.add_attribute(name, value.clone());
            }
        }
        for (name, value) in &record.fields {
            out.add_attribute(name.clone(), any(value));
        }
        self.0.emit(out);
    }
}

fn severity(level: LogLevel) -> Severity {
    match level {
        LogLevel::Trace => Severity::Trace,
        LogLevel::Debug => Severity::Debug,
        LogLevel::Info => Severity::Info,
        LogLevel::Warn => Severity::Warn,
        LogLevel::Error => Severity::Error,
    }
}

fn any(value: &Value) -> AnyValue {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::String(text) => text.clone().into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.to_string().into(),
        },
        other => other.to_string().into(),
    }
}
