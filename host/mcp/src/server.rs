//! The server's side of the protocol, over a catalogue.
#![expect(deprecated, reason = "the levels of logs and subscriptions of sessions go, but clients have them still")]

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nexus_model::{
    CatalogueCall, CatalogueInfo, CompletionOf, CompletionWanted, PromptWanted, ToolAnswered, ToolCatalogue,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CompletionInfo,
        DiscoverResult, Extensions, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
        InitializeRequestParams, InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, LoggingLevel, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, Reference, ServerConfig, SetLevelRequestMethod, SetLevelRequestParams,
        SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde_json::Value;
use tokio_util::task::TaskTracker;

use crate::{
    caller::{Instead, McpCaller, is_stateless},
    rounds::{Asked, Rounds},
    watch::{self, Watched},
    words,
};

/// For how long, in milliseconds, and for whom an answer is good: it is the caller's own, and may be another at once.
pub(crate) const OF_THIS_MOMENT: (Option<u64>, Option<CacheScope>) = (Some(0), Some(CacheScope::Private));

type Context = RequestContext<RoleServer>;

/// What a request may see, as the HTTP door found it: an extension of the request.
#[derive(Debug, Clone)]
pub(crate) struct Seen(pub(crate) Arc<dyn ToolCatalogue>);

/// The server's side of one session, or of one request where there are no sessions.
pub(crate) struct Server {
    /// Whose session this is, once it is begun.
    owner: OnceLock<String>,
    /// From what level on the client of the session wants to be told.
    level: Mutex<LoggingLevel>,
    watched: Watched,
    rounds: Arc<Rounds>,
    /// What every request sees, where requests do not say so.
    always: Option<Arc<dyn ToolCatalogue>>,
    tasks: TaskTracker,
}

impl Server {
    /// Takes the catalogue of each request from the request.
    pub(crate) fn new(rounds: Arc<Rounds>, tasks: TaskTracker) -> Self {
        let level = Mutex::new(LoggingLevel::Info);
        Self { owner: OnceLock::new(), level, watched: Watched::default(), rounds, always: None, tasks }
    }

    /// Shows one catalogue to whoever is at the other end.
    pub(crate) fn of(catalogue: Arc<dyn ToolCatalogue>, rounds: Arc<Rounds>, tasks: TaskTracker) -> Self {
        Self { always: Some(catalogue), ..Self::new(rounds, tasks) }
    }

    fn catalogue(&self, extensions: &Extensions) -> Result<Arc<dyn ToolCatalogue>, ErrorData> {
        let seen = extensions.get::<http::request::Parts>().and_then(|parts| parts.extensions.get::<Seen>());
        let catalogue = seen.map(|seen| &seen.0).or(self.always.as_ref()).cloned();
        let catalogue = catalogue.ok_or_else(|| ErrorData::internal_error("the request has no catalogue", None))?;
        match self.owner.get() {
            Some(owner) if owner != catalogue.owner() => {
                Err(ErrorData::invalid_request("this session is another caller's: begin one of your own", None))
            }
            _ => Ok(catalogue),
        }
    }

    fn caller(&self, context: &Context, answers: rmcp::model::InputResponses) -> Arc<McpCaller> {
        let level = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(McpCaller::new(context, Some(level), answers))
    }
}

/// Waits for an answer unless the caller takes the question back.
async fn unless_cancelled<T>(context: &Context, answer: impl Future<Output = T>) -> Result<T, ErrorData> {
    tokio::select! {
        answer = answer => Ok(answer),
        () = context.ct.cancelled() => Err(ErrorData::invalid_request("the request was cancelled", None)),
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        words::info(CatalogueInfo { name: "nexus".to_owned(), instructions: String::new() })
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: Context,
    ) -> Result<InitializeResult, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        context.peer.set_peer_info(request.clone());
        let negotiated = self.negotiate_initialize(&request)?;
        let _ = self.owner.set(catalogue.owner().to_owned());
        let about = words::info(catalogue.about());
        self.tasks.spawn(self.watched.clone().tell(catalogue, context.peer));
        Ok(about.with_protocol_version(negotiated.protocol_version))
    }

    async fn discover(&self, context: Context) -> Result<DiscoverResult, ErrorData> {
        let about = self.catalogue(&context.extensions)?.about();
        Ok(DiscoverResult::from_server_info(self.supported_protocol_versions().into_owned(), words::info(about)))
    }

    async fn set_level(&self, request: SetLevelRequestParams, context: Context) -> Result<(), ErrorData> {
        if is_stateless(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = request.level;
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.catalogue(&context.extensions)?.tools();
        let mut result = ListToolsResult::with_all_items(tools.into_iter().map(words::tool).collect());
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let asked = is_stateless(&context).then(|| Asked::new(&*catalogue, "tools/call", &request.name, &arguments));
        let answers = self.rounds.open(asked.as_ref(), request.request_state.as_deref(), request.input_responses)?;
        let caller = self.caller(&context, answers);
        let call = CatalogueCall {
            tool: request.name.into_owned(),
            arguments,
            meta: context.meta.0.0.clone(),
            caller: Arc::clone(&caller) as _,
        };
        let answered = unless_cancelled(&context, catalogue.call(call)).await?.map_err(words::protocol_error)?;
        let failed = match &answered {
            ToolAnswered::Refused(_) => true,
            ToolAnswered::Content(said) => said.failed,
            ToolAnswered::Result(_) => false,
        };
        match caller.instead(&self.rounds, asked.as_ref(), failed) {
            None => words::answered(answered).map(Into::into),
            Some(Instead::Ask(questions)) => Ok(questions.into()),
            Some(Instead::Refuse(error)) => Err(error),
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let prompts = unless_cancelled(&context, catalogue.prompts()).await?.map_err(words::protocol_error)?;
        let mut result = ListPromptsResult::with_all_items(prompts.into_iter().map(words::prompt).collect());
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
        let asked = is_stateless(&context).then(|| Asked::new(&*catalogue, "prompts/get", &request.name, &arguments));
        let answers = self.rounds.open(asked.as_ref(), request.request_state.as_deref(), request.input_responses)?;
        let caller = self.caller(&context, answers);
        let arguments = request.arguments.unwrap_or_default().into_iter().collect();
        let wanted = PromptWanted { name: request.name, arguments, caller: Arc::clone(&caller) as _ };
        let lines = unless_cancelled(&context, catalogue.prompt(wanted)).await?;
        match caller.instead(&self.rounds, asked.as_ref(), lines.is_err()) {
            None => {
                let lines = lines.map_err(words::protocol_error)?;
                Ok(GetPromptResult::new(lines.into_iter().map(words::line).collect::<Result<_, _>>()?).into())
            }
            Some(Instead::Ask(questions)) => Ok(questions.into()),
            Some(Instead::Refuse(error)) => Err(error),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let resources = unless_cancelled(&context, catalogue.resources()).await?.map_err(words::protocol_error)?;
        let mut result = ListResourcesResult::with_all_items(resources.into_iter().map(words::resource).collect());
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let templates = unless_cancelled(&context, catalogue.templates()).await?.map_err(words::protocol_error)?;
        let templates = templates.into_iter().map(words::template).collect();
        let mut result = ListResourceTemplatesResult::with_all_items(templates);
        (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
        Ok(result)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let asked =
            is_stateless(&context).then(|| Asked::new(&*catalogue, "resources/read", &request.uri, &Value::Null));
        let answers = self.rounds.open(asked.as_ref(), request.request_state.as_deref(), request.input_responses)?;
        let caller = self.caller(&context, answers);
        let bodies = unless_cancelled(&context, catalogue.read(&request.uri, Arc::clone(&caller) as _)).await?;
        match caller.instead(&self.rounds, asked.as_ref(), bodies.is_err()) {
            None => {
                let bodies = bodies.map_err(|error| words::read_error(error, &request.uri))?;
                let mut result = ReadResourceResult::new(bodies.into_iter().map(words::contents).collect());
                (result.ttl_ms, result.cache_scope) = OF_THIS_MOMENT;
                Ok(result.into())
            }
            Some(Instead::Ask(questions)) => Ok(questions.into()),
            Some(Instead::Refuse(error)) => Err(error),
        }
    }

    async fn complete(&self, request: CompleteRequestParams, context: Context) -> Result<CompleteResult, ErrorData> {
        let catalogue = self.catalogue(&context.extensions)?;
        let of = match request.r#ref {
            Reference::Prompt(prompt) => CompletionOf::Prompt(prompt.name),
            Reference::Resource(template) => CompletionOf::Template(template.uri),
            _ => {
                return Err(ErrorData::invalid_params(
                    "only arguments of prompts and of templates are completed",
                    None,
                ));
            }
        };
        let wanted = CompletionWanted { of, argument: request.argument.name, value: request.argument.value };
        let values = unless_cancelled(&context, catalogue.complete(wanted)).await?.map_err(words::protocol_error)?;
        let more = values.len() > CompletionInfo::MAX_VALUES;
        let values = values.into_iter().take(CompletionInfo::MAX_VALUES).collect();
        let completion = CompletionInfo::with_pagination(values, None, more);
        Ok(CompleteResult::new(completion.map_err(|why| ErrorData::internal_error(why, None))?))
    }

    async fn subscribe(&self, request: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.watched.add(request.uri)
    }

    async fn unsubscribe(&self, request: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.watched.remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let catalogue = self.catalogue(&context.request_context().extensions)?;
        watch::listen(&*catalogue, &context).await;
        Ok(())
    }
}
