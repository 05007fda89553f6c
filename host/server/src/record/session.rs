//! Asking for one answer after the other, some at one time.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use nexus_definitions::{Fault, PromptTemplate, schema_validator, violations};
use nexus_llm::{LanguageModels, Price};
use nexus_model::{
    GenerateRequest, Generation, Implementation, ModelError, ModelErrorKind, ModelProvider, Operation, OperationRef,
    canonical_json,
};
use nexus_state::folder::{FolderError, read_apps};
use serde_json::Value;

use super::{Book, BookError};
use crate::replay::{InputKey, Origin, Recording, Tokens};

/// The longest that a model may take for one answer.
const TIMEOUT: Duration = Duration::from_mins(2);
/// How often one input is asked while the provider limits requests.
const TRIES: u32 = 3;
/// The wait before such a try where the provider names none, and the longest.
const WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// So many inputs in a row without an answer end a session.
const GIVE_UP: usize = 10;
/// Characters that make up about one token.
const CHARS_PER_TOKEN: u64 = 4;
/// Tokens that an answer is taken to have where none is known.
const OUTPUT_TOKENS: u64 = 100;

/// Why there is nothing to record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the application `{app}` has faults, the first: {first}; `nexus check` shows all")]
    Faults { app: String, first: Box<Fault> },
    #[error("{0}")]
    Operation(String),
}

/// An operation that a model answers.
pub(crate) struct Task {
    pub(crate) reference: OperationRef,
    pub(crate) operation: Operation,
    template: PromptTemplate,
    input: jsonschema::Validator,
    alias: String,
}

impl Task {
    /// Finds an operation in a folder of applications; `alias` names another model than its prompt does.
    pub(crate) fn find(apps: &Path, reference: OperationRef, alias: Option<String>) -> Result<Self, TaskError> {
        let wrong = |message: String| TaskError::Operation(message);
        let all = read_apps(apps)?;
        let files = all.get(&reference.app);
        let files = files.ok_or_else(|| wrong(format!("there is no application `{}`", reference.app)))?;
        let app =
            nexus_definitions::load_named(&reference.app, files).map_err(|faults| match faults.into_iter().next() {
                None => wrong(format!("the application `{}` cannot be read", reference.app)),
                Some(first) => TaskError::Faults { app: reference.app.to_string(), first: Box::new(first) },
            })?;
        let operation = app.operations.get(&reference.operation).cloned();
        let operation = operation.ok_or_else(|| wrong(format!("there is no operation `{reference}`")))?;
        let Implementation::Prompt(prompt) = &operation.implementation else {
            return Err(wrong(format!("`{reference}` asks no model: it is a component")));
        };
        let template = PromptTemplate::compile(prompt).map_err(|error| wrong(error.to_string()))?;
        let input = schema_validator(&operation.input).map_err(|error| wrong(error.to_string()))?;
        let alias = alias.unwrap_or_else(|| prompt.model.clone());
        Ok(Self { reference, operation, template, input, alias })
    }

    /// The alias of the model that is asked.
    pub(crate) fn alias(&self) -> &str {
        &self.alias
    }

    /// What is wrong with an input.
    pub(crate) fn fault(&self, input: &Value) -> Option<String> {
        let found = violations(&self.input, input);
        found.first().map(|violation| format!("at `{}`: {}", violation.path, violation.message))
    }

    fn request(&self, input: &Value) -> Result<GenerateRequest, String> {
        let Implementation::Prompt(prompt) = &self.operation.implementation else {
            return Err("the operation has no prompt".to_owned());
        };
        Ok(GenerateRequest {
            model: self.alias.clone(),
            messages: self.template.render(input).map_err(|error| error.to_string())?,
            parameters: prompt.parameters,
            schema: self.operation.output.clone(),
            timeout: TIMEOUT,
            // A recording says which model answered.
            fallback: false,
        })
    }
}

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
        let mut turn = 1;
        let (generation, latency) = loop {
            let asked = Instant::now();
            match self.models.generate(&request, None).await {
                Ok(generation) => break (generation, asked.elapsed()),
                Err(error) => match wait(&error.kind, turn) {
                    Some(time) => tokio::time::sleep(time).await,
                    None if is_hopeless(&error.kind) => return Err(Miss::Hopeless(error)),
                    None => return Err(failed(format!("{error}; {}", error.hint))),
                },
            }
            turn += 1;
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

fn is_hopeless(kind: &ModelErrorKind) -> bool {
    matches!(kind, ModelErrorKind::UnknownModel | ModelErrorKind::MissingKey | ModelErrorKind::Unauthorized)
}

/// How long to wait before an input is asked again, after so many tries; only a provider at its limit is asked again.
fn wait(kind: &ModelErrorKind, tries: u32) -> Option<Duration> {
    match kind {
        ModelErrorKind::RateLimited { retry_after } if tries < TRIES => {
            Some(retry_after.unwrap_or(WAIT * tries).min(LONGEST_WAIT))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexus_model::ModelErrorKind;

    use super::wait;

    #[test]
    fn only_a_limit_is_waited_for_and_not_for_ever() {
        let limit =
            |seconds: Option<u64>| ModelErrorKind::RateLimited { retry_after: seconds.map(Duration::from_secs) };
        assert_eq!(wait(&limit(Some(7)), 1), Some(Duration::from_secs(7)));
        assert_eq!(wait(&limit(None), 2), Some(Duration::from_secs(10)));
        assert_eq!(wait(&limit(Some(86_400)), 1), Some(Duration::from_mins(1)));
        assert_eq!(wait(&limit(Some(1)), 3), None);
        assert_eq!(wait(&ModelErrorKind::Timeout, 1), None);
    }
}
