//! Log lines on standard error.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{Redactor, escape_controls};

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
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::default(), colour: false, redactor: Redactor::default() }
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

/// Writes log lines without secrets, one line per event.
#[derive(Debug)]
pub struct LoggingService {
    settings: LoggingSettings,
    filter: EnvFilter,
}

impl LoggingService {
    /// Reads the filter.
    pub fn new(settings: LoggingSettings) -> Result<Self, LoggingError> {
        let filter = EnvFilter::try_new(&settings.filter)
            .map_err(|source| LoggingError::Filter { filter: settings.filter.clone(), source })?;
        Ok(Self { settings, filter })
    }

    /// Logs everything that this process says from now on to standard error. Once per process.
    pub fn install(self) -> Result<(), LoggingError> {
        tracing::subscriber::set_global_default(self.subscriber(io::stderr)).map_err(LoggingError::Installed)
    }

    /// A subscriber that writes to `writer`.
    pub fn subscriber<W>(self, writer: W) -> Box<dyn Subscriber + Send + Sync>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let LoggingSettings { format, colour, redactor, .. } = self.settings;
        let colour = colour && format == LogFormat::Human;
        let writer = SafeWriter { inner: writer, redactor, colour };
        let lines = tracing_subscriber::fmt().with_env_filter(self.filter).with_ansi(colour).with_writer(writer);
        match format {
            LogFormat::Human => Box::new(lines.finish()),
            LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
        }
    }
}

/// Makes lines safe before they are written.
#[derive(Debug)]
struct SafeWriter<W> {
    inner: W,
    redactor: Redactor,
    colour: bool,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for SafeWriter<W> {
    type Writer = SafeLine<'w, W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        SafeLine { inner: self.inner.make_writer(), redactor: &self.redactor, colour: self.colour }
    }
}

/// Takes one event, which the formatter writes at one time.
struct SafeLine<'w, W> {
    inner: W,
    redactor: &'w Redactor,
    colour: bool,
}

impl<W: Write> Write for SafeLine<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let redacted = self.redactor.redact(&text);
        self.inner.write_all(escape_controls(&redacted, self.colour).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
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
        let settings = LoggingSettings { filter: "info".into(), format, colour, redactor };
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
    fn a_bad_filter_is_named() {
        let settings = LoggingSettings { filter: "nexus=loud".into(), ..LoggingSettings::default() };
        assert!(LoggingService::new(settings).unwrap_err().to_string().contains("`nexus=loud`"));
    }
}
