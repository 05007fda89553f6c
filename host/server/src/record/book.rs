//! A file of recordings that grows and is never written over.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use nexus_model::{OperationRef, canonical_json};
use serde_json::{Value, json};

use crate::replay::{InputKey, Recording, RecordingFault, parse};

/// Why a file of recordings cannot be continued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    /// The file system refused.
    #[error("`{}` cannot be read and continued", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Somebody else writes to it.
    #[error("another program records to `{}`", .path.display())]
    Busy { path: PathBuf },
    /// It holds lines that are no recordings of the operation.
    #[error("`{}` cannot be continued: {fault}", .path.display())]
    Fault { path: PathBuf, fault: RecordingFault },
}

/// The recordings of one operation. Lines are only ever added, each at once and whole.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    /// Absent where nothing is to be written.
    file: Option<File>,
    known: HashSet<String>,
    /// Tokens of the answers that are there.
    output_tokens: u64,
}

impl Book {
    /// Reads what is there and holds the file for writing; it is made if it is not there.
    pub(crate) fn open(path: &Path, operation: &OperationRef) -> Result<Self, BookError> {
        let failed = |source| BookError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BookError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let mut book = Self::of(path, operation, &text)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(failed)?;
        }
        book.file = Some(file);
        Ok(book)
    }

    /// Reads what is there, to write nothing.
    pub(crate) fn read(path: &Path, operation: &OperationRef) -> Result<Self, BookError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::of(path, operation, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::of(path, operation, ""),
            Err(source) => Err(BookError::File { path: path.to_owned(), source }),
        }
    }

    fn of(path: &Path, operation: &OperationRef, text: &str) -> Result<Self, BookError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut faults = Vec::new();
        let recordings = parse::<InputKey>(&name, text, &mut faults);
        let stranger = recordings.iter().find(|(_, recording)| recording.key.operation != *operation);
        faults.extend(stranger.map(|(line, recording)| RecordingFault {
            file: name.clone().into_owned(),
            line: *line,
            reason: format!("the recording is of `{}`", recording.key.operation),
        }));
        if let Some(fault) = faults.into_iter().next() {
            return Err(BookError::Fault { path: path.to_owned(), fault });
        }
        Ok(Self {
            path: path.to_owned(),
            file: None,
            known: recordings.values().map(|recording| key(&recording.model, &recording.key.input)).collect(),
            output_tokens: recordings.values().map(|recording| u64::from(recording.tokens.output)).sum(),
        })
    }

    /// Whether the answer of a model to an input is there.
    pub(crate) fn holds(&self, model: &str, input: &Value) -> bool {
        self.known.contains(&key(model, input))
    }

    /// How many tokens an answer has on average; `None` where there is none.
    pub(crate) fn mean_output_tokens(&self) -> Option<u64> {
        self.output_tokens.checked_div(self.known.len() as u64)
    }

    /// Adds a recording; one whose model and input are there already is left out.
    pub(crate) fn add(&mut self, recording: &Recording<InputKey>) -> Result<(), BookError> {
        if !self.known.insert(key(&recording.model, &recording.key.input)) {
            return Ok(());
        }
        let failed = |source| BookError::File { path: self.path.clone(), source };
        let mut line = serde_json::to_string(recording).map_err(|error| failed(error.into()))?;
        line.push('\n');
        match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()).map_err(failed),
            None => Ok(()),
        }
    }
}

fn key(model: &str, input: &Value) -> String {
    canonical_json(&json!([model, input]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Book, BookError};
    use crate::replay::{InputKey, Origin, Recording, Tokens};

    fn recording(n: u64) -> Recording<InputKey> {
        Recording {
            model: "m".to_owned(),
            key: InputKey { operation: operation("desk", "read"), input: json!({ "n": n }) },
            prompt_sha256: None,
            answer: json!(n),
            tool_calls: Vec::new(),
            tokens: Tokens { input: 9, output: 4 },
            latency_ms: 7,
            origin: Origin::Recorded,
            note: None,
        }
    }

    fn operation(app: &str, operation: &str) -> nexus_model::OperationRef {
        nexus_model::OperationRef { app: app.parse().unwrap(), operation: operation.parse().unwrap() }
    }

    #[test]
    fn a_book_is_continued_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desk/read.jsonl");
        let operation = operation("desk", "read");
        let mut book = Book::open(&path, &operation).unwrap();
        assert_eq!(book.mean_output_tokens(), None);
        book.add(&recording(1)).unwrap();
        assert!(matches!(Book::open(&path, &operation), Err(BookError::Busy { .. })));
        drop(book);

        let first = std::fs::read_to_string(&path).unwrap();
        // Somebody's editor has left out the last line break.
        std::fs::write(&path, first.trim_end()).unwrap();
        let mut book = Book::open(&path, &operation).unwrap();
        assert!(book.holds("m", &json!({ "n": 1.0 })) && !book.holds("other", &json!({ "n": 1 })));
        assert_eq!(book.mean_output_tokens(), Some(4));
        book.add(&recording(1)).unwrap();
        book.add(&recording(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&first), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_broken_book_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("read.jsonl");
        for (text, fault) in [("{\"model\": \"m\", \"ke", "read.jsonl:1"), ("\n", "read.jsonl:1")] {
            std::fs::write(&path, text).unwrap();
            let error = Book::open(&path, &operation("desk", "read")).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::write(&path, serde_json::to_string(&recording(1)).unwrap()).unwrap();
        let error = Book::read(&path, &operation("desk", "write")).unwrap_err().to_string();
        assert!(error.contains("the recording is of `desk/read`"), "{error}");
    }
}
