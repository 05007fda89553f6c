//! The port of what MCP clients see: tools, prompts and resources, as one caller may see them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

use crate::Message;

/// Tools, prompts and resources of one caller. What the caller may not see is not in it.
#[async_trait]
pub trait ToolCatalogue: fmt::Debug + Send + Sync {
    /// What this is, for people and for models.
    fn about(&self) -> CatalogueInfo;

    /// Who sees this; the same for the same caller. A session belongs to one.
    fn owner(&self) -> &str;

    /// Different whenever a list may be different from what it was.
    fn version(&self) -> String;

    /// Waits until the version is another than `version`.
    async fn changed_from(&self, version: &str);

    /// All tools, by name.
    fn tools(&self) -> Vec<CatalogueTool>;

    /// Calls a tool. Bounded in time by whoever answers.
    async fn call(&self, tool: &str, arguments: Value) -> Result<ToolAnswered, CatalogueError>;

    /// All prompts, by name.
    fn prompts(&self) -> Vec<CataloguePrompt>;

    /// A prompt with its arguments filled in.
    async fn prompt(&self, name: &str, arguments: BTreeMap<String, Value>) -> Result<Vec<Message>, CatalogueError>;

    /// All resources, by URI.
    async fn resources(&self) -> Result<Vec<CatalogueResource>, CatalogueError>;

    /// The text of a resource, and its media type.
    async fn read(&self, uri: &str) -> Result<(String, String), CatalogueError>;
}

/// What a catalogue is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueInfo {
    /// Its name, as `order-desk`.
    pub name: String,
    /// What it is for, and how it is used.
    pub instructions: String,
}

/// A tool in a catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueTool {
    /// Its name: letters, digits, `_`, `-` and `.`, at most 128 of them.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema 2020-12 of the arguments, an object.
    pub input: Arc<Value>,
    /// JSON Schema 2020-12 of the result, where that is an object.
    pub output: Option<Arc<Value>>,
    /// Whether it changes nothing.
    pub read_only: bool,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolAnswered {
    /// Its result.
    Result(Value),
    /// It ran, or could not run with these arguments, and says why; for the caller's model to read.
    Refused(String),
}

/// A prompt in a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CataloguePrompt {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What is to be filled in.
    pub arguments: Vec<PromptArgument>,
}

/// What is to be filled in of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptArgument {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Whether it must be there.
    pub required: bool,
}

/// A text that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueResource {
    /// Where it is read.
    pub uri: String,
    /// What people call it.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its size in bytes, where that is known.
    pub bytes: Option<u64>,
}

/// Why a catalogue gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// It has no such tool, prompt or resource, or not for this caller.
    #[error("{0}")]
    Unknown(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// What has to answer cannot.
    #[error("{0}")]
    Unavailable(String),
}
