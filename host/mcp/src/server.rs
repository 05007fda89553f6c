//! A catalogue in the words of the protocol.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use nexus_model::{
    CatalogueCall, CatalogueError, CatalogueInfo, Message, Role as Speaker, SilentCaller, ToolAnswered, ToolCatalogue,
    ToolContent,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, DiscoverResult, Extensions,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation, InitializeRequestParams,
        InitializeResult, JsonObject, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, Prompt, PromptArgument, PromptMessage, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, Resource, ResourceContents, Role, ServerCapabilities, ServerConfig,
        SubscriptionFilter, Tool, ToolAnnotations,
    },
    service::{Peer, RequestContext, SubscriptionContext},
};
use serde_json::Value;
use tokio_util::task::TaskTracker;

/// For how long, in milliseconds, and for whom an answer is good: it is the caller's own, and may be another at once.
const OF_THIS_MOMENT: (Option<u64>, Option<CacheScope>) = (Some(0), Some(CacheScope::Private));

/// What a request may see, as the HTTP door found it: an extension of the request.
#[derive(Debug, Clone)]
pub(crate) struct Seen(pub(crate) Arc<dyn ToolCatalogue>);

/// The server's side of one session, or of one request where there are no sessions.
pub(crate) struct Server {
    /// Whose session this is, once it is begun.
    owner: OnceLock<String>,
    tasks: TaskTracker,
}

impl Server {
    /// Takes the catalogue of each request from the request.
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self { owner: OnceLock::new(), tasks }
    }

    fn catalogue(&self, extensions: &Extensions) -> Result<Arc<dyn ToolCatalogue>, ErrorData> {
        let seen = extensions.get::<http::request::Parts>().and_then(|parts| parts.extensions.get::<Seen>());
        let catalogue = seen.map(|seen| Arc::clone(&seen.0));
        let catalogue = catalogue.ok_or_else(|| ErrorData::internal_error("the request has no catalogue", None))?;
        match self.owner.get() {
            Some(owner) if owner != catalogue.owner() => {
                Err(ErrorData::invalid_request("this session is another caller's: begin one of your own", None))
            }
            _ => Ok(catalogue),
        }
    }

    /// Tells the peer of changes for as long as it is there.
    fn tell_of_changes(&self, catalogue: Arc<dyn ToolCatalogue>, peer: Peer<RoleServer>) {
        self.tasks.spawn(async move {
            let mut version = catalogue.version();
            loop {
                tokio::select! {
                    () = gone(&peer) => return,
                    () = catalogue.changed_from(&version) => version = catalogue.version(),
                }
                let told = async {
                    peer.notify_tool_list_changed().await?;
                    peer.notify_prompt_list_changed().await?;
                    peer.notify_resource_list_changed().await
                };
                if told.await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Waits until the peer is gone. rmcp tells of that only when it is asked.
async fn gone(peer: &Peer<RoleServer>) {
    while !peer.is_transport_closed() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        info(CatalogueInfo { name: "nexus".to_owned(), instructions: String::new() })
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        context.peer.set_peer_info(request.clone());
        let negotiated = self.negotiate_initialize(&request)?;
        let _ = self.owner.set(catalogue.owner().to_owned());
        let about = info(catalogue.about());
        self.tell_of_changes(catalogue, context.peer);
        Ok(about.with_protocol_version(negotiated.protocol_version))
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let about = self.catalogue(&context.extensions)?.about();
        Ok(DiscoverResult::from_server_info(self.supported_protocol_versions().into_owned(), info(about)))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.catalogue(&context.extensions)?.tools();
        let tools = tools.into_iter().map(|tool| {
            let mut shown = Tool::new_with_raw(tool.name, tool.description.map(Cow::Owned), object(&tool.input));
            shown.output_schema = tool.output.as_deref().map(object);
            shown.with_annotations(ToolAnnotations::new().read_only(tool.read_only))
        });
        let mut result = ListToolsResult::with_all_items(tools.collect());
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let call = CatalogueCall {
            tool: request.name.into_owned(),
            arguments: Value::Object(request.arguments.unwrap_or_default()),
            meta: context.meta.0.0.clone(),
            caller: Arc::new(SilentCaller),
        };
        let answered = tokio::select! {
            answered = catalogue.call(call) => answered.map_err(protocol_error)?,
            () = context.ct.cancelled() => return Err(ErrorData::invalid_request("the request was cancelled", None)),
        };
        Ok(match answered {
            ToolAnswered::Result(value @ Value::Object(_)) => CallToolResult::structured(value),
            ToolAnswered::Result(Value::String(text)) => CallToolResult::success(vec![ContentBlock::text(text)]),
            ToolAnswered::Result(value) => CallToolResult::success(vec![ContentBlock::text(value.to_string())]),
            ToolAnswered::Content(content) => content_result(content)?,
            ToolAnswered::Refused(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
        }
        .into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompts = self.catalogue(&context.extensions)?.prompts();
        let prompts = prompts.into_iter().map(|prompt| {
            let arguments = prompt.arguments.into_iter().map(|argument| {
                let mut shown = PromptArgument::new(argument.name);
                (shown.description, shown.required) = (argument.description, Some(argument.required));
                shown
            });
            Prompt::new(prompt.name, Some(prompt.description), Some(arguments.collect()))
        });
        let mut result = ListPromptsResult::with_all_items(prompts.collect());
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let arguments = request.arguments.unwrap_or_default().into_iter().collect();
        let messages = catalogue.prompt(&request.name, arguments).await.map_err(protocol_error)?;
        Ok(GetPromptResult::new(messages.into_iter().map(message).collect()).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = self.catalogue(&context.extensions)?.resources().await.map_err(protocol_error)?;
        let resources = resources.into_iter().map(|resource| {
            let mut shown = Resource::new(resource.uri, resource.name);
            shown.description = Some(resource.description);
            (shown.mime_type, shown.size) = (Some(resource.media_type.to_owned()), resource.bytes);
            shown
        });
        let mut result = ListResourcesResult::with_all_items(resources.collect());
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut result = ListResourceTemplatesResult::default();
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let (text, media_type) = catalogue.read(&request.uri).await.map_err(|error| match error {
            CatalogueError::Unknown(why) => ErrorData::resource_not_found(why, None),
            other => protocol_error(other),
        })?;
        let contents = ResourceContents::text(text, request.uri).with_mime_type(media_type);
        let mut result = ReadResourceResult::new(vec![contents]);
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result.into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = requested.clone();
        accepted.resource_subscriptions = None;
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let catalogue = self.catalogue(&context.request_context().extensions)?;
        let mut version = catalogue.version();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = catalogue.changed_from(&version) => version = catalogue.version(),
            }
            let (sink, accepted) = (context.sink(), context.accepted());
            let told = async {
                if accepted.tools_list_changed == Some(true) {
                    sink.notify_tool_list_changed().await?;
                }
                if accepted.prompts_list_changed == Some(true) {
                    sink.notify_prompt_list_changed().await?;
                }
                if accepted.resources_list_changed == Some(true) {
                    sink.notify_resource_list_changed().await?;
                }
                Ok::<_, rmcp::service::SubscriptionSendError>(())
            };
            if told.await.is_err() {
                return Ok(());
            }
        }
    }
}

fn content_result(content: ToolContent) -> Result<CallToolResult, ErrorData> {
    let blocks = serde_json::from_value(Value::Array(content.blocks))
        .map_err(|error| ErrorData::internal_error(format!("the tool's content is no content: {error}"), None))?;
    let mut result = if content.failed { CallToolResult::error(blocks) } else { CallToolResult::success(blocks) };
    result.structured_content = content.structured;
    Ok(result)
}

fn info(about: CatalogueInfo) -> ServerConfig {
    let capabilities = ServerCapabilities::builder()
        .enable_tools()
        .enable_tool_list_changed()
        .enable_prompts()
        .enable_prompts_list_changed()
        .enable_resources()
        .enable_resources_list_changed()
        .build();
    ServerConfig::new(capabilities)
        .with_server_info(Implementation::new(about.name, env!("CARGO_PKG_VERSION")))
        .with_instructions(about.instructions)
}

/// A schema as the protocol wants it; what is no object says nothing.
fn object(schema: &Value) -> Arc<JsonObject> {
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}

/// The protocol knows no system messages: they are the user's.
fn message(message: Message) -> PromptMessage {
    let role = match message.role {
        Speaker::System | Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
    };
    PromptMessage::new_text(role, message.content)
}

fn protocol_error(error: CatalogueError) -> ErrorData {
    match error {
        CatalogueError::Unknown(why) | CatalogueError::Invalid(why) => ErrorData::invalid_params(why, None),
        CatalogueError::Unavailable(why) => ErrorData::internal_error(why, None),
    }
}
