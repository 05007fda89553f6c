//! A server's catalogue on standard input and output: for clients that start a program and speak with it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use http::{HeaderValue, header::AUTHORIZATION};
use rmcp::{
    ClientHandler, ErrorData, RoleClient, RoleServer, ServerHandler, ServiceError, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, CompleteRequestParams,
        CompleteResult, GetPromptRequestParams, GetPromptResponse, Implementation, InitializeRequestParams,
        InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ResultType, ServerConfig,
    },
    service::{NotificationContext, Peer, RequestContext},
    transport::{StreamableHttpClientTransport, stdio, streamable_http_client::StreamableHttpClientTransportConfig},
};
use tokio_util::sync::CancellationToken;

use crate::server::OF_THIS_MOMENT;

/// Why a catalogue could not be shown to its end.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The key cannot be sent.
    #[error("the key has characters that no key has")]
    Key,
    /// The server did not let the session begin.
    #[error("the server at {url} gave no session: {why}")]
    Server {
        /// Where it is.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The client did not begin as the protocol says.
    #[error("the client did not begin a session: {0}")]
    Client(String),
    /// The task that answers was lost.
    #[error("the session broke off: {0}")]
    Lost(String),
}

/// Shows what an MCP server at `url` shows on standard input and output, until the client closes them or the token is
/// cancelled. `key` is sent as a bearer token.
///
/// # Errors
/// [`StdioError`].
pub async fn serve_stdio(url: &str, key: Option<&str>, cancel: CancellationToken) -> Result<(), StdioError> {
    let mut settings = StreamableHttpClientTransportConfig::with_uri(url);
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| StdioError::Key)?;
        value.set_sensitive(true);
        settings.custom_headers = HashMap::from([(AUTHORIZATION, value)]);
    }
    let client = Arc::new(OnceLock::new());
    let upstream = Upstream { client: Arc::clone(&client) };
    let transport = StreamableHttpClientTransport::from_config(settings);
    let failed = |why: &dyn std::fmt::Display| StdioError::Server { url: url.to_owned(), why: why.to_string() };
    let server = upstream.serve_with_ct(transport, cancel.clone()).await.map_err(|error| failed(&error))?;
    let told = server.peer().peer_info().ok_or_else(|| failed(&"it does not say who it is"))?;
    let mut capabilities = told.capabilities.clone();
    // What a call says while it runs, and which resource is another, stays between the server and the bridge.
    capabilities.logging = None;
    capabilities.resources.iter_mut().for_each(|resources| resources.subscribe = None);
    let mut info = ServerConfig::new(capabilities);
    (info.server_info, info.instructions) = (told.server_info.clone().unwrap_or_default(), told.instructions.clone());
    let bridge = Bridge { server: server.peer().clone(), info, client };
    let running = bridge.serve_with_ct(stdio(), cancel).await;
    let running = running.map_err(|error| StdioError::Client(error.to_string()))?;
    running.waiting().await.map(drop).map_err(|error| StdioError::Lost(error.to_string()))
}

/// The client's side of the bridge: hears the server's notifications and hands them on.
struct Upstream {
    client: Arc<OnceLock<Peer<RoleServer>>>,
}

impl ClientHandler for Upstream {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("nexus", env!("CARGO_PKG_VERSION")))
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        if let Some(client) = self.client.get() {
            // A client that is gone misses nothing.
            let _ = client.notify_tool_list_changed().await;
        }
    }

    async fn on_prompt_list_changed(&self, _: NotificationContext<RoleClient>) {
        if let Some(client) = self.client.get() {
            let _ = client.notify_prompt_list_changed().await;
        }
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        if let Some(client) = self.client.get() {
            let _ = client.notify_resource_list_changed().await;
        }
    }
}

/// The server's side of the bridge: asks the server at the other end.
struct Bridge {
    server: Peer<RoleClient>,
    info: ServerConfig,
    client: Arc<OnceLock<Peer<RoleServer>>>,
}

type Context = RequestContext<RoleServer>;

/// Adds to a list what the session with the server does without and newer clients ask for. rmcp takes it away for older ones.
macro_rules! whole {
    ($answered:expr) => {{
        let mut result = $answered.await.map_err(handed_on)?;
        result.result_type = Some(ResultType::COMPLETE);
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }};
}

impl ServerHandler for Bridge {
    fn get_info(&self) -> ServerConfig {
        self.info.clone()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: Context,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let negotiated = self.negotiate_initialize(&request)?;
        let _ = self.client.set(context.peer);
        Ok(negotiated)
    }

    async fn list_tools(&self, page: Option<PaginatedRequestParams>, _: Context) -> Result<ListToolsResult, ErrorData> {
        whole!(self.server.list_tools(page))
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        let mut response = tokio::select! {
            result = self.server.call_tool_once(request) => result.map_err(handed_on)?,
            () = context.ct.cancelled() => return Err(ErrorData::invalid_request("the request was cancelled", None)),
        };
        if let CallToolResponse::Complete(result) = &mut response {
            result.result_type = Some(ResultType::COMPLETE);
        }
        Ok(response)
    }

    async fn list_prompts(
        &self,
        page: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        whole!(self.server.list_prompts(page))
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: Context) -> Result<GetPromptResponse, ErrorData> {
        let mut response = self.server.get_prompt_once(request).await.map_err(handed_on)?;
        if let GetPromptResponse::Complete(result) = &mut response {
            result.result_type = Some(ResultType::COMPLETE);
        }
        Ok(response)
    }

    async fn complete(&self, request: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        let mut result = self.server.complete(request).await.map_err(handed_on)?;
        result.result_type = Some(ResultType::COMPLETE);
        Ok(result)
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        whole!(self.server.list_resources(page))
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        whole!(self.server.list_resource_templates(page))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let mut response = self.server.read_resource_once(request).await.map_err(handed_on)?;
        if let ReadResourceResponse::Complete(result) = &mut response {
            result.result_type = Some(ResultType::COMPLETE);
            (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        }
        Ok(response)
    }
}

/// The server's own errors are the client's; others are the bridge's.
fn handed_on(error: ServiceError) -> ErrorData {
    match error {
        ServiceError::McpError(error) => error,
        other => ErrorData::internal_error(other.to_string(), None),
    }
}
