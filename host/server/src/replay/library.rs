//! All recordings, found by what was asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nexus_definitions::Fault;
use nexus_model::{AppName, ChatMessage, OperationRef, canonical_json, sha256_hex};
use nexus_state::folder::{FolderError, read_apps};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    coder,
    conversation::questions,
    loading::Loading,
    prompt_sha256,
    recording::{FileKind, Origin, RecordedCall, RecordingFault, Tokens, file_kind},
    request_sha256,
    wire::{Answer, Call, Envelope},
};

/// How many faults an error tells.
const SHOWN_FAULTS: usize = 50;

/// Why recordings cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The applications cannot be read.
    #[error("the applications cannot be read")]
    Apps(#[from] FolderError),
    /// An application has faults.
    #[error("the application `{app}` has faults:{}", listed(faults))]
    App {
        /// Its name.
        app: AppName,
        /// All of them.
        faults: Vec<Fault>,
    },
    /// The file system refused.
    #[error("`{}` cannot be read", .path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Some lines are no recordings, or contradict each other or the applications.
    #[error("there are faults in the recordings:{}", listed(.0))]
    Recordings(Vec<RecordingFault>),
}

fn listed<T: std::fmt::Display>(faults: &[T]) -> String {
    let mut text = String::new();
    for fault in faults.iter().take(SHOWN_FAULTS) {
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {fault}");
    }
    if faults.len() > SHOWN_FAULTS {
        let _ = write!(text, "\n  and {} more", faults.len() - SHOWN_FAULTS);
    }
    text
}

/// How many recordings there are of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OperationSummary {
    /// Answers that a language model gave.
    pub recorded: usize,
    /// Answers that somebody wrote.
    pub written: usize,
    /// A coder's answers that a language model gave.
    pub coder_recorded: usize,
    /// A coder's answers that somebody wrote.
    pub coder_written: usize,
    /// An agent's turns that a language model made.
    pub agent_recorded: usize,
    /// An agent's turns that somebody wrote.
    pub agent_written: usize,
}

impl OperationSummary {
    pub(super) fn count(&mut self, kind: FileKind, origin: Origin) {
        let counter = match (kind, origin) {
            (FileKind::Inputs, Origin::Recorded) => &mut self.recorded,
            (FileKind::Inputs, Origin::Written) => &mut self.written,
            (FileKind::Coder, Origin::Recorded) => &mut self.coder_recorded,
            (FileKind::Coder, Origin::Written) => &mut self.coder_written,
            (FileKind::Agent, Origin::Recorded) => &mut self.agent_recorded,
            (FileKind::Agent, Origin::Written) => &mut self.agent_written,
        };
        *counter += 1;
    }
}

/// How many recordings there are, by `app/operation`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The operations that have any.
    pub operations: BTreeMap<String, OperationSummary>,
}

/// An answer to replay.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    /// What counts and draws go by.
    pub(super) id: String,
    /// `app/operation`, with ` (coder)` behind it for code and ` (agent)` for an agent's turn.
    pub(super) label: String,
    pub(super) text: String,
    pub(super) calls: Vec<RecordedCall>,
    pub(super) tokens: Tokens,
    pub(super) latency: Duration,
}

impl Recorded {
    /// What is sent. Something else `instead` stands for the arguments of the tools that are wanted, or for the text where
    /// none are.
    pub(super) fn answer(&self, envelope: &Envelope, instead: Option<&str>) -> Answer {
        let call = |(n, call): (usize, &RecordedCall)| Call {
            id: format!("call_{}_{n}", envelope.id),
            name: call.name.clone(),
            arguments: instead.map_or_else(|| written(&call.arguments), str::to_owned),
        };
        let text = instead.filter(|_| self.calls.is_empty()).unwrap_or(&self.text);
        Answer { text: text.to_owned(), calls: self.calls.iter().enumerate().map(call).collect() }
    }
}

/// A value as a model writes it; a text stands for itself.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// A coder's answer to replay.
#[derive(Debug)]
pub(super) struct Coded {
    pub(super) recorded: Recorded,
    pub(super) prompt_sha256: Option<String>,
}

/// What is there for a request.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The recorded answer.
    Recorded(&'a Recorded),
    /// A coder's recorded answer to other messages than these.
    OtherPrompt(&'a Recorded),
    /// Nothing; the operation if it can be told.
    Nothing(Option<OperationRef>),
}

/// Recordings, ready to be replayed; none by default.
#[derive(Debug, Default)]
pub struct Replay {
    pub(super) inputs: HashMap<String, Recorded>,
    pub(super) coders: HashMap<String, Coded>,
    pub(super) agents: HashMap<String, Recorded>,
    /// The operation whose prompts begin with a message, by the message's hash.
    pub(super) openings: HashMap<String, OperationRef>,
    pub(super) models: BTreeSet<String>,
    pub(super) summary: Summary,
}

impl Replay {
    /// Reads the recordings of a folder (`<app>/<operation>.jsonl`, `<app>/<operation>.coder.jsonl`,
    /// `<app>/<operation>.agent.jsonl`) and renders each input with the prompt that the operation has now. Blocks.
    ///
    /// # Errors
    /// All faults at once: lines that are no recordings, inputs and answers that fail the operation's schemas, operations
    /// that are not there, and keys that occur twice.
    pub fn load(apps: &Path, recordings: &Path) -> Result<Self, ReplayError> {
        let apps = read_apps(apps)?;
        let mut loading = Loading::default();
        for folder in children(recordings)?.into_iter().filter(|path| path.is_dir()) {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let files: Vec<PathBuf> =
                children(&folder)?.into_iter().filter(|path| path.is_file() && file_kind(path).is_some()).collect();
            if files.is_empty() {
                continue;
            }
            let Some((app, tree)) = name.parse().ok().and_then(|app: AppName| apps.get_key_value(&app)) else {
                loading.fault(name, 0, "there is no such application");
                continue;
            };
            let app = nexus_definitions::load_named(app, tree)
                .map_err(|faults| ReplayError::App { app: app.clone(), faults })?;
            for file in files {
                let text =
                    fs::read_to_string(&file).map_err(|source| ReplayError::Folder { path: file.clone(), source })?;
                loading.file(&app, &file, &text);
            }
        }
        if loading.faults.is_empty() { Ok(loading.replay) } else { Err(ReplayError::Recordings(loading.faults)) }
    }

    /// How many recordings there are.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The models that were recorded.
    pub(super) fn models(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(String::as_str)
    }

    /// The answer to messages. One that wants tools is none where there are no `tools`.
    pub(super) fn find(&self, model: &str, messages: &[ChatMessage], tools: bool) -> Found<'_> {
        if let Some(recorded) = self.inputs.get(&request_sha256(model, messages)) {
            return Found::Recorded(recorded);
        }
        if let Some((operation, attempt)) = coder::request(messages) {
            return match self.coders.get(&coder_id(model, &operation, attempt)) {
                None => Found::Nothing(Some(operation)),
                Some(Coded { recorded, prompt_sha256: Some(hash) }) if *hash != prompt_sha256(messages) => {
                    Found::OtherPrompt(recorded)
                }
                Some(Coded { recorded, .. }) => Found::Recorded(recorded),
            };
        }
        let turns = questions(messages).into_iter();
        let mut turns = turns.filter_map(|(said, results)| self.agents.get(&agent_id(model, said, results)));
        if let Some(recorded) = turns.find(|recorded| tools || recorded.calls.is_empty()) {
            return Found::Recorded(recorded);
        }
        let opening = messages.first().and_then(|message| self.openings.get(&opening_sha256(message)));
        Found::Nothing(opening.cloned())
    }
}

pub(super) fn coder_id(model: &str, operation: &OperationRef, attempt: u32) -> String {
    sha256_hex(canonical_json(&json!([model, operation.to_string(), attempt])))
}

pub(super) fn agent_id(model: &str, said: &str, results: usize) -> String {
    sha256_hex(canonical_json(&json!([model, said, results])))
}

pub(super) fn opening_sha256(message: &ChatMessage) -> String {
    sha256_hex(canonical_json(&json!(message)))
}

/// A folder's children, in the order of their names.
fn children(folder: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    let failed = |source| ReplayError::Folder { path: folder.to_owned(), source };
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>())
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}
