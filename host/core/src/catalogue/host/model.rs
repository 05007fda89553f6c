//! `core.llm.generate`.

use std::sync::Arc;

use nexus_model::{GenerateRequest, Message, ModelParameters, Role};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{
    Scope, Target,
    budget::{Payer, SpendError},
    tools::{MAX_PROMPT_BYTES, text_schema},
};

impl From<SpendError> for Refusal {
    fn from(error: SpendError) -> Self {
        match error {
            SpendError::Exceeded(exceeded) => Self::said("budget_exceeded", exceeded.to_string()),
            SpendError::Store(error) => error.into(),
            // What a provider says is for the log.
            SpendError::Model(error) => {
                tracing::warn!(model = error.model, error = %error.kind, "a model gave no answer to a tool");
                Self::said(error.kind.code(), format!("the model `{}` gave no usable answer", error.model))
            }
        }
    }
}

/// Asks a language model, on the application's account and within its budget. Returns `value`, and what it used.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Generate {
    /// The application that pays.
    app: String,
    /// The alias of a model in the settings.
    model: String,
    /// The conversation: `role` is `system`, `user` or `assistant`.
    #[schemars(with = "Vec<Said>", length(min = 1, max = 1000))]
    messages: Vec<Message>,
    /// JSON Schema of the answer, an object. Without it the answer is a text.
    schema: Option<Value>,
    /// The most tokens of the answer.
    max_tokens: Option<u32>,
    /// 0 to 2.
    temperature: Option<f64>,
}

/// One message.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Said {
    role: SaidBy,
    content: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum SaidBy {
    System,
    User,
    Assistant,
}

impl Arguments for Generate {
    const NAME: &'static str = "core.llm.generate";
    const VERB: fn(Target) -> Scope = Scope::Invoke;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let application = host.serving(&self.app, Self::VERB)?;
        let invalid = |why: String| Refusal::said("invalid_arguments", why);
        let bytes: usize = self.messages.iter().map(|message| message.content.len()).sum();
        if self.messages.is_empty() || bytes > MAX_PROMPT_BYTES {
            return Err(invalid(format!("the messages have 1 to {MAX_PROMPT_BYTES} bytes together")));
        }
        let as_text = self.schema.is_none();
        let schema = self.schema.unwrap_or_else(text_schema);
        nexus_definitions::schema_validator(&schema).map_err(|error| invalid(format!("`schema`: {error}")))?;
        let mut messages = self.messages;
        if as_text {
            let form = "Answer with a JSON object that has the one field \"text\": your answer, as text.";
            messages.insert(0, Message { role: Role::System, content: form.to_owned() });
        }
        let parameters = ModelParameters {
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            ..ModelParameters::default()
        };
        let app = &application.app;
        let request = GenerateRequest {
            model: self.model,
            messages,
            parameters,
            schema: Arc::new(schema),
            timeout: app.limits.timeout,
            fallback: true,
        };
        let payer =
            Payer { app: &app.name, budget: app.limits.budget, execution: true, spent: nexus_model::Usage::NONE };
        let generation = host.core.budgets.generate(payer, &request, None).await?;
        let value = if as_text { generation.value["text"].clone() } else { generation.value };
        let usage = generation.usage;
        Ok(json!({
            "value": value, "model": generation.by.alias, "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens, "cost_nano_usd": usage.cost.map(|cost| cost.0),
        }))
    }
}
