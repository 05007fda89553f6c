//! What a catalogue says, in the words of the protocol.

use std::{borrow::Cow, sync::Arc};

use nexus_model::{
    CatalogueError, CatalogueInfo, CataloguePrompt, CatalogueResource, CatalogueTemplate, CatalogueTool, PromptLine,
    ResourceBody, ResourceData, Role as Speaker, ToolAnswered, ToolContent,
};
use rmcp::{
    ErrorData,
    model::{
        CallToolResult, ContentBlock, Implementation, JsonObject, Prompt, PromptArgument, PromptMessage, Resource,
        ResourceContents, ResourceTemplate, Role, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
    },
};
use serde_json::{Value, json};

pub(crate) fn info(about: CatalogueInfo) -> ServerConfig {
    let mut capabilities = ServerCapabilities::builder()
        .enable_tools()
        .enable_tool_list_changed()
        .enable_prompts()
        .enable_prompts_list_changed()
        .enable_resources()
        .enable_resources_list_changed()
        .enable_resources_subscribe()
        .enable_completions()
        .build();
    capabilities.logging = Some(JsonObject::new());
    ServerConfig::new(capabilities)
        .with_server_info(Implementation::new(about.name, env!("CARGO_PKG_VERSION")))
        .with_instructions(about.instructions)
}

pub(crate) fn tool(tool: CatalogueTool) -> Tool {
    let mut shown = Tool::new_with_raw(tool.name, tool.description.map(Cow::Owned), object(&tool.input));
    shown.output_schema = tool.output.as_deref().map(object);
    shown.with_annotations(ToolAnnotations::new().read_only(tool.read_only))
}

/// A schema as the protocol wants it; what is no object says nothing.
fn object(schema: &Value) -> Arc<JsonObject> {
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}

pub(crate) fn answered(answered: ToolAnswered) -> Result<CallToolResult, ErrorData> {
    Ok(match answered {
        ToolAnswered::Result(value @ Value::Object(_)) => CallToolResult::structured(value),
        ToolAnswered::Result(Value::String(text)) => CallToolResult::success(vec![ContentBlock::text(text)]),
        ToolAnswered::Result(value) => CallToolResult::success(vec![ContentBlock::text(value.to_string())]),
        ToolAnswered::Content(content) => content_result(content)?,
        ToolAnswered::Refused(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
    })
}

fn content_result(content: ToolContent) -> Result<CallToolResult, ErrorData> {
    let blocks = content.blocks.into_iter().map(block).collect::<Result<_, _>>()?;
    let mut result = if content.failed { CallToolResult::error(blocks) } else { CallToolResult::success(blocks) };
    result.structured_content = content.structured;
    Ok(result)
}

fn block(block: Value) -> Result<ContentBlock, ErrorData> {
    let block = serde_json::from_value(block);
    block.map_err(|error| ErrorData::internal_error(format!("what was said is no content: {error}"), None))
}

pub(crate) fn prompt(prompt: CataloguePrompt) -> Prompt {
    let arguments = prompt.arguments.into_iter().map(|argument| {
        let mut shown = PromptArgument::new(argument.name);
        (shown.description, shown.required) = (argument.description, Some(argument.required));
        shown
    });
    Prompt::new(prompt.name, Some(prompt.description), Some(arguments.collect()))
}

/// The protocol knows no system messages: they are the user's.
pub(crate) fn line(line: PromptLine) -> Result<PromptMessage, ErrorData> {
    let role = match line.role {
        Speaker::System | Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
    };
    Ok(PromptMessage::new(role, block(line.content)?))
}

pub(crate) fn resource(resource: CatalogueResource) -> Resource {
    let mut shown = Resource::new(resource.uri, resource.name);
    shown.description = resource.description;
    (shown.mime_type, shown.size) = (resource.media_type, resource.bytes);
    shown
}

pub(crate) fn template(template: CatalogueTemplate) -> ResourceTemplate {
    let mut shown = ResourceTemplate::new(template.uri_template, template.name);
    (shown.description, shown.mime_type) = (template.description, template.media_type);
    shown
}

pub(crate) fn contents(body: ResourceBody) -> ResourceContents {
    let mime_type = body.media_type;
    match body.data {
        ResourceData::Text(text) => {
            ResourceContents::TextResourceContents { uri: body.uri, mime_type, text, meta: None }
        }
        ResourceData::Blob(blob) => {
            ResourceContents::BlobResourceContents { uri: body.uri, mime_type, blob, meta: None }
        }
    }
}

pub(crate) fn protocol_error(error: CatalogueError) -> ErrorData {
    match error {
        CatalogueError::Unknown(why) | CatalogueError::Invalid(why) => ErrorData::invalid_params(why, None),
        CatalogueError::Unavailable(why) => ErrorData::internal_error(why, None),
    }
}

pub(crate) fn read_error(error: CatalogueError, uri: &str) -> ErrorData {
    match error {
        CatalogueError::Unknown(why) => ErrorData::resource_not_found(why, Some(json!({ "uri": uri }))),
        other => protocol_error(other),
    }
}
