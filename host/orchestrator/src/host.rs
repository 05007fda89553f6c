//! The host, as one execution sees it.

use rmcp::{
    RoleClient,
    model::{CallToolRequestParams, CallToolResult, JsonObject, MetaObject},
    service::Peer,
};
use serde_json::{Value, json};

/// Why a tool has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// It says so itself, or may not be used: text for a model to read.
    #[error("{0}")]
    Refused(String),
    /// The host did not answer, or does not answer any more.
    #[error("the host did not answer: {0}")]
    Host(String),
}

/// The tools of the host, used for one execution. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Host {
    peer: Peer<RoleClient>,
    execution: String,
}

impl Host {
    pub(crate) fn new(peer: Peer<RoleClient>, execution: String) -> Self {
        Self { peer, execution }
    }

    /// Calls a tool. With a `key`, which must be the same whenever the execution comes to this call, a call that was answered
    /// is not made again.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn call(&self, tool: &str, arguments: Value, key: Option<&str>) -> Result<Value, ToolError> {
        let mut meta = MetaObject::default();
        meta.0.insert("nexus/execution".to_owned(), json!(self.execution));
        if let Some(key) = key {
            meta.0.insert("nexus/idempotency-key".to_owned(), json!(key));
        }
        call(&self.peer, tool, arguments, Some(meta)).await
    }

    /// Tells of a step; `false` if the execution is over and the program is to stop.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn step(&self, message: &str) -> Result<bool, ToolError> {
        let told = json!({ "execution": self.execution, "message": message });
        Ok(call(&self.peer, "core.work.step", told, None).await?["go"] == "on")
    }
}

/// Calls a tool of the host.
pub(crate) async fn call(
    peer: &Peer<RoleClient>,
    tool: &str,
    arguments: Value,
    meta: Option<MetaObject>,
) -> Result<Value, ToolError> {
    let arguments: JsonObject = match arguments {
        Value::Object(arguments) => arguments,
        other => JsonObject::from_iter([("input".to_owned(), other)]),
    };
    let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    params.meta = meta.map(Into::into);
    let result = peer.call_tool(params).await.map_err(|error| ToolError::Host(error.to_string()))?;
    read(result)
}

/// The value of a result: what it says as a value, or else its text.
fn read(result: CallToolResult) -> Result<Value, ToolError> {
    let failed = result.is_error == Some(true);
    if let Some(value) = result.structured_content {
        return if failed { Err(ToolError::Refused(value.to_string())) } else { Ok(value) };
    }
    let texts: Vec<_> = result.content.iter().filter_map(|block| block.as_text()).map(|text| &*text.text).collect();
    let text = texts.join("\n");
    if failed { Err(ToolError::Refused(text)) } else { Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))) }
}
