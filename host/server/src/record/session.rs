//! Asking for one answer after the other, some at one time.

use std::{collections::HashSet, time::Duration};

use futures::{StreamExt, stream};
use nexus_llm::{LanguageModels, Price};
use nexus_model::{Generation, ModelError, ModelProvider, canonical_json};
use serde_json::Value;

use super::{Book, BookError};
use crate::{
    asking::{Task, is_hopeless, patiently},
    replay::{InputKey, Origin, Recording, Tokens},
};

/// So many inputs in a row without an answer end a session.
const GIVE_UP: usize = 10;
/// Characters that make up about one token.
const CHARS_PER_TOKEN: u64 = 4;
/// Tokens that an answer is taken to have where none is known.
const OUTPUT_TOKENS: u64 = 100;

/// What recording would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// In 10⁻⁹ US dollars; `None` without a price.
    pub(crate) cost_nano_usd: Option<u64>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) recorded: usize,
    pub(crate) failed: usize,
    pub(crate) left: usize,
}

/// Why a session ended before all was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(transparent)]
    Book(#[from] BookError),
    /// No input would fare better.
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{GIVE_UP} inputs in a row had no answer, the last: {0}")]
    GaveUp(String),
}

/// Inputs to record the answers of.
pub(crate) struct Session<'a> {
    pub(crate) task: &'a Task,
    pub(crate) models: &'a LanguageModels,
    /// The provider's name of the model, by which a recording is found.
    pub(crate) model: String,
    /// Distinct, and none of them recorded yet.
    pub(crate) inputs: Vec<Value>,
}

impl<'a> Session<'a> {
    /// Leaves out inputs that occur twice or are recorded already, and all beyond `limit`.
    pub(crate) fn new(
        task: &'a Task,
        models: &'a LanguageModels,
        model: String,
        inputs: Vec<Value>,
        book: &Book,
        limit: usize,
    ) -> Self {
        let mut seen = HashSet::new();
        let fresh = |input: &Value| !book.holds(&model, input) && seen.insert(canonical_json(input));
        let inputs = inputs.into_iter().filter(fresh).take(limit).collect();
        Self { task, models, model, inputs }
    }

    /// What asking would take: prompts by their length, answers by what is recorded.
    pub(crate) fn estimate(&self, book: &Book, price: Option<&Price>) -> Result<Estimate, String> {
        let mut chars = 0;
        for input in &self.inputs {
            let request = self.task.request(input)?;
            chars += request.messages.iter().map(|message| message.content.chars().count() as u64).sum::<u64>();
        }
        let each = book.mean_output_tokens().unwrap_or(OUTPUT_TOKENS);
        let (input_tokens, output_tokens) = (chars.div_ceil(CHARS_PER_TOKEN), each * self.inputs.len() as u64);
        let cost_nano_usd = price.map(|price| price.cost(input_tokens, output_tokens).0);
        Ok(Estimate { input_tokens, output_tokens, cost_nano_usd })
    }

    /// Asks for all answers, `parallel` at one time, and writes each down as it comes. `told` hears of each input that had
    /// no answer, and of the progress after each.
    pub(crate) async fn run(
        &self,
        book: &mut Book,
        parallel: usize,
        mut told: impl FnMut(Progress, Option<&str>),
    ) -> Result<Progress, Stop> {
        let mut progress = Progress { left: self.inputs.len(), ..Progress::default() };
        let mut in_a_row = 0;
        let mut answers = stream::iter(&self.inputs).map(|input| self.ask(input)).buffer_unordered(parallel);
        while let Some(answer) = answers.next().await {
            progress.left -= 1;
            match answer {
                Ok(recording) => {
                    book.add(&recording)?;
                    progress.recorded += 1;
                    in_a_row = 0;
                    told(progress, None);
                }
                Err(Miss::Hopeless(error)) => return Err(error.into()),
                Err(Miss::Failed(reason)) => {
                    progress.failed += 1;
                    in_a_row += 1;
                    told(progress, Some(&reason));
                    if in_a_row >= GIVE_UP {
                        return Err(Stop::GaveUp(reason));
                    }
                }
            }
        }
        Ok(progress)
    }

    async fn ask(&self, input: &Value) -> Result<Recording<InputKey>, Miss> {
        let failed = |reason: String| Miss::Failed(format!("{input}: {reason}"));
        let request = self.task.request(input).map_err(failed)?;
        let (generation, latency) = match patiently(async || self.models.generate(&request, None).await).await {
            Ok(answered) => answered,
            Err(error) if is_hopeless(&error.kind) => return Err(Miss::Hopeless(error)),
            Err(error) => return Err(failed(format!("{error}; {}", error.hint))),
        };
        self.recording(input, generation, latency).map_err(failed)
    }

    fn recording(
        &self,
        input: &Value,
        generation: Generation,
        latency: Duration,
    ) -> Result<Recording<InputKey>, String> {
        let count = |tokens: u64| u32::try_from(tokens).ok().filter(|tokens| *tokens > 0);
        let (Some(input_tokens), Some(output_tokens)) =
            (count(generation.usage.input_tokens), count(generation.usage.output_tokens))
        else {
            return Err("the provider does not count tokens, and a recording holds measured ones only".to_owned());
        };
        Ok(Recording {
            model: self.model.clone(),
            key: InputKey { operation: self.task.reference.clone(), input: input.clone() },
            prompt_sha256: None,
            answer: generation.value,
            tool_calls: Vec::new(),
            tokens: Tokens { input: input_tokens, output: output_tokens },
            latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
            origin: Origin::Recorded,
            note: generation.repaired.then(|| "after one repair round".to_owned()),
        })
    }
}

/// An input without an answer.
enum Miss {
    /// The others will fare no better.
    Hopeless(ModelError),
    Failed(String),
}
