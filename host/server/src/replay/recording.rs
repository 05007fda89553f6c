//! Recordings as they lie on disk: one JSON object a line.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use nexus_model::OperationRef;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _};
use serde_json::Value;

/// The longest latency that a recording may have, in milliseconds.
const MAX_LATENCY_MS: u64 = 600_000;

/// One recorded answer; `K` is what it is found by.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recording<K> {
    /// The model that was asked.
    pub model: String,
    /// What it was asked.
    pub key: K,
    /// SHA-256 of the messages that a coder was given; see [`super::prompt_sha256`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<String>,
    /// What it answered. A text stands for itself in a coder's recording and in an agent's.
    pub answer: Value,
    /// The tools that it wanted to be used beside that, all at one time; only in an agent's recording.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<RecordedCall>,
    /// What that used.
    pub tokens: Tokens,
    /// How long it took, in milliseconds; at most 600,000.
    pub latency_ms: u64,
    /// Who answered.
    pub origin: Origin,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl<K> Recording<K> {
    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }
}

/// A model wanted a tool to be used.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCall {
    /// The tool, by the name that the model was told.
    pub name: String,
    /// The arguments. A text stands for itself, so that it may be no JSON.
    pub arguments: Value,
}

/// Tokens of a prompt and of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Of the prompt.
    pub input: u32,
    /// Of the answer.
    pub output: u32,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A language model.
    Recorded,
    /// A person, or a program of theirs.
    Written,
}

/// An operation's answer is found by its input.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InputKey {
    /// The operation, as `app/operation`.
    #[serde(deserialize_with = "operation", serialize_with = "as_text")]
    pub operation: OperationRef,
    /// Its input.
    pub input: Value,
}

/// A coder's answer is found by the operation that it writes code for, and by the attempt.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CoderKey {
    /// The operation, as `app/operation`.
    #[serde(deserialize_with = "operation", serialize_with = "as_text")]
    pub operation: OperationRef,
    /// 1 is the first.
    pub attempt: u32,
}

/// An agent's answer is found by the question that its conversation is about, and by how much tools have answered since.
///
/// The question is the newest message of the user; a message of the user behind the result of a tool is a remark, and asks
/// for something else only if it has a recording of its own. Neither the instructions nor the tools nor what they answered
/// decide: a script of an agent is a list of turns.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentKey {
    /// The operation that the agent works for, as `app/operation`.
    #[serde(deserialize_with = "operation", serialize_with = "as_text")]
    pub operation: OperationRef,
    /// The question, whole.
    pub said: String,
    /// How many results of tools came after it; none if left out.
    #[serde(default)]
    pub results: usize,
}

/// `app/operation`, read.
pub(super) fn parse_operation(text: &str) -> Option<OperationRef> {
    let (app, operation) = text.split_once('/')?;
    Some(OperationRef { app: app.parse().ok()?, operation: operation.parse().ok()? })
}

fn operation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OperationRef, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_operation(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not of the form `app/operation`")))
}

fn as_text<S: Serializer>(operation: &OperationRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(operation)
}

/// A line that is no recording, or one that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFault {
    /// The file, relative to the folder of recordings.
    pub file: String,
    /// The line; 0 for the whole file.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for RecordingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.reason),
            line => write!(f, "{}:{line}: {}", self.file, self.reason),
        }
    }
}

/// The recordings of a file by their line; faults are added.
pub(crate) fn parse<K: DeserializeOwned>(
    file: &str,
    text: &str,
    faults: &mut Vec<RecordingFault>,
) -> BTreeMap<usize, Recording<K>> {
    let mut recordings = BTreeMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let fault = |reason: String| RecordingFault { file: file.to_owned(), line, reason };
        match serde_json::from_str::<Recording<K>>(text) {
            Err(error) => faults.push(fault(error.to_string().replace(" at line 1 column", ", column"))),
            Ok(recording) if recording.latency_ms > MAX_LATENCY_MS => {
                faults.push(fault(format!("latency_ms is more than {MAX_LATENCY_MS}")));
            }
            Ok(recording) => {
                recordings.insert(line, recording);
            }
        }
    }
    recordings
}

/// Whose answers a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// An operation's.
    Inputs,
    /// A coder's.
    Coder,
    /// An agent's.
    Agent,
}

/// The operation that a file is about and whose answers it holds, by its name: `<operation>.jsonl`,
/// `<operation>.coder.jsonl` or `<operation>.agent.jsonl`. Other files are none of ours.
pub(super) fn file_kind(path: &Path) -> Option<(&str, FileKind)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    match name.rsplit_once('.') {
        None => Some((name, FileKind::Inputs)),
        Some((operation, "coder")) => Some((operation, FileKind::Coder)),
        Some((operation, "agent")) => Some((operation, FileKind::Agent)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::{AgentKey, FileKind, InputKey, file_kind, parse};

    fn line() -> serde_json::Value {
        json!({
            "model": "small", "key": { "operation": "desk/read", "input": { "text": "a" } }, "answer": { "n": 1 },
            "tokens": { "input": 10, "output": 2 }, "latency_ms": 400, "origin": "recorded",
        })
    }

    #[test]
    fn lines_are_read_strictly() {
        let mut faults = Vec::new();
        let good = line();
        let mut lines = vec![good.to_string(), String::new(), "{".to_owned()];
        for (pointer, value) in [
            ("/origin", json!("guessed")),
            ("/latency_ms", json!(600_001)),
            ("/key/operation", json!("desk")),
            ("/tokens/input", json!(-1)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            lines.push(bad.to_string());
        }
        let mut unknown = good.clone();
        unknown["cost"] = json!(1);
        lines.push(unknown.to_string());

        let recordings = parse::<InputKey>("desk/read.jsonl", &lines.join("\n"), &mut faults);
        assert_eq!(recordings.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(serde_json::to_value(&recordings[&1]).unwrap(), good);
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 7, "{faults:#?}");
        for (fault, part) in faults.iter().zip([
            "read.jsonl:2: EOF",
            ":3: EOF",
            ":4: unknown variant `guessed`",
            ":5: latency_ms",
            ":6: `desk` is not",
            ":7: invalid value",
            ":8: unknown field `cost`",
        ]) {
            assert!(fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn a_turn_of_an_agent_may_want_tools() {
        let mut line = line();
        line["key"] = json!({ "operation": "desk/tidy", "said": "Tidy up.", "results": 2 });
        line["answer"] = json!("");
        line["tool_calls"] = json!([{ "name": "files__list", "arguments": {} }, { "name": "now", "arguments": "{" }]);
        let mut faults = Vec::new();
        let recordings = parse::<AgentKey>("desk/tidy.agent.jsonl", &line.to_string(), &mut faults);
        assert_eq!(faults, []);
        assert_eq!(serde_json::to_value(&recordings[&1]).unwrap(), line);
        assert_eq!((recordings[&1].key.results, recordings[&1].tool_calls.len()), (2, 2));
    }

    #[test]
    fn files_are_told_apart_by_name() {
        assert_eq!(file_kind(Path::new("x/read.jsonl")), Some(("read", FileKind::Inputs)));
        assert_eq!(file_kind(Path::new("read.coder.jsonl")), Some(("read", FileKind::Coder)));
        assert_eq!(file_kind(Path::new("read.agent.jsonl")), Some(("read", FileKind::Agent)));
        assert_eq!(file_kind(Path::new("read.inputs.jsonl")), None);
        assert_eq!(file_kind(Path::new("README.md")), None);
    }
}
