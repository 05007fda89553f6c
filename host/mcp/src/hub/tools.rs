//! What servers offer, and calls of it.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use nexus_model::{SilentCaller, ToolCaller, ToolContent};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, DiscoverRequest, DiscoverRequestParams,
    GetPromptRequest, GetPromptRequestParams, PingRequest, ReadResourceRequest, ReadResourceRequestParams,
    ServerResult,
};
use serde_json::{Map, Value};

use super::{
    HubError, McpHub,
    connection::{Connection, Trouble},
    error::Fault,
    exchange::{Exchange, meta},
    lists, named,
    pins::{self, ToolChange},
    server::Server,
};

/// A call of a tool of a server.
#[derive(Debug, Clone)]
pub struct HubCall {
    /// The tool's name, as the server has it.
    pub tool: String,
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// What goes along in `_meta`. Nothing of what came in with a call does by itself.
    pub meta: Map<String, Value>,
    /// Who called: is told of progress, and asked what the server asks.
    pub caller: Arc<dyn ToolCaller>,
}

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct HubTool {
    /// Its name, as the server has it.
    pub name: String,
    /// All of it, as it was approved: an object of the protocol.
    pub object: Arc<Value>,
}

/// A tool that may not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Its name, as the server has it.
    pub name: String,
    /// Why not.
    pub fault: Fault,
}

/// The tools of a server as far as they are known.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerTools {
    /// Those that may be called. What they are is what was approved, not what the server says.
    pub tools: Vec<HubTool>,
    /// Those that may not.
    pub blocked: Vec<Blocked>,
    /// Whether the server has said what it offers since it was taken up.
    pub seen: bool,
    /// For how long the server is left alone, if it has failed.
    pub resting: Option<Duration>,
}

/// The futures are boxed, so that what they are made of is compiled in this crate, once.
impl McpHub {
    /// The tools of a server as far as they are known now. Never waits, whatever the server does: what is not known, or was not
    /// looked at lately, is looked at in the background.
    pub fn tools_cached(&self, key: &str) -> Result<ServerTools, HubError> {
        let server = self.server(key)?;
        let (offered, resting) = server.known();
        if !server.is_fresh() && resting.is_none() {
            server.refresh();
        }
        let approved = server.approved();
        let (mut tools, mut blocked) = (Vec::with_capacity(approved.tools.len()), Vec::new());
        for (name, object) in &approved.tools {
            match offered.as_ref().map_or(Ok(()), |offered| approved.pins.check(&offered.pins, name)) {
                Ok(()) => tools.push(HubTool { name: name.clone(), object: Arc::clone(object) }),
                Err(fault) => blocked.push(Blocked { name: name.clone(), fault }),
            }
        }
        for name in offered.iter().flat_map(|offered| offered.tools.keys()) {
            if let Err(fault) = approved.pins.approved(name) {
                blocked.push(Blocked { name: name.clone(), fault });
            }
        }
        Ok(ServerTools { tools, blocked, seen: offered.is_some(), resting })
    }

    /// The tools that a server offers, as they are to be approved.
    pub fn offered<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Value>, HubError>> {
        Box::pin(self.offered_plain(key))
    }

    async fn offered_plain(&self, key: &str) -> Result<BTreeMap<String, Value>, HubError> {
        let server = self.server(key)?;
        let offered = Arc::clone(&server).with(|connection| Arc::clone(&server).offered(connection));
        offered.await.map(|offered| offered.tools.clone()).map_err(|fault| named(key, fault))
    }

    /// What is different about what a server offers from what was approved.
    pub fn diff<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<ToolChange>, HubError>> {
        Box::pin(self.diff_plain(key))
    }

    async fn diff_plain(&self, key: &str) -> Result<Vec<ToolChange>, HubError> {
        let offered = self.offered_plain(key).await?;
        let approved = self.server(key)?.approved();
        let approved = approved.tools.iter().map(|(name, tool)| (name.clone(), Value::clone(tool))).collect();
        Ok(pins::diff(&approved, &offered))
    }

    /// Calls a tool that was approved and is what was approved. The call is cancelled at the server when this is dropped.
    pub fn call<'a>(&'a self, key: &'a str, call: HubCall) -> BoxFuture<'a, Result<ToolContent, HubError>> {
        Box::pin(self.call_plain(key, call))
    }

    async fn call_plain(&self, key: &str, call: HubCall) -> Result<ToolContent, HubError> {
        let server = self.server(key)?;
        let called = async {
            // Nothing is started for what may not be called.
            server.approved().pins.approved(&call.tool)?;
            let called = Arc::clone(&server).with(|connection| {
                let (server, call) = (Arc::clone(&server), call.clone());
                async move {
                    let offered = Arc::clone(&server).offered(Arc::clone(&connection)).await?;
                    server.approved().pins.check(&offered.pins, &call.tool)?;
                    call_tool(&server, &connection, call).await
                }
            });
            let content = called.await?;
            server.auth.worked();
            Ok(content)
        };
        called.await.map_err(|fault| named(key, fault))
    }

    /// The prompts that a server offers, each an object of the protocol.
    pub fn prompts<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Value>, HubError>> {
        Box::pin(self.prompts_plain(key))
    }

    async fn prompts_plain(&self, key: &str) -> Result<Vec<Value>, HubError> {
        self.list(key, lists::prompts).await
    }

    /// The resources that a server offers, each an object of the protocol.
    pub fn resources<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Value>, HubError>> {
        Box::pin(self.resources_plain(key))
    }

    async fn resources_plain(&self, key: &str) -> Result<Vec<Value>, HubError> {
        self.list(key, lists::resources).await
    }

    /// The templates of resources that a server offers, each an object of the protocol.
    pub fn templates<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Value>, HubError>> {
        Box::pin(self.templates_plain(key))
    }

    async fn templates_plain(&self, key: &str) -> Result<Vec<Value>, HubError> {
        self.list(key, lists::templates).await
    }

    /// A prompt of a server, filled in: the result of the protocol.
    pub fn prompt<'a>(
        &'a self,
        key: &'a str,
        name: &'a str,
        arguments: Map<String, Value>,
        caller: Arc<dyn ToolCaller>,
    ) -> BoxFuture<'a, Result<Value, HubError>> {
        Box::pin(self.prompt_plain(key, name, arguments, caller))
    }

    async fn prompt_plain(
        &self,
        key: &str,
        name: &str,
        arguments: Map<String, Value>,
        caller: Arc<dyn ToolCaller>,
    ) -> Result<Value, HubError> {
        let mut params = GetPromptRequestParams::new(name);
        params.arguments = Some(arguments);
        let result = self.ask(key, caller, move |answers| {
            let mut params = params.clone();
            (params.input_responses, params.request_state) = (answers.responses, answers.state);
            ClientRequest::GetPromptRequest(GetPromptRequest::new(params))
        });
        match result.await? {
            ServerResult::GetPromptResult(result) => json(result).map_err(|fault| named(key, fault)),
            other => Err(named(key, unexpected(&other))),
        }
    }

    /// A resource of a server: the result of the protocol.
    pub fn read<'a>(
        &'a self,
        key: &'a str,
        uri: &'a str,
        caller: Arc<dyn ToolCaller>,
    ) -> BoxFuture<'a, Result<Value, HubError>> {
        Box::pin(self.read_plain(key, uri, caller))
    }

    async fn read_plain(&self, key: &str, uri: &str, caller: Arc<dyn ToolCaller>) -> Result<Value, HubError> {
        let params = ReadResourceRequestParams::new(uri);
        let result = self.ask(key, caller, move |answers| {
            let mut params = params.clone();
            (params.input_responses, params.request_state) = (answers.responses, answers.state);
            ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params))
        });
        match result.await? {
            ServerResult::ReadResourceResult(result) => json(result).map_err(|fault| named(key, fault)),
            other => Err(named(key, unexpected(&other))),
        }
    }

    /// Whether a server answers, and how long it takes. It is connected to if it is not yet.
    pub fn ping<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Duration, HubError>> {
        Box::pin(self.ping_plain(key))
    }

    async fn ping_plain(&self, key: &str) -> Result<Duration, HubError> {
        let server = self.server(key)?;
        let caller: Arc<dyn ToolCaller> = Arc::new(SilentCaller);
        let pinged = Arc::clone(&server).with(|connection| {
            let (server, caller) = (Arc::clone(&server), Arc::clone(&caller));
            async move {
                let (begun, modern) = (Instant::now(), connection.is_modern());
                exchange(&server, &connection, &caller)
                    .run(|_| {
                        if modern {
                            ClientRequest::DiscoverRequest(DiscoverRequest::new(DiscoverRequestParams {}))
                        } else {
                            ClientRequest::PingRequest(PingRequest::default())
                        }
                    })
                    .await?;
                Ok(begun.elapsed())
            }
        });
        pinged.await.map_err(|fault| named(key, fault))
    }

    async fn list<F>(&self, key: &str, list: impl Fn(Arc<Connection>) -> F) -> Result<Vec<Value>, HubError>
    where
        F: Future<Output = Result<Vec<Value>, Trouble>>,
    {
        let server = self.server(key)?;
        let patience = server.spec.call_timeout;
        let listed = Arc::clone(&server).with(|connection| {
            let list = tokio::time::timeout(patience, list(connection));
            async move { list.await.map_err(|_| Fault::CallTimeout(patience))? }
        });
        listed.await.map_err(|fault| named(key, fault))
    }

    async fn ask(
        &self,
        key: &str,
        caller: Arc<dyn ToolCaller>,
        request: impl Fn(super::exchange::Answers) -> ClientRequest,
    ) -> Result<ServerResult, HubError> {
        let (server, request) = (self.server(key)?, &request);
        let asked = Arc::clone(&server).with(|connection| {
            let (server, caller) = (Arc::clone(&server), Arc::clone(&caller));
            async move { exchange(&server, &connection, &caller).run(request).await }
        });
        let result = asked.await.map_err(|fault| named(key, fault))?;
        server.auth.worked();
        Ok(result)
    }
}

fn exchange<'a>(server: &'a Server, connection: &'a Connection, caller: &'a Arc<dyn ToolCaller>) -> Exchange<'a> {
    let (within, answer) = (server.spec.call_timeout, server.config.answer);
    Exchange { connection, caller, within, answer, tasks: &server.tasks }
}

async fn call_tool(server: &Server, connection: &Connection, call: HubCall) -> Result<ToolContent, Trouble> {
    let mut params = CallToolRequestParams::new(call.tool).with_arguments(call.arguments);
    params.meta = meta(call.meta);
    let exchange = exchange(server, connection, &call.caller);
    let result = exchange.run(|answers| {
        let mut params = params.clone();
        (params.input_responses, params.request_state) = (answers.responses, answers.state);
        ClientRequest::CallToolRequest(CallToolRequest::new(params))
    });
    match result.await? {
        ServerResult::CallToolResult(result) => Ok(content(result)?),
        // Some leave out what is empty.
        ServerResult::EmptyResult(_) => Ok(ToolContent::default()),
        other => Err(unexpected(&other).into()),
    }
}

fn content(result: CallToolResult) -> Result<ToolContent, Fault> {
    let blocks = result.content.into_iter().map(json).collect::<Result<_, _>>()?;
    Ok(ToolContent { blocks, structured: result.structured_content, failed: result.is_error == Some(true) })
}

fn json(value: impl serde::Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|error| Fault::Protocol(error.to_string()))
}

fn unexpected(result: &ServerResult) -> Fault {
    let kind = match result {
        ServerResult::CreateTaskResult(_) => "a task, which was not asked for",
        _ => "something else than was asked for",
    };
    Fault::Protocol(format!("it answered with {kind}"))
}
