//! What is logged, and where it goes.

use std::{
    io::{self, Write},
    panic::PanicHookInfo,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt};

use crate::{
    HostMetrics, Redactor, Telemetry, escape_controls, gen_ai,
    log::{LogQueue, RecordLayer},
};

/// Lines that wait for standard error at the most; more are dropped, but not from the log on disk.
const WAITING_LINES: usize = 8_192;

/// How a line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LoggingSettings {
    /// The levels, as `info` or `info,nexus_core=debug`.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether lines for people have colours.
    pub colour: bool,
    /// What is masked.
    pub redactor: Redactor,
    /// Where records go that are kept on disk; nowhere if `None`.
    pub queue: Option<LogQueue>,
    /// Where spans and records are exported to; nowhere if `None`.
    pub telemetry: Option<Telemetry>,
    /// Where requests to the providers of models are counted.
    pub metrics: Arc<HostMetrics>,
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::default(),
            colour: false,
            redactor: Redactor::default(),
            queue: None,
            telemetry: None,
            metrics: Arc::default(),
        }
    }
}

/// Logging was not set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("`{filter}` is not a log filter: use a level as `info`, or levels by module as `info,nexus_core=debug`")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// It was set up before.
    #[error("logging is already set up")]
    Installed(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// Makes one record without secrets of everything that this process says, shows it on one line, and keeps it.
#[derive(Debug)]
pub struct LoggingService {
    settings: LoggingSettings,
    filter: EnvFilter,
}

/// Writes the last lines when it is dropped, within a bounded time.
#[derive(Debug)]
pub struct LogGuard {
    _worker: WorkerGuard,
}

impl LoggingService {
    /// Reads the filter.
    pub fn new(settings: LoggingSettings) -> Result<Self, LoggingError> {
        let filter = EnvFilter::try_new(&settings.filter)
            .map_err(|source| LoggingError::Filter { filter: settings.filter.clone(), source })?;
        Ok(Self { settings, filter })
    }

    /// Logs everything that this process says from now on to standard error, panics included. Nobody waits for whoever
    /// reads it. Once per process.
    pub fn install(self) -> Result<LogGuard, LoggingError> {
        let lines = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).thread_name("log");
        let (lines, worker) = lines.finish(io::stderr());
        self.install_on(lines)?;
        Ok(LogGuard { _worker: worker })
    }

    /// Logs everything that this process says from now on to `writer`, panics included. Once per process.
    pub fn install_on<W>(self, writer: W) -> Result<(), LoggingError>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        tracing::subscriber::set_global_default(self.subscriber(writer)).map_err(LoggingError::Installed)?;
        // What the standard library would print has not been redacted.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(target: "nexus::panic", place, "panicked: {}", message(panic));
        }));
        Ok(())
    }

    /// A subscriber that writes to `writer`.
    pub fn subscriber<W>(self, writer: W) -> Box<dyn Subscriber + Send + Sync>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let LoggingSettings { format, colour, redactor, queue, telemetry, metrics, .. } = self.settings;
        let colour = colour && format == LogFormat::Human;
        let export = telemetry.as_ref().map(Telemetry::log_export);
        let requests = gen_ai::layer(metrics, redactor.clone());
        let records = RecordLayer { lines: writer, format, colour, redactor, queue, export };
        let (filter, registry) = (self.filter, tracing_subscriber::registry().with(requests));
        match telemetry {
            Some(telemetry) => Box::new(registry.with(telemetry.layer()).with(records.with_filter(filter))),
            // Without a layer for them, other spans that only a collector wants are told apart once, not for each call.
            None => Box::new(registry.with(records.with_filter(filter))),
        }
    }
}

/// From now on a panic is one line on standard error, without what the redactor knows. For programs that keep no log.
pub fn show_panics(redactor: Redactor) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Nobody can be told that standard error is closed.
        let _ = io::stderr().write_all(panic_line(&place, message(panic), &redactor).as_bytes());
    }));
}

fn panic_line(place: &str, message: &str, redactor: &Redactor) -> String {
    let line = format!("panicked at {place}: {message}");
    escape_controls(redactor.redact(&line).trim_end(), false).into_owned() + "\n"
}

fn message<'p>(panic: &'p PanicHookInfo<'_>) -> &'p str {
    panic.payload_as_str().unwrap_or("a value that is no text")
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::{LogFormat, LoggingService, LoggingSettings};
    use crate::Redactor;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, colour: bool) -> String {
        let redactor = Redactor::new(["correct horse battery".to_owned()]);
        let settings =
            LoggingSettings { filter: "info".into(), format, colour, redactor, ..LoggingSettings::default() };
        let lines = Lines::default();
        let made = lines.clone();
        let subscriber = LoggingService::new(settings).unwrap().subscriber(move || made.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("not shown");
            tracing::info!(key = "nxs_secretsecret", "one\nINFO forged \u{1b}[2J");
            tracing::warn!(password = "correct horse battery", token = %"Bearer tok.en");
        });
        let lines = lines.0.lock().unwrap().clone();
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn an_event_is_one_line_without_secrets() {
        for (format, colour) in [(LogFormat::Human, false), (LogFormat::Human, true), (LogFormat::Json, false)] {
            let text = logged(format, colour);
            assert_eq!(text.lines().count(), 2, "{text}");
            for secret in ["secretsecret", "correct horse", "tok.en", "not shown", "\u{1b}[2J"] {
                assert!(!text.contains(secret), "{text}");
            }
            assert_eq!(text.contains('\u{1b}'), colour, "{text}");
        }
    }

    #[test]
    fn json_stays_json() {
        for line in logged(LogFormat::Json, true).lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(event["level"].is_string(), "{line}");
        }
    }

    #[test]
    fn a_panic_without_a_log_is_one_line_without_secrets() {
        let redactor = Redactor::new(["correct horse battery"]);
        let line = super::panic_line("a.rs:1", "no\n\u{1b}[2J correct horse battery nxs_01\n", &redactor);
        assert_eq!(line, "panicked at a.rs:1: no\\n\\u001b[2J *** nxs_***\n");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let settings = LoggingSettings { filter: "nexus=loud".into(), ..LoggingSettings::default() };
        assert!(LoggingService::new(settings).unwrap_err().to_string().contains("`nexus=loud`"));
    }
}
