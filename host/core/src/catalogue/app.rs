//! An application: its operations and the functions of its plugins are tools, its prompts are prompts, its schemas and its
//! knowledge are resources.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use nexus_definitions::{render, violations};
use nexus_model::{
    AppName, CatalogueCall, CatalogueError, CatalogueInfo, CataloguePrompt, CatalogueResource, CatalogueTemplate,
    CatalogueTool, CompletionOf, CompletionWanted, Implementation, Message, Offers, Operation, PromptArgument,
    PromptLine, PromptWanted, ResourceBody, ResourceData, ToolAnswered, ToolCaller, ToolCatalogue,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    arguments, content,
    exposed::{Shown, behind},
    refusal,
};
use crate::{
    Call, Core, Document, Principal, Scope, Target, ToolCall,
    registry::{Application, OperationEntry},
    servers,
    tools::{ToolScope, is_allowed, operations},
};

const JSON: &str = "application/schema+json";
const MARKDOWN: &str = "text/markdown";

/// An application, as one caller may see it. Tools are for those that may call it, prompts and resources for those that may
/// read it.
pub struct AppCatalogue {
    pub(super) core: Core,
    pub(super) app: AppName,
    principal: Principal,
}

impl AppCatalogue {
    /// The application need not be there (yet); then the catalogue is empty.
    pub fn new(core: Core, app: AppName, principal: Principal) -> Self {
        Self { core, app, principal }
    }

    fn application(&self, scope: fn(Target) -> Scope) -> Option<Arc<Application>> {
        let allowed = self.principal.may(&scope(Target::App(self.app.clone())));
        self.core.registry.application(self.app.as_str()).filter(|_| allowed)
    }

    fn callable(&self) -> Result<Arc<Application>, CatalogueError> {
        self.application(Scope::Invoke).ok_or_else(|| {
            CatalogueError::Unknown(format!("there is no application `{}`, or the key may not call it", self.app))
        })
    }

    fn readable(&self) -> Result<Arc<Application>, CatalogueError> {
        self.application(Scope::Read).ok_or_else(|| {
            CatalogueError::Unknown(format!("there is no application `{}`, or the key may not read it", self.app))
        })
    }

    async fn call_operation(&self, entry: &OperationEntry, arguments: Value) -> Result<ToolAnswered, CatalogueError> {
        let Some(input) = arguments::input(&entry.operation.input, arguments) else {
            return Ok(ToolAnswered::Refused("invalid_input: the argument `input` is missing".to_owned()));
        };
        let body = input.to_string();
        let name = entry.operation.name.as_str();
        let call = Call { app: self.app.as_str(), operation: name, body: body.as_bytes(), sink: None };
        match self.core.router.execute(call).await {
            Ok(answer) => Ok(ToolAnswered::Result(parsed(&answer.output)?)),
            Err(error) => refusal::of_call(&error.kind).map(ToolAnswered::Refused),
        }
    }

    async fn call_tool(
        &self,
        tool: &str,
        arguments: Value,
        caller: Arc<dyn ToolCaller>,
    ) -> Result<ToolAnswered, CatalogueError> {
        let body = arguments.to_string();
        let call = ToolCall { app: self.app.as_str(), tool, body: body.as_bytes() };
        match self.core.call_tool_for(call, caller).await {
            Ok(answer) if answer.content => content::answered(parsed(&answer.output)?),
            Ok(answer) => Ok(ToolAnswered::Result(parsed(&answer.output)?)),
            Err(error) => refusal::of_tool(&error.kind).map(ToolAnswered::Refused),
        }
    }

    async fn call_server(
        &self,
        application: &Arc<Application>,
        call: CatalogueCall,
    ) -> Result<ToolAnswered, CatalogueError> {
        let Ok(_permit) = application.permits.try_acquire() else {
            return Ok(ToolAnswered::Refused("busy: the application is busy".to_owned()));
        };
        let key = call.meta.get("nexus/idempotency-key").and_then(Value::as_str);
        let key = key.map(|key| format!("{}/{key}", self.principal.key_id));
        let scope = ToolScope::of_client(&self.core, application, call.caller);
        scope.call(&call.tool, call.arguments, key.as_deref()).await
    }

    fn schema_uri(&self, operation: &Operation, which: &str) -> String {
        format!("nexus://apps/{}/operations/{}/{which}", self.app, operation.name)
    }

    fn document_uri(&self, document: &Document) -> String {
        format!("nexus://apps/{}/memory/{document}", self.app)
    }
}

#[async_trait]
impl ToolCatalogue for AppCatalogue {
    fn about(&self) -> CatalogueInfo {
        let application = self.application(Scope::Invoke).or_else(|| self.application(Scope::Read));
        let description = application.map(|application| application.app.description.clone()).unwrap_or_default();
        CatalogueInfo { name: self.app.to_string(), instructions: description }
    }

    fn owner(&self) -> &str {
        &self.principal.key_id
    }

    fn version(&self) -> String {
        match self.core.registry.callable(self.app.as_str()) {
            Some(Ok(application)) => {
                let servers = &application.app.servers;
                let offers = if servers.is_empty() { 0 } else { *self.core.servers().hub.changes().borrow() };
                let announced = self.core.tools.announced().count(&self.app);
                format!("{} and {announced} and {offers}", application.revision)
            }
            Some(Err(inactive)) => format!("inactive since {}", inactive.since),
            None => String::new(),
        }
    }

    async fn changed_from(&self, version: &str) {
        let (mut swaps, mut told) = (self.core.registry.swaps(), self.core.tools.announced().told());
        let mut offers = self.core.servers().hub.changes();
        while self.version() == version {
            let changed = tokio::select! {
                changed = swaps.changed() => changed,
                changed = told.changed() => changed,
                changed = offers.changed() => changed,
            };
            if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn tools(&self) -> Vec<CatalogueTool> {
        let Some(application) = self.application(Scope::Invoke) else { return Vec::new() };
        let plugins = self.core.tools.list(self.app.as_str()).unwrap_or_default();
        let shown = Shown::new(&application.app.expose);
        let plugins = plugins.into_iter().flat_map(|tool| {
            let names = shown.names(&tool.name);
            let output = tool.output.filter(|schema| arguments::is_object(schema));
            names.into_iter().map(move |name| CatalogueTool {
                name,
                description: tool.description.clone(),
                input: Arc::clone(&tool.input),
                output: output.clone(),
                read_only: false,
            })
        });
        let offered = self.core.servers().tools(&application).into_iter();
        let offered = offered.filter(|tool| is_allowed(&application, &tool.name));
        let mut tools: Vec<_> = operations(&application).chain(plugins).chain(offered).collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        tools
    }

    async fn call(&self, call: CatalogueCall) -> Result<ToolAnswered, CatalogueError> {
        let application = self.callable()?;
        if let Err(exceeded) = self.core.router.admit(self.app.as_str()) {
            return Ok(ToolAnswered::Refused(format!("rate_limited: {exceeded}")));
        }
        let namespace = call.tool.split_once('.').map(|(namespace, _)| namespace);
        if namespace.is_some_and(|namespace| servers::find(&application, namespace).is_some()) {
            return self.call_server(&application, call).await;
        }
        match call.tool.parse().ok().and_then(|name| application.offered(&name)) {
            Some(entry) => self.call_operation(entry, call.arguments).await,
            None => match behind(&application.app.expose, &call.tool) {
                Some(tool) => self.call_tool(tool, call.arguments, call.caller).await,
                None => Err(CatalogueError::Unknown(format!("`{}` is shown under another name", call.tool))),
            },
        }
    }

    async fn prompts(&self) -> Result<Vec<CataloguePrompt>, CatalogueError> {
        let Some(application) = self.application(Scope::Read) else { return Ok(Vec::new()) };
        let mut prompts: Vec<_> = application.offers().filter_map(|entry| prompt(&entry.operation)).collect();
        let more = self.offered_prompts(&application).await;
        let free = |prompt: &CataloguePrompt| {
            !application.offers().any(|entry| entry.reference.operation.as_str() == prompt.name)
        };
        prompts.extend(more.into_iter().filter(free));
        Ok(prompts)
    }

    async fn prompt(&self, wanted: PromptWanted) -> Result<Vec<PromptLine>, CatalogueError> {
        let application = self.readable()?;
        let PromptWanted { name, arguments, caller } = wanted;
        let entry = name.parse().ok().and_then(|name| application.offered(&name));
        let prompt = entry.and_then(|entry| match &entry.operation.implementation {
            Implementation::Prompt(prompt) => Some((entry, prompt)),
            Implementation::Component { .. } | Implementation::Worker(_) | Implementation::Workflow(_) => None,
        });
        let Some((entry, prompt)) = prompt else {
            let arguments: Vec<_> = arguments.into_iter().map(|(name, value)| (name, arguments::text(value))).collect();
            let offered = self.offered_prompt(&application, &name, &arguments, &caller).await?;
            return offered.ok_or_else(|| CatalogueError::Unknown(format!("`{}` has no prompt `{name}`", self.app)));
        };
        let input = arguments::of_texts(&entry.operation.input, arguments);
        let wrong = violations(&entry.input, &input);
        if !wrong.is_empty() {
            return Err(CatalogueError::Invalid(refusal::told(&wrong)));
        }
        let messages = render(prompt, &input).map_err(|error| CatalogueError::Invalid(error.to_string()))?;
        Ok(messages.into_iter().map(line).collect())
    }

    async fn complete(&self, wanted: CompletionWanted) -> Result<Vec<String>, CatalogueError> {
        let application = self.readable()?;
        let CompletionWanted { of, argument, value } = wanted;
        match of {
            CompletionOf::Prompt(name) => {
                if let Some(entry) = name.parse().ok().and_then(|name| application.offered(&name)) {
                    return Ok(arguments::completions(&entry.operation.input, &argument, &value));
                }
                let asked = json!({ "prompt": name, "argument": argument, "value": value });
                self.offered_completions(&application, Offers::PROMPTS, asked).await
            }
            CompletionOf::Template(template) => {
                let asked = json!({ "uri-template": template, "argument": argument, "value": value });
                self.offered_completions(&application, Offers::RESOURCES, asked).await
            }
        }
    }

    async fn resources(&self) -> Result<Vec<CatalogueResource>, CatalogueError> {
        let Some(application) = self.application(Scope::Read) else { return Ok(Vec::new()) };
        let mut resources = Vec::new();
        for entry in application.offers() {
            for (which, what) in [("input.json", "What it takes"), ("output.json", "What it answers")] {
                resources.push(CatalogueResource {
                    uri: self.schema_uri(&entry.operation, which),
                    name: format!("{} {which}", entry.operation.name),
                    description: Some(format!("{what}, as JSON Schema: {}", entry.operation.description)),
                    media_type: Some(JSON.to_owned()),
                    bytes: None,
                });
            }
        }
        for info in self.core.memory.list(&self.app).await.map_err(|error| refusal::of_memory(&error))? {
            resources.push(CatalogueResource {
                uri: self.document_uri(&info.document),
                name: info.document.to_string(),
                description: Some("A document of the application's memory".to_owned()),
                media_type: Some(MARKDOWN.to_owned()),
                bytes: u64::try_from(info.bytes).ok(),
            });
        }
        resources.extend(self.offered_resources(&application).await);
        Ok(resources)
    }

    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, CatalogueError> {
        let Some(application) = self.application(Scope::Read) else { return Ok(Vec::new()) };
        Ok(self.offered_templates(&application).await)
    }

    async fn read(&self, uri: &str, caller: Arc<dyn ToolCaller>) -> Result<Vec<ResourceBody>, CatalogueError> {
        let application = self.readable()?;
        if let Some(bodies) = self.offered_body(&application, uri, &caller).await? {
            return Ok(bodies);
        }
        let unknown = || CatalogueError::Unknown(format!("there is no resource `{uri}`"));
        let path = uri.strip_prefix(&format!("nexus://apps/{}/", self.app)).ok_or_else(unknown)?;
        if let Some(document) = path.strip_prefix("memory/") {
            let document = document.parse().map_err(|_| unknown())?;
            let text = self.core.memory.read(&self.app, &document).await;
            let text = text.map_err(|error| refusal::of_memory(&error))?.ok_or_else(unknown)?;
            return Ok(body(uri, MARKDOWN, text));
        }
        let of_operation = path.strip_prefix("operations/").and_then(|rest| rest.split_once('/'));
        let (name, which) = of_operation.ok_or_else(unknown)?;
        let entry = name.parse().ok().and_then(|name| application.offered(&name)).ok_or_else(unknown)?;
        let schema = match which {
            "input.json" => &entry.operation.input,
            "output.json" => &entry.operation.output,
            _ => return Err(unknown()),
        };
        Ok(body(uri, JSON, format!("{schema:#}")))
    }
}

fn prompt(operation: &Operation) -> Option<CataloguePrompt> {
    let Implementation::Prompt(prompt) = &operation.implementation else { return None };
    let properties = operation.input.get("properties").and_then(Value::as_object);
    let required = operation.input.get("required").and_then(Value::as_array);
    let argument = |(name, schema): (&String, &Value)| PromptArgument {
        name: name.clone(),
        description: schema.get("description").and_then(Value::as_str).map(ToOwned::to_owned),
        required: required.is_some_and(|required| required.iter().any(|other| other == name.as_str())),
    };
    Some(CataloguePrompt {
        name: operation.name.to_string(),
        description: prompt.description.clone(),
        arguments: properties.into_iter().flatten().map(argument).collect(),
    })
}

fn line(message: Message) -> PromptLine {
    PromptLine { role: message.role, content: content::text(message.content) }
}

fn body(uri: &str, media_type: &str, text: String) -> Vec<ResourceBody> {
    let data = ResourceData::Text(text);
    vec![ResourceBody { uri: uri.to_owned(), media_type: Some(media_type.to_owned()), data }]
}

fn parsed<T: DeserializeOwned>(output: &str) -> Result<T, CatalogueError> {
    serde_json::from_str(output).map_err(|error| CatalogueError::Unavailable(format!("the answer is no JSON: {error}")))
}

impl fmt::Debug for AppCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppCatalogue")
            .field("app", &self.app)
            .field("key", &self.principal.key_id)
            .finish_non_exhaustive()
    }
}
