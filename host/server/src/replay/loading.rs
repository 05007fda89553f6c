//! From files to an index, with all faults at once.

use std::{collections::BTreeMap, path::Path};

use nexus_definitions::{PromptTemplate, schema_validator, violations};
use nexus_model::{App, ChatMessage, Implementation, OperationRef, canonical_json};
use serde_json::json;

use super::{
    conversation::spoken,
    library::{Coded, Recorded, Replay, agent_id, coder_id, opening_sha256, written},
    recording::{AgentKey, CoderKey, FileKind, InputKey, Recording, RecordingFault, file_kind, parse},
    request_sha256,
};

const NO_CODER: &str = "`prompt_sha256` belongs to a coder's recordings";
const NO_AGENT: &str = "`tool_calls` belong to an agent's recordings, in `<operation>.agent.jsonl`";

/// What has been loaded so far.
#[derive(Default)]
pub(super) struct Loading {
    pub(super) replay: Replay,
    pub(super) faults: Vec<RecordingFault>,
}

impl Loading {
    pub(super) fn fault(&mut self, file: &str, line: usize, reason: impl Into<String>) {
        self.faults.push(RecordingFault { file: file.to_owned(), line, reason: reason.into() });
    }

    /// Reads the recordings of one file.
    pub(super) fn file(&mut self, app: &App, path: &Path, text: &str) {
        let Some((operation, kind)) = file_kind(path) else { return };
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = format!("{}/{file_name}", app.name);
        let Ok(name) = operation.parse() else {
            return self.fault(&file, 0, format!("`{operation}` cannot be the name of an operation"));
        };
        let operation = OperationRef { app: app.name.clone(), operation: name };
        match kind {
            FileKind::Inputs => self.input_file(app, &operation, &file, text),
            FileKind::Coder => self.coder_file(&operation, &file, text),
            FileKind::Agent => self.agent_file(app, &operation, &file, text),
        }
    }

    fn coder_file(&mut self, operation: &OperationRef, file: &str, text: &str) {
        let mut faults = Vec::new();
        for (line, recording) in parse::<CoderKey>(file, text, &mut faults) {
            let id = coder_id(&recording.model, operation, recording.key.attempt);
            if recording.key.operation != *operation {
                self.fault(file, line, format!("the recording is of `{}`", recording.key.operation));
            } else if self.replay.coders.contains_key(&id) {
                self.fault(file, line, "the same model and attempt are there already");
            } else if !recording.tool_calls.is_empty() {
                self.fault(file, line, NO_AGENT);
            } else {
                let text = written(&recording.answer);
                let recorded = self.recorded(operation, &recording, FileKind::Coder, id.clone(), text);
                self.replay.coders.insert(id, Coded { recorded, prompt_sha256: recording.prompt_sha256 });
            }
        }
        self.faults.append(&mut faults);
    }

    fn agent_file(&mut self, app: &App, operation: &OperationRef, file: &str, text: &str) {
        if !app.operations.contains_key(&operation.operation) {
            return self.fault(file, 0, format!("there is no operation `{operation}`"));
        }
        let mut faults = Vec::new();
        for (line, recording) in parse::<AgentKey>(file, text, &mut faults) {
            let id = agent_id(&recording.model, &recording.key.said, recording.key.results);
            if recording.key.operation != *operation {
                self.fault(file, line, format!("the recording is of `{}`", recording.key.operation));
            } else if recording.prompt_sha256.is_some() {
                self.fault(file, line, NO_CODER);
            } else if let Some(other) = self.replay.agents.get(&id) {
                let reason =
                    format!("the same model, question and number of results are there already, of {}", other.label);
                self.fault(file, line, reason);
            } else {
                let text = written(&recording.answer);
                let recorded = self.recorded(operation, &recording, FileKind::Agent, id.clone(), text);
                self.replay.agents.insert(id, recorded);
            }
        }
        self.faults.append(&mut faults);
    }

    fn input_file(&mut self, app: &App, operation: &OperationRef, file: &str, text: &str) {
        let checks = match Checks::of(app, operation) {
            Ok(checks) => checks,
            Err(reason) => return self.fault(file, 0, reason),
        };
        let mut faults = Vec::new();
        let mut keys = BTreeMap::new();
        for (line, recording) in parse::<InputKey>(file, text, &mut faults) {
            let key = canonical_json(&json!([recording.model, recording.key.input]));
            if let Some(first) = keys.insert(key, line) {
                self.fault(file, line, format!("the same model and input are in line {first}"));
                continue;
            }
            match checks.messages(operation, &recording) {
                Ok(messages) => self.input(operation, file, line, &recording, &messages),
                Err(reason) => self.fault(file, line, reason),
            }
        }
        self.faults.append(&mut faults);
    }

    fn input(
        &mut self,
        operation: &OperationRef,
        file: &str,
        line: usize,
        recording: &Recording<InputKey>,
        messages: &[ChatMessage],
    ) {
        let id = request_sha256(&recording.model, messages);
        let answer = recording.answer.to_string();
        if self.replay.inputs.get(&id).is_some_and(|other| other.text != answer) {
            return self.fault(file, line, "another recording renders to the same messages and has another answer");
        }
        if let Some(message) = messages.first() {
            self.replay.openings.insert(opening_sha256(message), operation.clone());
        }
        let recorded = self.recorded(operation, recording, FileKind::Inputs, id.clone(), answer);
        self.replay.inputs.entry(id).or_insert(recorded);
    }

    fn recorded<K>(
        &mut self,
        operation: &OperationRef,
        recording: &Recording<K>,
        kind: FileKind,
        id: String,
        text: String,
    ) -> Recorded {
        self.replay.models.insert(recording.model.clone());
        let operations = &mut self.replay.summary.operations;
        operations.entry(operation.to_string()).or_default().count(kind, recording.origin);
        let label = match kind {
            FileKind::Inputs => operation.to_string(),
            FileKind::Coder => format!("{operation} (coder)"),
            FileKind::Agent => format!("{operation} (agent)"),
        };
        let calls = recording.tool_calls.clone();
        Recorded { id, label, text, calls, tokens: recording.tokens, latency: recording.latency() }
    }
}

/// What the recordings of one operation must satisfy.
struct Checks {
    input: jsonschema::Validator,
    output: jsonschema::Validator,
    prompt: PromptTemplate,
}

impl Checks {
    fn of(app: &App, operation: &OperationRef) -> Result<Self, String> {
        let found = app.operations.get(&operation.operation);
        let definition = found.ok_or_else(|| format!("there is no operation `{operation}`"))?;
        let Implementation::Prompt(prompt) = &definition.implementation else {
            return Err(format!("`{operation}` asks no model"));
        };
        Ok(Self {
            input: schema_validator(&definition.input).map_err(|error| error.to_string())?,
            output: schema_validator(&definition.output).map_err(|error| error.to_string())?,
            prompt: PromptTemplate::compile(prompt).map_err(|error| error.to_string())?,
        })
    }

    /// The messages that the recording answers.
    fn messages(&self, operation: &OperationRef, recording: &Recording<InputKey>) -> Result<Vec<ChatMessage>, String> {
        if recording.key.operation != *operation {
            return Err(format!("the recording is of `{}`", recording.key.operation));
        }
        if recording.prompt_sha256.is_some() {
            return Err(NO_CODER.to_owned());
        }
        if !recording.tool_calls.is_empty() {
            return Err(NO_AGENT.to_owned());
        }
        for (what, validator, value) in
            [("input", &self.input, &recording.key.input), ("answer", &self.output, &recording.answer)]
        {
            if let Some(violation) = violations(validator, value).first() {
                return Err(format!("the {what} fails its schema at `{}`: {}", violation.path, violation.message));
            }
        }
        self.prompt.render(&recording.key.input).map(spoken).map_err(|error| error.to_string())
    }
}
