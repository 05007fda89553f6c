//! Why a command did not do what it was asked.

use std::{path::PathBuf, process::ExitCode};

use miette::Diagnostic;

use super::output::Output;
use crate::{
    Problem, SettingsError, StartError,
    start_error::{AppsError, chain},
};

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum Failure {
    /// The server answered with an error.
    #[error("{}: {}", .0.title, .0.detail)]
    Answer(Box<Problem>),
    /// There are faults, and they have been shown.
    #[error("there are faults")]
    Faults,
    #[error("there is no server at {url}")]
    #[diagnostic(help("start one with `nexus serve`, or name another with --url"))]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the server is not ready")]
    NotReady(#[source] Box<Failure>),
    #[error("what {url} answered is not of Nexus: {reason}")]
    Foreign { url: String, reason: String },
    #[error("{message}")]
    Usage {
        message: String,
        #[help]
        help: Option<String>,
    },
    #[error("`{}` cannot be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` cannot be written", .path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Folder(#[from] nexus_state::folder::FolderError),
    #[error("the server did not start")]
    Start(#[from] StartError),
    #[error(transparent)]
    Logging(#[from] nexus_signals::LoggingError),
    #[error(transparent)]
    #[diagnostic(help("`nexus record --help` says what is read and written"))]
    Recording(#[from] crate::record::BookError),
    #[error(transparent)]
    Task(#[from] crate::asking::TaskError),
    #[error("the recording has stopped; what was answered is written down")]
    #[diagnostic(help("mend what is wrong and run it again: it goes on where it was"))]
    Stopped(#[from] crate::record::Stop),
    #[error("the tests have stopped: no other would fare better")]
    #[diagnostic(help("`nexus model test` says what is wrong with a model of the settings"))]
    Untested(#[source] nexus_model::ModelError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Pull(#[from] Box<super::oci::PullError>),
    #[error("the guard did not start")]
    #[diagnostic(help("`nexus engine-guard --help` says what it takes"))]
    Guard(#[source] nexus_sandbox::SandboxError),
    #[error("the guard has no engine")]
    NoEngine(#[source] nexus_sandbox::SandboxError),
    #[error(transparent)]
    Telemetry(#[from] nexus_signals::TelemetryError),
    #[error("the runtime did not start")]
    Runtime(#[source] std::io::Error),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>, help: &str) -> Self {
        Self::Usage { message: message.into(), help: (!help.is_empty()).then(|| help.to_owned()) }
    }

    /// 1: the answer is an error, or there are faults. 2: the question could not be asked.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Answer(_)
            | Self::NotReady(_)
            | Self::NoEngine(_)
            | Self::Faults
            | Self::Stopped(_)
            | Self::Start(StartError::Apps(AppsError::Faults { .. })) => ExitCode::from(1),
            _ => ExitCode::from(2),
        }
    }

    pub(crate) fn show(&self, output: Output) {
        match self {
            Self::Faults => {}
            Self::Answer(problem) if output.json => output.value(problem),
            Self::Start(StartError::Apps(AppsError::Faults { folder, faults, .. })) if output.json => {
                output
                    .value(&serde_json::json!({ "error": chain(self), "faults": super::check::list(folder, faults) }));
            }
            _ if output.json => output.value(&serde_json::json!({ "error": chain(self) })),
            Self::Answer(problem) => output.report(&Shown(problem)),
            Self::Start(StartError::Apps(AppsError::Faults { folder, faults, files })) => {
                super::check::show_faults(output, folder, faults, files);
                output.report(self);
            }
            _ => output.report(self),
        }
    }
}

/// A problem as a report: what happened, where the input is wrong, what can be done.
#[derive(Debug)]
struct Shown<'a>(&'a Problem);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { title, detail, violations, faults, instance, .. } = self.0;
        write!(f, "{title}: {detail}")?;
        if violations.len() > 1 {
            for violation in violations {
                let path = if violation.path.is_empty() { "/" } else { &violation.path };
                write!(f, "\n{path}: {}", violation.message)?;
            }
        }
        for fault in faults.iter().filter(|_| faults.len() > 1) {
            write!(f, "\n{fault}")?;
        }
        instance.as_deref().map_or(Ok(()), |instance| write!(f, "\n{instance}"))
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(format!("{} {}", self.0.status, self.0.code)))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.0.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn std::fmt::Display>)
    }
}
