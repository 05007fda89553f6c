//! What went wrong, in words for the caller's model.

use nexus_definitions::Violation;
use nexus_model::CatalogueError;
use serde_json::Value;

use crate::{CallErrorKind, MemoryError, ToolErrorKind};

/// What the caller's model is told, or why nobody can answer it.
type Told = Result<String, CatalogueError>;

pub(crate) fn of_call(kind: &CallErrorKind) -> Told {
    let told = match kind {
        CallErrorKind::UnknownApp { .. } | CallErrorKind::UnknownOperation { .. } => {
            return Err(CatalogueError::Unknown(kind.to_string()));
        }
        CallErrorKind::Store(error) => {
            tracing::error!(%error, "the runtime store could not be used");
            return Err(CatalogueError::Unavailable("the runtime store is unavailable: try again later".to_owned()));
        }
        CallErrorKind::InvalidInput { violations } => told(violations),
        // What a provider says is for the log.
        CallErrorKind::Model(error) => format!("the model gave no usable answer ({})", error.kind.code()),
        kind => kind.to_string(),
    };
    Ok(format!("{}: {told}", kind.code()))
}

pub(crate) fn of_tool(kind: &ToolErrorKind) -> Told {
    match kind {
        ToolErrorKind::Call(kind) => of_call(kind),
        ToolErrorKind::UnknownTool { nearest, .. } => {
            let hint = nearest.as_ref().map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default();
            Err(CatalogueError::Unknown(format!("{kind}{hint}")))
        }
        ToolErrorKind::Failed(error) => Ok(said(error)),
        kind => Ok(format!("{}: {kind}", kind.code())),
    }
}

/// A tool's own error.
pub(crate) fn said(error: &Value) -> String {
    error.as_str().map_or_else(|| error.to_string(), ToOwned::to_owned)
}

pub(crate) fn of_memory(error: &MemoryError) -> CatalogueError {
    tracing::error!(%error, "the memory of an application could not be read");
    CatalogueError::Unavailable("the memory of the application cannot be read now".to_owned())
}

/// Each violation with its place.
pub(crate) fn told(violations: &[Violation]) -> String {
    let one = |violation: &Violation| {
        let place = if violation.path.is_empty() { "the input" } else { &violation.path };
        format!("{place}: {}", violation.message)
    };
    violations.iter().map(one).collect::<Vec<_>>().join("; ")
}
