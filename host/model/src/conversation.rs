//! Conversations with a model that may use tools.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AnsweredBy, ModelParameters, Usage};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum ChatMessage {
    /// The instructions.
    System {
        /// The text.
        content: String,
    },
    /// The caller.
    User {
        /// The text.
        content: String,
    },
    /// The model.
    Assistant {
        /// What it says; empty if it only uses tools.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        content: String,
        /// The tools that it wants to be used, all at one time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolRequest>,
    },
    /// A tool, to the model that wanted it to be used.
    Tool {
        /// [`ToolRequest::id`].
        id: String,
        /// What it answers, or why it does not.
        content: String,
        /// Whether it failed.
        #[serde(default)]
        failed: bool,
    },
}

/// A model wants a tool to be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolRequest {
    /// What tells it from others of the conversation.
    pub id: String,
    /// The tool, by the name in [`ModelTool`].
    pub name: String,
    /// The arguments. A text where the model wrote no JSON.
    pub arguments: Value,
}

/// A tool, as a model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTool {
    /// Its name. Providers allow `[a-zA-Z0-9_-]{1,64}`; whoever asks has made it such.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema 2020-12 of its arguments, an object.
    pub input: Value,
}

/// A conversation that a model is to go on with.
#[derive(Debug, Clone)]
pub struct ConverseRequest {
    /// The alias of the model.
    pub model: String,
    /// What was said so far.
    pub messages: Vec<ChatMessage>,
    /// The tools that it may want to be used.
    pub tools: Vec<ModelTool>,
    /// Sampling settings.
    pub parameters: ModelParameters,
    /// The JSON Schema 2020-12 that an answer without [`ToolRequest`]s must satisfy; any text if `None`.
    pub schema: Option<Arc<Value>>,
    /// The longest that the answer, repair round and fall-back models included, may take.
    pub timeout: Duration,
}

/// How a model goes on with a conversation: it wants tools to be used, or else that is its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What it says.
    #[serde(default)]
    pub content: String,
    /// The answer by [`ConverseRequest::schema`], where there is one and no tool is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The tools that it wants to be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolRequest>,
    /// What it used.
    pub usage: Usage,
    /// The model that answered.
    pub by: AnsweredBy,
}
