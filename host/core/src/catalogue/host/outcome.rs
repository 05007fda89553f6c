//! What comes of a call of a tool of the host.

use nexus_model::{CatalogueError, DefinitionError, StoreError};
use serde_json::Value;

use crate::{AuditLogError, MemoryError, PublishError, WriteError};

pub(super) type Outcome = Result<Value, Refusal>;

/// Why a tool of the host did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// For the caller's model to read.
    #[error("{0}")]
    Said(String),
    /// What has to answer cannot.
    #[error("{0}")]
    Broken(CatalogueError),
}

impl Refusal {
    pub(super) fn said(code: &str, why: impl AsRef<str>) -> Self {
        Self::Said(format!("{code}: {}", why.as_ref()))
    }

    fn broken(what: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "{what} could not be used");
        Self::Broken(CatalogueError::Unavailable(format!("{what} cannot be used now: try again later")))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Quota { .. } | StoreError::TooLarge { .. } => Self::said("quota_exceeded", error.to_string()),
            StoreError::NotANumber(_) => Self::said("not_a_number", "the value is no whole number"),
            error => Self::broken("the runtime store", &error),
        }
    }
}

impl From<AuditLogError> for Refusal {
    fn from(error: AuditLogError) -> Self {
        Self::broken("the audit log, without which nothing is changed,", &error)
    }
}

impl From<DefinitionError> for Refusal {
    fn from(error: DefinitionError) -> Self {
        Self::broken("the repository", &error)
    }
}

impl From<MemoryError> for Refusal {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Store(error) => Self::broken("the repository", &error),
            error => Self::said("refused", error.to_string()),
        }
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Store(error) => error.into(),
            error => Self::said("refused", error.to_string()),
        }
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => Self::broken("the repository", &error),
            WriteError::Faults(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                Self::said("definition_faults", faults.join("\n"))
            }
            error => Self::said("refused", error.to_string()),
        }
    }
}
