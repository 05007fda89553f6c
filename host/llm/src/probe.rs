//! One tiny call that shows whether a model is of use: from its key to the form of its answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_model::{
    GenerateRequest, Message, ModelError, ModelErrorKind, ModelParameters, ModelProvider, Role, TokenSink, Usage,
};
use serde_json::json;

use crate::LanguageModels;

/// The most tokens of the answer; it needs about forty, and some models think before.
const MAX_TOKENS: u32 = 2_000;

/// What one tiny call has shown. `None` is what it could not show.
#[derive(Debug)]
pub struct Probe {
    /// The model that the provider says has answered.
    pub answered: Option<String>,
    /// Whether the endpoint can be reached.
    pub reachable: Option<bool>,
    /// Whether the key is there and accepted.
    pub key: Option<bool>,
    /// Whether the answer satisfied the schema at once.
    pub schema: Option<bool>,
    /// Whether the answer came in pieces.
    pub streaming: Option<bool>,
    /// From the call to the first piece of the answer.
    pub first_piece: Option<Duration>,
    /// From the call to its end.
    pub latency: Duration,
    /// What it used.
    pub usage: Usage,
    /// What went wrong, with a hint.
    pub error: Option<ModelError>,
}

impl LanguageModels {
    /// Asks one model for the numbers up to twelve, and no other in its place. The call costs some hundred tokens.
    pub async fn probe(&self, alias: &str, timeout: Duration) -> Probe {
        let mut pieces = Pieces { begun: Instant::now(), first: None, count: 0 };
        let outcome = self.generate(&request(alias, timeout), Some(&mut pieces)).await;
        let latency = pieces.begun.elapsed();
        let streaming = (pieces.count > 0).then_some(pieces.count > 1);
        match outcome {
            Ok(generation) => Probe {
                answered: Some(generation.by.model),
                reachable: Some(true),
                key: Some(true),
                schema: Some(!generation.repaired),
                streaming,
                first_piece: pieces.first,
                latency,
                usage: generation.usage,
                error: None,
            },
            Err(error) => {
                let (reachable, key, schema) = shown(&error.kind);
                let usage = error.usage;
                Probe {
                    answered: None,
                    reachable,
                    key,
                    schema,
                    streaming,
                    first_piece: pieces.first,
                    latency,
                    usage,
                    error: Some(error),
                }
            }
        }
    }
}

fn request(alias: &str, timeout: Duration) -> GenerateRequest {
    let content = "Answer with the JSON object {\"numbers\": […]} that holds the whole numbers from 1 to 12 in order.";
    GenerateRequest {
        model: alias.to_owned(),
        messages: vec![Message { role: Role::User, content: content.to_owned() }],
        parameters: ModelParameters { max_tokens: Some(MAX_TOKENS), ..ModelParameters::default() },
        schema: Arc::new(json!({
            "type": "object",
            "properties": { "numbers": { "type": "array", "items": { "type": "integer" } } },
            "required": ["numbers"],
            "additionalProperties": false,
        })),
        timeout,
        fallback: false,
    }
}

/// What a failure shows of reachability, key and schema.
fn shown(kind: &ModelErrorKind) -> (Option<bool>, Option<bool>, Option<bool>) {
    match kind {
        ModelErrorKind::UnknownModel | ModelErrorKind::Timeout => (None, None, None),
        ModelErrorKind::MissingKey => (None, Some(false), None),
        ModelErrorKind::Unreachable => (Some(false), None, None),
        ModelErrorKind::Unauthorized => (Some(true), Some(false), None),
        ModelErrorKind::RateLimited { .. }
        | ModelErrorKind::Rejected { .. }
        | ModelErrorKind::ProviderFailed { .. } => (Some(true), None, None),
        ModelErrorKind::Truncated | ModelErrorKind::TooLarge => (Some(true), Some(true), None),
        ModelErrorKind::NotJson | ModelErrorKind::SchemaMismatch => (Some(true), Some(true), Some(false)),
    }
}

struct Pieces {
    begun: Instant,
    first: Option<Duration>,
    count: usize,
}

impl TokenSink for Pieces {
    fn token(&mut self, _: &str) {
        self.first.get_or_insert_with(|| self.begun.elapsed());
        self.count += 1;
    }

    fn restart(&mut self) {}
}
