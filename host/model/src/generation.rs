//! The port to language models.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Message, ModelParameters, NanoUsd};

/// What is asked of a model.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The alias of the model.
    pub model: String,
    /// The messages, rendered.
    pub messages: Vec<Message>,
    /// Sampling settings.
    pub parameters: ModelParameters,
    /// The JSON Schema 2020-12 that the answer must satisfy.
    pub schema: Arc<Value>,
    /// The longest that the answer, repair round included, may take.
    pub timeout: Duration,
}

/// What an answer used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of all prompts, repair round included.
    pub input_tokens: u64,
    /// Tokens of all answers.
    pub output_tokens: u64,
    /// What they cost, by the dated price of the settings.
    pub cost: NanoUsd,
}

/// A model's answer, JSON that satisfies the request's schema.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The answer.
    pub value: Value,
    /// What it used.
    pub usage: Usage,
    /// The provider's model that answered.
    pub model: String,
    /// Whether the first answer failed the schema and was repaired.
    pub repaired: bool,
}

/// Takes pieces of an answer as they come.
pub trait TokenSink: Send {
    /// One more piece. A repair round begins with a new answer, told by [`TokenSink::restart`].
    fn token(&mut self, text: &str);

    /// What came so far is void.
    fn restart(&mut self);
}

/// What went wrong with a model, as callers and metrics name it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelErrorKind {
    /// No such alias in the settings.
    #[error("no model is configured under this name")]
    UnknownModel,
    /// The settings name a key that is not there.
    #[error("the model's API key is missing")]
    MissingKey,
    /// The provider refused the key (401, 403).
    #[error("the provider refused the API key")]
    Unauthorized,
    /// The provider asks for fewer requests (429).
    #[error("the provider is limiting requests")]
    RateLimited {
        /// How long it asks to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The provider refused the request itself (another 4xx).
    #[error("the provider refused the request (HTTP {status})")]
    Rejected {
        /// The HTTP status.
        status: u16,
    },
    /// The provider failed (5xx).
    #[error("the provider failed (HTTP {status})")]
    ProviderFailed {
        /// The HTTP status.
        status: u16,
    },
    /// No connection.
    #[error("the provider cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the model did not answer in time")]
    Timeout,
    /// The stream ended before the answer did.
    #[error("the model's answer broke off")]
    Truncated,
    /// The answer is larger than the bound.
    #[error("the model's answer is too large")]
    TooLarge,
    /// The answer is no JSON, also after one repair round.
    #[error("the model's answer is not JSON")]
    NotJson,
    /// The answer fails the schema, also after one repair round.
    #[error("the model's answer does not satisfy the output schema")]
    SchemaMismatch,
}

impl ModelErrorKind {
    /// A stable word for metrics, problem details and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownModel => "unknown_model",
            Self::MissingKey => "missing_key",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited { .. } => "rate_limited",
            Self::Rejected { .. } => "rejected",
            Self::ProviderFailed { .. } => "provider_failed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::SchemaMismatch => "schema_mismatch",
        }
    }
}

/// A model that gave no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("model `{model}`: {kind}{}", if detail.is_empty() { String::new() } else { format!(": {detail}") })]
pub struct ModelError {
    /// The alias that was asked for.
    pub model: String,
    /// What went wrong.
    pub kind: ModelErrorKind,
    /// More, for the log and for the caller; never holds a secret, at most 500 characters.
    pub detail: String,
    /// What the reader can do about it.
    pub hint: String,
    /// What was used all the same.
    pub usage: Usage,
}

/// A language model, or many behind aliases.
#[async_trait]
pub trait ModelProvider: Send + Sync {
    /// Asks a model and waits for the whole answer. `sink` sees its pieces as they come.
    async fn generate(
        &self,
        request: &GenerateRequest,
        sink: Option<&mut dyn TokenSink>,
    ) -> Result<Generation, ModelError>;

    /// What stands behind an alias, as `endpoint/model`: part of an operation's version. `None` for an unknown alias.
    fn resolve(&self, alias: &str) -> Option<String>;
}
