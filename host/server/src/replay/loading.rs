//! From files to an index, with all faults at once.

use std::{collections::BTreeMap, path::Path};

use nexus_definitions::{PromptTemplate, schema_validator, violations};
use nexus_model::{App, Implementation, Message, OperationRef, canonical_json};
use serde_json::{Value, json};

use super::{
    library::{Coded, Recorded, Replay, coder_id, opening_sha256},
    recording::{CoderKey, InputKey, Recording, RecordingFault, file_kind, parse},
    request_sha256,
};

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
        let Some((operation, coder)) = file_kind(path) else { return };
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = format!("{}/{file_name}", app.name);
        let Ok(name) = operation.parse() else {
            return self.fault(&file, 0, format!("`{operation}` cannot be the name of an operation"));
        };
        let operation = OperationRef { app: app.name.clone(), operation: name };
        if coder {
            self.coder_file(&operation, &file, text);
        } else {
            self.input_file(app, &operation, &file, text);
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
            } else {
                let text = match &recording.answer {
                    Value::String(text) => text.clone(),
                    answer => answer.to_string(),
                };
                let recorded = self.recorded(operation, &recording, true, id.clone(), text);
                self.replay.coders.insert(id, Coded { recorded, prompt_sha256: recording.prompt_sha256 });
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
        messages: &[Message],
    ) {
        let id = request_sha256(&recording.model, messages);
        let answer = recording.answer.to_string();
        if self.replay.inputs.get(&id).is_some_and(|other| other.text != answer) {
            return self.fault(file, line, "another recording renders to the same messages and has another answer");
        }
        if let Some(message) = messages.first() {
            self.replay.openings.insert(opening_sha256(message), operation.clone());
        }
        let recorded = self.recorded(operation, recording, false, id.clone(), answer);
        self.replay.inputs.entry(id).or_insert(recorded);
    }

    fn recorded<K>(
        &mut self,
        operation: &OperationRef,
        recording: &Recording<K>,
        coder: bool,
        id: String,
        text: String,
    ) -> Recorded {
        self.replay.models.insert(recording.model.clone());
        let operations = &mut self.replay.summary.operations;
        operations.entry(operation.to_string()).or_default().count(coder, recording.origin);
        let label = if coder { format!("{operation} (coder)") } else { operation.to_string() };
        Recorded { id, label, text, tokens: recording.tokens, latency: recording.latency() }
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
    fn messages(&self, operation: &OperationRef, recording: &Recording<InputKey>) -> Result<Vec<Message>, String> {
        if recording.key.operation != *operation {
            return Err(format!("the recording is of `{}`", recording.key.operation));
        }
        if recording.prompt_sha256.is_some() {
            return Err("`prompt_sha256` belongs to a coder's recordings".to_owned());
        }
        for (what, validator, value) in
            [("input", &self.input, &recording.key.input), ("answer", &self.output, &recording.answer)]
        {
            if let Some(violation) = violations(validator, value).first() {
                return Err(format!("the {what} fails its schema at `{}`: {}", violation.path, violation.message));
            }
        }
        self.prompt.render(&recording.key.input).map_err(|error| error.to_string())
    }
}
