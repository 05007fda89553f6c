//! Errors of definitions as problems.

use axum::http::StatusCode;
use nexus_core::{LifecycleError, MemoryError, MoveError, RegistryError, WriteError};
use nexus_definitions::StarterError;
use nexus_model::{DefinitionError, RemoteError, Revision};

use super::{BUSY_WAIT, did_you_mean, draining, internal, shortened, unknown_app, violated};
use crate::http::problem::{Problem, ViolationView};

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::UnknownApp(app) => {
                unknown_app(app.as_str(), None).hint("`PUT /v1/apps/{app}` with all its files adds it")
            }
            WriteError::UnknownFile { nearest, .. } => did_you_mean(
                Self::new(StatusCode::NOT_FOUND, "unknown_file", "No such file", shortened(&detail)),
                nearest.as_deref(),
            ),
            WriteError::UnknownRevision { .. } => {
                Self::new(StatusCode::NOT_FOUND, "unknown_revision", "No such revision", shortened(&detail))
                    .hint("`GET /v1/apps/{app}/history` lists the revisions that there were")
            }
            WriteError::Unconditional { actual } => Self::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition_required",
                "A change must say of what",
                detail,
            )
            .hint("send `If-Match` with the `ETag` of what you have read, or `If-Match: *` to change whatever is there")
            .at(Some(&actual)),
            WriteError::Conflict { actual } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "Somebody else was faster", detail)
                    .hint("read it again, make the change on what is there now, and send that revision")
                    .at(actual.as_ref())
            }
            WriteError::Following(_) => followed(detail),
            WriteError::Faults(faults) => {
                let count = faults.len();
                let plural = if count == 1 { "" } else { "s" };
                let first = faults.first().map(ToString::to_string).unwrap_or_default();
                let problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "definition_faults",
                    "The definition has faults; nothing was changed",
                    format!("{count} fault{plural}: {first}"),
                );
                Self { faults: faults.into_iter().map(Into::into).collect(), ..problem }
            }
            WriteError::UnknownPlugin { app, plugin } => super::unknown_plugin(app.as_str(), plugin.as_str()),
            WriteError::Widened { widening, .. } => super::plugins::widened(detail, *widening),
            WriteError::Component(error) => error.into(),
            WriteError::Edit(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "uneditable", "`app.yaml` cannot be changed", detail)
            }
            WriteError::Refused { path, reason } => file_refused(&path, &reason),
            WriteError::Store(error) => unavailable(&error),
        }
    }
}

impl From<MoveError> for Problem {
    fn from(error: MoveError) -> Self {
        const TITLE: &str = "The definitions cannot be moved this way";
        let detail = error.to_string();
        let conflict = |code: &'static str| Self::new(StatusCode::CONFLICT, code, TITLE, detail.clone());
        match &error {
            MoveError::None => conflict("no_remote").hint("the setting is `definitions.remote`"),
            MoveError::Following(_) => followed(detail),
            MoveError::Remote(RemoteError::Diverged { .. }) => conflict("diverged"),
            MoveError::Remote(RemoteError::Refused(_)) => conflict("push_refused").hint("fetch first, then push again"),
            MoveError::Remote(RemoteError::Unreachable(_)) => {
                Self::new(StatusCode::BAD_GATEWAY, "remote_unreachable", "The remote cannot be used", detail)
            }
            MoveError::Remote(RemoteError::Store(error)) | MoveError::Registry(RegistryError::Definitions(error)) => {
                unavailable(error)
            }
            MoveError::Registry(RegistryError::States(error)) => error.clone().into(),
        }
    }
}

fn followed(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "definitions_followed", "This host does not change definitions", detail)
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::UnknownApp(app) => unknown_app(app.as_str(), None),
            LifecycleError::Store(error) => error.into(),
        }
    }
}

impl From<StarterError> for Problem {
    fn from(error: StarterError) -> Self {
        match error {
            StarterError::Parameters(violations) => violated(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_parameters",
                "The parameters do not satisfy the template's schema",
                violations.into_iter().map(|v| ViolationView { path: v.path, message: v.message }).collect(),
            )
            .hint("`GET /v1/templates` shows the schema of each template's parameters"),
            StarterError::Name(error) => invalid_name(error.to_string()),
            StarterError::Render { .. } => {
                tracing::error!(%error, "a template is faulty");
                internal()
            }
        }
    }
}

impl From<MemoryError> for Problem {
    fn from(error: MemoryError) -> Self {
        const TITLE: &str = "The memory cannot hold this";
        match error {
            MemoryError::TooLong(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "text_too_long", TITLE, error.to_string())
            }
            MemoryError::Full(reason) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "memory_full", TITLE, reason),
            MemoryError::Stopping => draining(),
            MemoryError::Store(error) => unavailable(&error),
        }
    }
}

pub(crate) fn invalid_document(reason: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", "No document can have this name", reason)
}

pub(crate) fn unknown_document(app: &str, name: &str) -> Problem {
    let detail = format!("the memory of `{}` has no document `{}`", shortened(app), shortened(name));
    Problem::new(StatusCode::NOT_FOUND, "unknown_document", "No such document", detail)
}

pub(crate) fn unknown_template(name: &str, nearest: Option<&str>) -> Problem {
    let detail = format!("there is no template `{}`", shortened(name));
    did_you_mean(Problem::new(StatusCode::NOT_FOUND, "unknown_template", "No such template", detail), nearest)
}

impl Problem {
    /// What the application is at.
    fn at(self, revision: Option<&Revision>) -> Self {
        Self { revision: revision.map(ToString::to_string), ..self }
    }
}

fn unavailable(error: &DefinitionError) -> Problem {
    tracing::error!(%error, "the definitions' repository failed");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "definitions_unavailable",
        "The definitions are unavailable",
        "the repository did not answer; the server's log says why",
    )
    .retry_after(BUSY_WAIT)
}

pub(crate) fn file_refused(path: &str, reason: &str) -> Problem {
    let detail = format!("`{}`: {reason}", shortened(path));
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "file_refused", "The file cannot be kept", detail)
}

pub(crate) fn invalid_name(reason: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_name", "No application can have this name", reason)
}

/// Not 503: nothing is wrong with the server, and trying again soon does not help.
pub(crate) fn app_inactive(app: &str, reason: &str) -> Problem {
    let detail = format!("`{}` takes no calls: {reason}", shortened(app));
    Problem::new(StatusCode::CONFLICT, "app_inactive", "The application is inactive", detail)
        .hint("whoever may change it puts it back into service with `nexus apps activate`")
}
