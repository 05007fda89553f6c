//! The port of what MCP clients see: tools, prompts and resources, as one caller may see them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::Role;

/// Tools, prompts and resources of one caller. What the caller may not see is not in it. What is not said otherwise, there is
/// none of.
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
    async fn call(&self, call: CatalogueCall) -> Result<ToolAnswered, CatalogueError>;

    /// All prompts, by name.
    async fn prompts(&self) -> Result<Vec<CataloguePrompt>, CatalogueError> {
        Ok(Vec::new())
    }

    /// A prompt with its arguments filled in.
    async fn prompt(&self, wanted: PromptWanted) -> Result<Vec<PromptLine>, CatalogueError> {
        Err(CatalogueError::Unknown(format!("there is no prompt `{}`", cut(&wanted.name))))
    }

    /// All resources, by URI.
    async fn resources(&self) -> Result<Vec<CatalogueResource>, CatalogueError> {
        Ok(Vec::new())
    }

    /// All templates of resources.
    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, CatalogueError> {
        Ok(Vec::new())
    }

    /// What is at a URI; the caller may be asked first.
    async fn read(&self, uri: &str, caller: Arc<dyn ToolCaller>) -> Result<Vec<ResourceBody>, CatalogueError> {
        drop(caller);
        Err(CatalogueError::Unknown(format!("there is no resource `{}`", cut(uri))))
    }

    /// What an argument may be that begins so: the best first, at most a hundred.
    async fn complete(&self, wanted: CompletionWanted) -> Result<Vec<String>, CatalogueError> {
        drop(wanted);
        Ok(Vec::new())
    }
}

/// The beginning of a stranger's text, for a message to him.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// One call of a tool in a catalogue.
#[derive(Debug, Clone)]
pub struct CatalogueCall {
    /// The tool's name.
    pub tool: String,
    /// The arguments, not looked at yet.
    pub arguments: Value,
    /// What came with the call beside its arguments: `_meta` of the protocol.
    pub meta: Map<String, Value>,
    /// Who called, for as long as the call runs.
    pub caller: Arc<dyn ToolCaller>,
}

/// A prompt, asked for.
#[derive(Debug, Clone)]
pub struct PromptWanted {
    /// The prompt's name.
    pub name: String,
    /// What is to be filled in, not looked at yet.
    pub arguments: BTreeMap<String, Value>,
    /// Who asked, until the answer is there.
    pub caller: Arc<dyn ToolCaller>,
}

/// One message of a prompt that is filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptLine {
    /// Who speaks.
    pub role: Role,
    /// A content block of the protocol: an object with its `type`.
    pub content: Value,
}

/// The beginning of an argument, to be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionWanted {
    /// What the argument is of.
    pub of: CompletionOf,
    /// The argument's name.
    pub argument: String,
    /// What is there of it already.
    pub value: String,
}

/// What an argument is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionOf {
    /// A prompt, by name.
    Prompt(String),
    /// A template of resources, as it is listed.
    Template(String),
}

/// The one who called a tool, while the call runs: can be told of it, and asked.
#[async_trait]
pub trait ToolCaller: fmt::Debug + Send + Sync {
    /// Tells how far the call is. Nothing happens if the caller does not want to know.
    async fn progress(&self, progress: Progress);

    /// Tells what the tool has to say meanwhile. Nothing happens if the caller does not want to know.
    async fn log(&self, line: LogLine);

    /// Asks the caller, in the words of the protocol. The answer is data from a stranger.
    async fn ask(&self, question: Question) -> Result<Value, AskError>;
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// How much is done; more each time.
    pub done: f64,
    /// How much there is to do, where that is known.
    pub total: Option<f64>,
    /// What is being done.
    pub message: Option<String>,
}

/// What a tool says while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// As syslog has it (RFC 5424): `debug`, `info`, `notice`, `warning`, `error`, `critical`, `alert`, `emergency`.
    pub level: String,
    /// Who says it.
    pub logger: Option<String>,
    /// What.
    pub data: Value,
}

/// A question to the one who called a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What the tool calls it: the same question has the same key whenever the tool runs with the same arguments.
    pub key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// The parameters of the method.
    pub params: Value,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The caller does not take such questions.
    #[error("the caller cannot be asked: {0}")]
    Unsupported(String),
    /// The answer comes with another call of the same tool: this one is to end, and what it answers is not told.
    #[error("the answer comes with the next call")]
    Later,
    /// The caller did not answer, or not as the protocol says.
    #[error("the caller did not answer: {0}")]
    Failed(String),
}

/// A caller that does not want to know, and cannot be asked.
#[derive(Debug, Clone, Copy)]
pub struct SilentCaller;

#[async_trait]
impl ToolCaller for SilentCaller {
    async fn progress(&self, _: Progress) {}

    async fn log(&self, _: LogLine) {}

    async fn ask(&self, question: Question) -> Result<Value, AskError> {
        Err(AskError::Unsupported(format!("nobody is there to answer `{}`", question.method)))
    }
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
    /// Its result, as the protocol has it.
    Content(ToolContent),
    /// It ran, or could not run with these arguments, and says why; for the caller's model to read.
    Refused(String),
}

/// A tool's result in the words of the protocol.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolContent {
    /// Content blocks, each an object with its `type`: texts, images, sounds, resources and links to them.
    pub blocks: Vec<Value>,
    /// The result as a value, if there is one.
    pub structured: Option<Value>,
    /// Whether the tool says that it failed.
    pub failed: bool,
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

/// Something that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueResource {
    /// Where it is read.
    pub uri: String,
    /// What people call it.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its size in bytes, where that is known.
    pub bytes: Option<u64>,
}

/// Many things that can be read, each at a URI of this form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueTemplate {
    /// The form, as RFC 6570 has it.
    pub uri_template: String,
    /// What people call it.
    pub name: String,
    /// What they are.
    pub description: Option<String>,
    /// Their media type, if all have the same.
    pub media_type: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceBody {
    /// Where.
    pub uri: String,
    /// Its media type.
    pub media_type: Option<String>,
    /// Itself.
    pub data: ResourceData,
}

/// The content of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceData {
    /// A text.
    Text(String),
    /// Bytes in base64.
    Blob(String),
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
