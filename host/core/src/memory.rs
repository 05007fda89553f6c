//! What an application is to remember: a brief, the operational context, and documents of knowledge, on a branch of its
//! own that no import touches.
//!
//! Changes are gathered for a moment and committed together; each is acknowledged when the commit that has it is on the
//! disk. Nothing acknowledged is lost.

mod passages;
mod search;
mod writer;

use std::{fmt, str::FromStr, sync::Arc};

use nexus_model::{AppName, Author, CommitError, DefinitionError, DefinitionStore, MemoryAction, MemoryEdit};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use search::Hit;
use search::Searches;
use writer::Request;

/// The largest text that is written or appended at one time, in bytes.
pub const MEMORY_TEXT_BYTES: usize = 1 << 20;
/// Changes that wait to be committed; whoever comes on top waits to be let in.
const QUEUE: usize = 256;
/// The most hits of one search.
pub const MEMORY_HITS: usize = 50;

/// A document of an application's memory: `brief`, `context` or `knowledge/<path>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// What the application is for and what matters in it.
    Brief,
    /// What is so at present.
    Context,
    /// Something to look up.
    Knowledge(String),
}

/// The name of a document that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no document of a memory: use `brief`, `context` or `knowledge/` and a plain path of letters, digits, `-`, `_`, `.`"
)]
pub struct DocumentError(String);

impl FromStr for Document {
    type Err = DocumentError;

    fn from_str(name: &str) -> Result<Self, DocumentError> {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_alphanumeric())
                && part.len() <= 100
                && part.chars().all(|c| c.is_alphanumeric() || "-_. ".contains(c))
        };
        match (name, name.strip_prefix("knowledge/")) {
            ("brief", _) => Ok(Self::Brief),
            ("context", _) => Ok(Self::Context),
            (_, Some(path)) if path.len() <= 300 && path.split('/').count() <= 8 && path.split('/').all(plain) => {
                Ok(Self::Knowledge(path.to_owned()))
            }
            _ => Err(DocumentError(name.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brief => f.write_str("brief"),
            Self::Context => f.write_str("context"),
            Self::Knowledge(path) => write!(f, "knowledge/{path}"),
        }
    }
}

impl Document {
    /// The file on the branch.
    fn path(&self) -> String {
        format!("{self}.md")
    }

    /// The document of a file on the branch. What somebody pushed there under another name is none.
    fn of_path(path: &str) -> Option<Self> {
        path.strip_suffix(".md")?.parse().ok()
    }
}

/// Why a memory was not read or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MemoryError {
    /// The text is too long.
    #[error("a text of {0} bytes is too long: at most {MEMORY_TEXT_BYTES} are taken at one time")]
    TooLong(usize),
    /// The memory would be larger than an application's may be.
    #[error("the memory cannot hold this: {0}")]
    Full(String),
    /// The host is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The repository.
    #[error(transparent)]
    Store(#[from] DefinitionError),
}

impl From<CommitError> for MemoryError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => Self::Store(error),
            refused => Self::Full(refused.to_string()),
        }
    }
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentInfo {
    /// Its name.
    pub document: Document,
    /// Its size in bytes.
    pub bytes: usize,
}

/// The memories of all applications.
pub struct Memory {
    definitions: Arc<dyn DefinitionStore>,
    queue: mpsc::Sender<Request>,
    searches: Searches,
}

impl Memory {
    /// Starts the writer on the tracker; it ends, with what it has accepted written, when it is cancelled.
    pub(crate) fn start(
        definitions: Arc<dyn DefinitionStore>,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        tracker.spawn(writer::run(Arc::clone(&definitions), requests, cancel));
        Self { definitions, queue, searches: Searches::default() }
    }

    /// The documents of an application, by name.
    pub async fn list(&self, app: &AppName) -> Result<Vec<DocumentInfo>, MemoryError> {
        let (_, files) = self.definitions.read_memory(app).await?;
        let known = files.iter().filter_map(|(path, content)| Some((Document::of_path(path)?, content.len())));
        Ok(known.map(|(document, bytes)| DocumentInfo { document, bytes }).collect())
    }

    /// A document's text; `None` if it is not there.
    pub async fn read(&self, app: &AppName, document: &Document) -> Result<Option<String>, MemoryError> {
        let (_, files) = self.definitions.read_memory(app).await?;
        Ok(files.get(&document.path()).map(|content| String::from_utf8_lossy(content).into_owned()))
    }

    /// Makes a document hold exactly this text. Returns the commit that has it, once it is durable.
    pub async fn write(
        &self,
        app: &AppName,
        document: &Document,
        text: &str,
        by: &Author,
    ) -> Result<String, MemoryError> {
        let action = MemoryAction::Write(checked(text)?.as_bytes().into());
        self.change(app, document, action, by).await
    }

    /// Adds a text to a document's end, on a line of its own; makes the document if it is not there.
    pub async fn append(
        &self,
        app: &AppName,
        document: &Document,
        text: &str,
        by: &Author,
    ) -> Result<String, MemoryError> {
        let text = checked(text)?;
        let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
        self.change(app, document, MemoryAction::Append(text.into_bytes().into()), by).await
    }

    /// Removes a document. No error if it is not there.
    pub async fn remove(&self, app: &AppName, document: &Document, by: &Author) -> Result<String, MemoryError> {
        self.change(app, document, MemoryAction::Remove, by).await
    }

    /// The passages that fit a query best, at most [`MEMORY_HITS`].
    pub async fn search(&self, app: &AppName, query: &str, limit: usize) -> Result<Vec<Hit>, MemoryError> {
        let (commit, files) = self.definitions.read_memory(app).await?;
        let Some(commit) = commit else { return Ok(Vec::new()) };
        self.searches.find(app, commit, files, query, limit.min(MEMORY_HITS)).await
    }

    async fn change(
        &self,
        app: &AppName,
        document: &Document,
        action: MemoryAction,
        by: &Author,
    ) -> Result<String, MemoryError> {
        let edit = MemoryEdit { path: document.path(), action };
        let (request, answer) = Request::new(app.clone(), edit, by.clone());
        self.queue.send(request).await.map_err(|_| MemoryError::Stopping)?;
        answer.await.unwrap_or(Err(MemoryError::Stopping))
    }
}

fn checked(text: &str) -> Result<&str, MemoryError> {
    if text.len() > MEMORY_TEXT_BYTES { Err(MemoryError::TooLong(text.len())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::Document;

    #[test]
    fn documents_have_plain_names() {
        for good in ["brief", "context", "knowledge/prices", "knowledge/de/Öffnungszeiten 2026.v2"] {
            let document: Document = good.parse().unwrap();
            assert_eq!(document.to_string(), good);
            assert_eq!(Document::of_path(&document.path()), Some(document));
        }
        for bad in
            ["", "Brief", "knowledge/", "knowledge/../x", "knowledge/.x", "knowledge/a//b", "other", "knowledge/a\n"]
        {
            assert!(bad.parse::<Document>().is_err(), "{bad:?}");
        }
    }
}
