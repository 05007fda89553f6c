//! Errors of executions, as problem details.

use serde::{Deserialize, Serialize};
use serde_json::Value;

const PREFIX: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/";
/// The same types, as documents before 1.0.0 name them; a filter may still do so.
const FORMER_PREFIX: &str = "https://serverlessworkflow.io/dsl/errors/types/";

/// The types of errors that the language has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Settings that are missing or wrong.
    Configuration,
    /// Data that breaks a schema.
    Validation,
    /// An expression that fails.
    Expression,
    /// Who asks is not known.
    Authentication,
    /// Who asks may not.
    Authorization,
    /// Time is over.
    Timeout,
    /// Something outside does not answer, or answers with an error.
    Communication,
    /// Anything else that goes wrong while a workflow runs.
    Runtime,
}

impl ErrorType {
    /// The word with which its URI ends.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Validation => "validation",
            Self::Expression => "expression",
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::Timeout => "timeout",
            Self::Communication => "communication",
            Self::Runtime => "runtime",
        }
    }

    /// Its URI.
    pub fn uri(self) -> String {
        format!("{PREFIX}{}", self.as_str())
    }

    /// The status that it has unless another is said.
    pub fn status(self) -> u16 {
        match self {
            Self::Configuration | Self::Validation | Self::Expression => 400,
            Self::Authentication => 401,
            Self::Authorization => 403,
            Self::Timeout => 408,
            Self::Communication | Self::Runtime => 500,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration Error",
            Self::Validation => "Validation Error",
            Self::Expression => "Expression Error",
            Self::Authentication => "Authentication Error",
            Self::Authorization => "Authorization Error",
            Self::Timeout => "Timeout",
            Self::Communication => "Communication Error",
            Self::Runtime => "Runtime Error",
        }
    }
}

/// An error of an execution: problem details (RFC 9457), whose `instance` is the JSON Pointer of the task that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{} ({status}) at {}: {}", .title.as_deref().unwrap_or(kind), .instance.as_deref().unwrap_or("/"), .detail.as_deref().unwrap_or("no detail"))]
pub struct WorkflowError {
    /// A URI that says what kind of error it is: one of [`ErrorType::uri`], or of the workflow's own.
    #[serde(rename = "type")]
    pub kind: String,
    /// A status, as HTTP has them.
    pub status: u16,
    /// What kind of error it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What happened this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Which task failed. The port may leave it out; the interpreter puts it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl WorkflowError {
    /// An error of a standard type, with its status.
    pub fn new(kind: ErrorType, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.uri(),
            status: kind.status(),
            title: Some(kind.title().to_owned()),
            detail: Some(detail.into()),
            instance: None,
        }
    }

    /// The same error with another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same error, told of a task unless it is told of one already.
    #[must_use]
    pub(crate) fn at(mut self, pointer: &str) -> Self {
        self.instance.get_or_insert_with(|| pointer.to_owned());
        self
    }

    /// As expressions see it.
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Whether two URIs name the same type. The standard types have a former spelling, which the specification's
/// conformance features still use.
pub(crate) fn same_type(left: &str, right: &str) -> bool {
    fn standard(uri: &str) -> &str {
        uri.strip_prefix(PREFIX).or_else(|| uri.strip_prefix(FORMER_PREFIX)).unwrap_or(uri)
    }
    standard(left) == standard(right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ErrorType, WorkflowError, same_type};

    #[test]
    fn an_error_is_problem_details() {
        let error =
            WorkflowError::new(ErrorType::Communication, "no answer").with_status(503).at("/do/0/a").at("/other");
        assert_eq!(
            error.to_value(),
            json!({
                "type": "https://serverlessworkflow.io/spec/1.0.0/errors/communication", "status": 503,
                "title": "Communication Error", "detail": "no answer", "instance": "/do/0/a"
            })
        );
    }

    #[test]
    fn a_standard_type_has_two_spellings() {
        let communication = ErrorType::Communication.uri();
        assert!(same_type(&communication, "https://serverlessworkflow.io/dsl/errors/types/communication"));
        assert!(!same_type(&communication, &ErrorType::Timeout.uri()));
    }
}
