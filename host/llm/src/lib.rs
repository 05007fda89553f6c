//! Language models behind the port [`nexus_model::ModelProvider`].
//!
//! [`LanguageModels`] sends rendered messages to OpenAI-compatible endpoints, streams the answer, checks it against a JSON
//! Schema and asks once more when it does not satisfy it. Whatever goes wrong has a named kind and a hint. The crate reads
//! no environment and no files: keys come from the caller, see [`KeyResolver`].

mod answer;
mod events;
mod exchange;
mod failure;
mod hint;
mod provider;
mod schema;
mod settings;
mod wire;

pub use answer::MAX_ANSWER_BYTES;
pub use provider::{KeyResolver, LanguageModels, LlmError};
pub use settings::{Endpoint, InvalidEndpoint, KeyReference, ModelSettings, Price, Provider, ResponseFormat};
