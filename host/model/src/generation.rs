//! The port to language models.

use std::{ops::Add, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConverseRequest, Message, ModelParameters, NanoUsd, Reply};

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
    /// The longest that the answer, repair round and fall-back models included, may take.
    pub timeout: Duration,
    /// Whether a model that the settings name as a fall-back may answer in the place of this one.
    pub fallback: bool,
}

/// What an answer used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of all prompts, repair round included, cached ones too.
    pub input_tokens: u64,
    /// Those of the prompts' tokens that the provider had in its cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// Tokens of all answers.
    pub output_tokens: u64,
    /// What they cost, by the dated price of the model that answered. `None` where that is not known: the model has no
    /// price, or the provider did not count.
    pub cost: Option<NanoUsd>,
}

impl Usage {
    /// Nothing was used, and nothing is to be paid.
    pub const NONE: Self = Self { input_tokens: 0, cached_input_tokens: 0, output_tokens: 0, cost: Some(NanoUsd(0)) };
}

impl Add for Usage {
    type Output = Self;

    /// The sum; its cost is known if both are.
    fn add(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_add(other.cached_input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.zip(other.cost).map(|(one, other)| one + other),
        }
    }
}

/// Which model gave an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredBy {
    /// Its alias in the settings. Not the one that was asked for where a fall-back answered.
    pub alias: String,
    /// The provider's name of it.
    pub model: String,
}

/// A model's answer, JSON that satisfies the request's schema.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The answer.
    pub value: Value,
    /// What it used.
    pub usage: Usage,
    /// The model that answered.
    pub by: AnsweredBy,
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
    /// Whether another model may well answer where this one did not: limits (429), failures of the provider (5xx), no
    /// answer in time, no connection. What is wrong with the request or the settings is none of these.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Timeout | Self::Unreachable => true,
            Self::ProviderFailed { status } => *status >= 500,
            _ => false,
        }
    }

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

    /// Asks a model to go on with a conversation and waits for the whole reply. `sink` sees pieces of what it says, not of
    /// the tools that it wants.
    async fn converse(&self, request: &ConverseRequest, sink: Option<&mut dyn TokenSink>) -> Result<Reply, ModelError>;

    /// What stands behind an alias itself, not behind its fall-backs, as `endpoint/model`: part of an operation's version.
    /// `None` for an unknown alias.
    fn resolve(&self, alias: &str) -> Option<String>;

    /// What so many tokens cost at the most, whichever model behind the alias answers; nothing where no price is known.
    fn price(&self, _alias: &str, _input_tokens: u64, _output_tokens: u64) -> NanoUsd {
        NanoUsd::default()
    }
}
