//! Errors of plugins and tools as problems.

use axum::http::StatusCode;
use nexus_core::{ToolError, ToolErrorKind, Widening};
use nexus_model::LoadError;

use super::{call_problem, component_problem, did_you_mean, internal, shortened, violated};
use crate::http::problem::{Problem, ProblemMore, ViolationView};

impl From<ToolError> for Problem {
    fn from(error: ToolError) -> Self {
        let ToolError { execution, kind } = error;
        tool_problem(kind).logged(execution)
    }
}

impl From<ToolErrorKind> for Problem {
    fn from(kind: ToolErrorKind) -> Self {
        tool_problem(kind)
    }
}

fn tool_problem(kind: ToolErrorKind) -> Problem {
    let (code, detail) = (kind.code(), kind.to_string());
    match kind {
        ToolErrorKind::Call(kind) => call_problem(kind, code),
        ToolErrorKind::UnknownTool { app, name, nearest } => {
            let detail = format!("`{}` has no tool `{}`", shortened(&app), shortened(&name));
            did_you_mean(Problem::new(StatusCode::NOT_FOUND, code, "No such tool", detail), nearest.as_deref())
        }
        ToolErrorKind::Arguments { path, expected, got } => violated(
            StatusCode::UNPROCESSABLE_ENTITY,
            code,
            "The arguments do not fit the tool",
            vec![ViolationView { path: pointer(&path), message: format!("expected {expected}, got {got}") }],
        ),
        ToolErrorKind::Failed(error) => {
            let title = "The tool ran and says no";
            let said = shortened(&error.to_string());
            let more = ProblemMore { error: Some(error), ..ProblemMore::default() };
            Problem { more: Some(Box::new(more)), ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, title, said) }
        }
        ToolErrorKind::TooLarge { .. } => {
            Problem::new(StatusCode::BAD_GATEWAY, code, "The tool's result is too large", detail)
        }
        ToolErrorKind::Late(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, code, "The plugin was not ready", detail),
        ToolErrorKind::Load(error) => {
            tracing::error!(%error, "a plugin that was checked cannot be made ready");
            Problem::new(StatusCode::BAD_GATEWAY, code, "The plugin cannot be made ready", detail)
        }
        ToolErrorKind::Component(fault) => component_problem(&fault, code),
    }
}

/// `lines[3].qty` as a JSON Pointer. The names of parameters and fields have no such signs in them.
fn pointer(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let steps = path.replace('[', "/").replace(']', "").replace('.', "/");
    if steps.starts_with('/') { steps } else { format!("/{steps}") }
}

impl From<LoadError> for Problem {
    /// A component that somebody has sent.
    fn from(error: LoadError) -> Self {
        const TITLE: &str = "The component cannot be a plugin";
        let detail = error.to_string();
        let refused = |code: &'static str| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, TITLE, detail.clone());
        match error {
            LoadError::NotAComponent(_) => refused("not_a_component")
                .hint("a plugin is a WebAssembly component, as built for the target wasm32-wasip2"),
            LoadError::ForeignImports(_) => refused("foreign_imports")
                .hint("`nexus plugin grants FILE` says what a component imports and what would grant it"),
            LoadError::NotGranted(_) => refused("not_granted"),
            LoadError::Grant(_) => refused("invalid_grant"),
            LoadError::MissingExport(_) | LoadError::NoTools(_) => refused("no_tools"),
            LoadError::Compile(_) => refused("component_not_compiled"),
            LoadError::Host(_) => {
                tracing::error!(error = detail, "a component could not be looked at");
                internal()
            }
        }
    }
}

/// More than it was granted: 409, because it is the state of the application that speaks against it.
pub(super) fn widened(detail: String, widening: Widening) -> Problem {
    let title = "The plugin would be granted more than it was";
    let more = ProblemMore {
        widened: widening.grants,
        wit_diff: (!widening.wit.is_empty()).then_some(widening.wit),
        ..ProblemMore::default()
    };
    let problem = Problem::new(StatusCode::CONFLICT, "grants_widened", title, detail);
    Problem { more: Some(Box::new(more)), ..problem.hint("send `?accept=widened` if that is meant") }
}

pub(crate) fn unknown_plugin(app: &str, name: &str) -> Problem {
    let detail = format!("`{}` has no plugin `{}`", shortened(app), shortened(name));
    Problem::new(StatusCode::NOT_FOUND, "unknown_plugin", "No such plugin", detail)
}

pub(crate) fn invalid_plugin(reason: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_name", "No plugin can have this name", reason)
}

#[cfg(test)]
mod tests {
    use super::pointer;

    #[test]
    fn places_of_arguments_are_pointers() {
        for (path, expected) in
            [("", ""), ("lines", "/lines"), ("lines[3].qty", "/lines/3/qty"), ("a.b[0][1]", "/a/b/0/1")]
        {
            assert_eq!(pointer(path), expected);
        }
    }
}
