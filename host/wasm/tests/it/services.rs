//! What the host does for a component, in tests that need none of it.

use std::path::PathBuf;

use async_trait::async_trait;
use nexus_model::{AppName, ExecutionId, GuestLevel, GuestServices, KeyPage, SecretName, ServiceError};
use secrecy::SecretString;
use serde_json::Value;

/// Grants nothing.
#[derive(Debug)]
pub(crate) struct Nothing {
    app: AppName,
}

impl Default for Nothing {
    fn default() -> Self {
        Self { app: "test".parse().unwrap() }
    }
}

fn denied<T>() -> Result<T, ServiceError> {
    Err(ServiceError::Denied("this test grants nothing".to_owned()))
}

#[async_trait]
impl GuestServices for Nothing {
    fn app(&self) -> &AppName {
        &self.app
    }

    fn execution(&self) -> Option<ExecutionId> {
        None
    }

    async fn folder(&self) -> Result<PathBuf, ServiceError> {
        denied()
    }

    async fn secret(&self, _: &SecretName) -> Result<SecretString, ServiceError> {
        denied()
    }

    async fn get(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        denied()
    }

    async fn set(&self, _: &str, _: &str, _: Vec<u8>) -> Result<(), ServiceError> {
        denied()
    }

    async fn delete(&self, _: &str, _: &str) -> Result<(), ServiceError> {
        denied()
    }

    async fn keys(&self, _: &str, _: Option<&str>) -> Result<KeyPage, ServiceError> {
        denied()
    }

    async fn increment(&self, _: &str, _: &str, _: i64) -> Result<i64, ServiceError> {
        denied()
    }

    async fn compare_and_set(&self, _: &str, _: &str, _: Option<Vec<u8>>, _: Vec<u8>) -> Result<bool, ServiceError> {
        denied()
    }

    fn log(&self, _: GuestLevel, _: &str, _: &str) {}

    async fn call_tool(&self, _: &str, _: Value) -> Result<Result<Value, Value>, ServiceError> {
        denied()
    }

    async fn publish(&self, _: &str, _: Option<&str>, _: Value) -> Result<String, ServiceError> {
        denied()
    }

    async fn generate(&self, _: &str, _: Option<&str>, _: &str) -> Result<String, ServiceError> {
        denied()
    }
}
