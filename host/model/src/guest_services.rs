//! What the host does for a component while it runs, for one call.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;

use crate::{AppName, ExecutionId, SecretName, ToolCaller};

/// Why the host did not do what a component asked for. The text is for the component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// It is not granted.
    #[error("not granted: {0}")]
    Denied(String),
    /// There is no such thing.
    #[error("not found: {0}")]
    NotFound(String),
    /// A quota or a bound.
    #[error("limit reached: {0}")]
    Limit(String),
    /// The host failed, or somebody it asked.
    #[error("failed: {0}")]
    Failed(String),
}

/// How loud a component's words are: the levels of `wasi:logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestLevel {
    /// Every step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// What happens.
    Info,
    /// What may go wrong.
    Warn,
    /// What went wrong.
    Error,
    /// What cannot go on.
    Critical,
}

/// A page of an application's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

/// What the host does for a component, for one call. The application and the grants behind it are fixed when it is made;
/// grants by pattern (tools, events, models) are checked here, the others when the component is linked.
#[async_trait]
pub trait GuestServices: Send + Sync {
    /// The application that the component works for.
    fn app(&self) -> &AppName;

    /// The execution that the call is part of, if it is part of one.
    fn execution(&self) -> Option<ExecutionId>;

    /// The folder of the application's own, made if it is not there.
    async fn folder(&self) -> Result<PathBuf, ServiceError>;

    /// The value of a secret that a grant names. Never handed to the component.
    async fn secret(&self, name: &SecretName) -> Result<SecretString, ServiceError>;

    /// A value of the application's state.
    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, ServiceError>;

    /// Sets a value; within the application's quota.
    async fn set(&self, bucket: &str, key: &str, value: Vec<u8>) -> Result<(), ServiceError>;

    /// Removes a value, if it is there.
    async fn delete(&self, bucket: &str, key: &str) -> Result<(), ServiceError>;

    /// The keys after a cursor, at most a page of them.
    async fn keys(&self, bucket: &str, cursor: Option<&str>) -> Result<KeyPage, ServiceError>;

    /// Adds to a whole number, 0 if it is not there, and returns the sum.
    async fn increment(&self, bucket: &str, key: &str, delta: i64) -> Result<i64, ServiceError>;

    /// Sets a value if it is still what was read; whether it was.
    async fn compare_and_set(
        &self,
        bucket: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, ServiceError>;

    /// Writes to the log. The text is a stranger's, of bounded length.
    fn log(&self, level: GuestLevel, context: &str, message: &str);

    /// Calls a tool: its result, or its own error.
    async fn call_tool(&self, tool: &str, arguments: Value) -> Result<Result<Value, Value>, ServiceError>;

    /// Publishes an event and returns its id.
    async fn publish(&self, kind: &str, subject: Option<&str>, data: Value) -> Result<String, ServiceError>;

    /// Asks a model, on the application's account, and returns its text.
    async fn generate(&self, model: &str, system: Option<&str>, prompt: &str) -> Result<String, ServiceError>;

    /// Who called the tool.
    fn caller(&self) -> Arc<dyn ToolCaller>;

    /// Tells all who look at what the application offers that it may be different from now on.
    fn announce(&self);
}
