//! One question to the models of a chain, with its repair round.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nexus_model::{AnsweredBy, ModelError, ModelErrorKind, TokenSink, ToolRequest, Usage};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::LanguageModels;
use crate::{
    answer,
    chain::share,
    exchange::{Answer, Exchange},
    failure::{Failure, MAX_DETAIL},
    hint,
    question::Question,
    settings::{ModelSettings, Price},
    tokens::Tokens,
};

/// A checked answer, or what a model wants of tools.
pub(super) struct Answered {
    /// What the model said.
    pub(super) content: String,
    /// The answer by the schema, where there is one and no tool is wanted.
    pub(super) value: Option<Value>,
    pub(super) tool_calls: Vec<ToolRequest>,
    pub(super) usage: Usage,
    pub(super) by: AnsweredBy,
    /// Whether the first answer failed the schema.
    pub(super) repaired: bool,
}

impl LanguageModels {
    /// What is asked for an alias, in order; one model at least.
    pub(super) fn chain(&self, alias: &str) -> Result<&[String], ModelError> {
        self.chains.get(alias).map(Vec::as_slice).ok_or_else(|| unknown(alias, &self.models))
    }

    /// Asks one model after the other until one answers, or fails in a way in which the next would fail too.
    pub(super) async fn first_of(
        &self,
        chain: &[String],
        question: Question<'_>,
        timeout: Duration,
        mut sink: Option<&mut dyn TokenSink>,
    ) -> Result<Answered, ModelError> {
        let begun = Instant::now();
        let mut spent = Usage::NONE;
        let mut failed: Vec<ModelError> = Vec::new();
        for (turn, alias) in chain.iter().enumerate() {
            let time = share(timeout.saturating_sub(begun.elapsed()), chain.len() - turn);
            if let (Some(last), Some(sink)) = (failed.last(), sink.as_deref_mut()) {
                tracing::warn!(model = last.model, kind = last.kind.code(), next = alias, "falling back");
                sink.restart();
            }
            match self.ask(alias, question, time, sink.as_deref_mut()).await {
                Ok(answered) => return Ok(Answered { usage: spent + answered.usage, ..answered }),
                Err(error) => {
                    spent = spent + error.usage;
                    let passing = error.kind.is_passing();
                    failed.push(error);
                    if !passing {
                        break;
                    }
                }
            }
        }
        Err(told(failed, spent).unwrap_or_else(|| unknown("", &self.models)))
    }

    /// Asks one model, whatever comes of it.
    async fn ask(
        &self,
        alias: &str,
        question: Question<'_>,
        time: Duration,
        sink: Option<&mut (dyn TokenSink + '_)>,
    ) -> Result<Answered, ModelError> {
        let Some(settings) = self.models.get(alias) else { return Err(unknown(alias, &self.models)) };
        let mut used = Tokens::default();
        let key = self.key(settings);
        let outcome = match &key {
            Err(missing) => Err(missing.clone()),
            Ok(key) => {
                let key = key.as_ref();
                let exchange = Exchange { client: &self.client, settings, key, question, time, begun: Instant::now() };
                self.rounds(alias, exchange, sink, &mut used).await
            }
        };
        let usage = Price::usage(self.prices.get(alias), &used);
        let secret = key.as_ref().ok().and_then(Option::as_ref).map(|key| key.secret.expose_secret());
        match outcome {
            Ok(Checked { answer, value, repaired }) => {
                let model = answer.model.unwrap_or_else(|| settings.model.clone());
                let by = AnsweredBy { alias: alias.to_owned(), model };
                Ok(Answered { content: answer.text, value, tool_calls: answer.calls, usage, by, repaired })
            }
            Err(failure) => Err(ModelError {
                model: alias.to_owned(),
                detail: failure.shown(secret),
                hint: hint::of(&failure.kind, alias, settings),
                kind: failure.kind,
                usage,
            }),
        }
    }

    /// Asks, and once more if the answer fails the schema. Who wants tools to be used has not answered yet.
    async fn rounds(
        &self,
        alias: &str,
        exchange: Exchange<'_>,
        mut sink: Option<&mut (dyn TokenSink + '_)>,
        used: &mut Tokens,
    ) -> Result<Checked, Failure> {
        let Exchange { question, settings, .. } = exchange;
        let validator = question.schema.map(|schema| self.validators.of(schema)).transpose().map_err(|error| {
            Failure::new(ModelErrorKind::SchemaMismatch, format!("the schema itself is not valid: {error}"))
        })?;
        let opening = question.opening(settings.provider.tells_schema(settings, &question));
        let first = exchange.ask(&opening, sink.as_deref_mut(), used).await?;
        let Some(validator) = validator.filter(|_| first.calls.is_empty()) else {
            return Ok(Checked { answer: first, value: None, repaired: false });
        };
        let flaw = match answer::read(&first.text, &validator) {
            Ok(value) => return Ok(Checked { answer: first, value: Some(value), repaired: false }),
            Err(flaw) => flaw,
        };

        tracing::debug!(model = alias, kind = flaw.kind().code(), "asking for a repaired answer");
        if let Some(sink) = sink.as_deref_mut() {
            sink.restart();
        }
        let mut messages = opening.into_owned();
        messages.extend(flaw.repair(&first.text));
        let second = exchange.ask(&messages, sink, used).await?;
        if !second.calls.is_empty() {
            return Ok(Checked { answer: second, value: None, repaired: true });
        }
        match answer::read(&second.text, &validator) {
            Ok(value) => Ok(Checked { answer: second, value: Some(value), repaired: true }),
            Err(flaw) => Err(Failure::new(flaw.kind(), flaw.detail())),
        }
    }
}

/// An answer, and the value in it.
struct Checked {
    answer: Answer,
    value: Option<Value>,
    repaired: bool,
}

fn unknown(alias: &str, models: &BTreeMap<String, ModelSettings>) -> ModelError {
    ModelError {
        model: alias.to_owned(),
        kind: ModelErrorKind::UnknownModel,
        detail: String::new(),
        hint: hint::unknown(alias, models.keys().map(String::as_str)),
        usage: Usage::NONE,
    }
}

/// What the model that was asked for failed with, and what came of the others.
fn told(failed: Vec<ModelError>, spent: Usage) -> Option<ModelError> {
    let mut failed = failed.into_iter();
    let first = failed.next()?;
    let others: Vec<String> = failed.map(|error| format!("`{}`: {}", error.model, error.kind)).collect();
    let detail = if others.is_empty() {
        first.detail
    } else {
        let others = format!("fall-backs failed too: {}", others.join(", "));
        let detail = if first.detail.is_empty() { others } else { format!("{}; {others}", first.detail) };
        answer::cut(&detail, MAX_DETAIL - 1)
    };
    Some(ModelError { detail, usage: spent, ..first })
}
