//! Resources and prompts of an application's plugins. What they say is data from strangers: it is read into what it should
//! be, and there is a bound on how much of it there may be. Of two things of one name the first plugin's is shown.

use std::sync::Arc;

use nexus_model::{
    CatalogueError, CataloguePrompt, CatalogueResource, CatalogueTemplate, Offers, PromptArgument, PromptLine,
    ResourceBody, SilentCaller, ToolCaller, ToolOutcome,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    AppCatalogue,
    content::{Contents, Line, Resource},
    refusal,
};
use crate::registry::{Application, PluginEntry};

/// The most of one list of one plugin that is shown.
const LISTED: usize = 1_000;
/// The most templates of one plugin that are shown.
const TEMPLATES: usize = 100;
/// The longest name of a prompt, and the longest URI, in bytes.
const NAME_BYTES: usize = 128;
const URI_BYTES: usize = 2 << 10;
/// URIs of the host itself begin so.
const OF_HOST: &str = "nexus:";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Template {
    #[serde(rename = "uri-template")]
    form: String,
    name: String,
    description: Option<String>,
    media_type: Option<String>,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    description: String,
    arguments: Vec<Argument>,
}

#[derive(Deserialize)]
struct Argument {
    name: String,
    description: Option<String>,
    required: bool,
}

/// What a plugin is asked: a function of one of the interfaces that are no tools, with what it takes.
struct Question {
    function: &'static str,
    arguments: Value,
}

fn with_resources(application: &Application) -> impl Iterator<Item = &Arc<PluginEntry>> {
    application.plugins.values().filter(|entry| entry.known.offers().resources)
}

fn with_prompts(application: &Application) -> impl Iterator<Item = &Arc<PluginEntry>> {
    application.plugins.values().filter(|entry| entry.known.offers().prompts)
}

impl AppCatalogue {
    pub(super) async fn offered_resources(&self, application: &Application) -> Vec<CatalogueResource> {
        let mut all = Vec::new();
        for entry in with_resources(application) {
            let resources: Vec<Resource> = self.listed(entry, Offers::RESOURCES, "list").await;
            let theirs = resources.into_iter().filter(|resource| is_theirs(&resource.uri)).take(LISTED);
            add(&mut all, theirs.map(CatalogueResource::from), |resource| &resource.uri);
        }
        all
    }

    pub(super) async fn offered_templates(&self, application: &Application) -> Vec<CatalogueTemplate> {
        let mut all = Vec::new();
        for entry in with_resources(application) {
            let templates: Vec<Template> = self.listed(entry, Offers::RESOURCES, "templates").await;
            let theirs = templates.into_iter().filter(|template| is_theirs(&template.form)).take(TEMPLATES);
            let theirs = theirs.map(|template| CatalogueTemplate {
                uri_template: template.form,
                name: template.name,
                description: template.description,
                media_type: template.media_type,
            });
            add(&mut all, theirs, |template| &template.uri_template);
        }
        all
    }

    /// `None` if no plugin has it.
    pub(super) async fn offered_body(
        &self,
        application: &Application,
        uri: &str,
        caller: &Arc<dyn ToolCaller>,
    ) -> Result<Option<Vec<ResourceBody>>, CatalogueError> {
        if !is_theirs(uri) {
            return Ok(None);
        }
        for entry in with_resources(application) {
            let question = Question { function: "read", arguments: json!({ "uri": uri }) };
            let bodies: Option<Vec<Contents>> = self.asked(entry, Offers::RESOURCES, question, caller).await?;
            if let Some(bodies) = bodies.filter(|bodies| !bodies.is_empty()) {
                return Ok(Some(bodies.into_iter().map(Into::into).collect()));
            }
        }
        Ok(None)
    }

    pub(super) async fn offered_prompts(&self, application: &Application) -> Vec<CataloguePrompt> {
        let mut all = Vec::new();
        for entry in with_prompts(application) {
            let prompts: Vec<Prompt> = self.listed(entry, Offers::PROMPTS, "list").await;
            let named = |prompt: &Prompt| (1..=NAME_BYTES).contains(&prompt.name.len());
            let theirs = prompts.into_iter().filter(named).take(LISTED).map(|prompt| CataloguePrompt {
                name: prompt.name,
                description: prompt.description,
                arguments: prompt.arguments.into_iter().map(Into::into).collect(),
            });
            add(&mut all, theirs, |prompt| &prompt.name);
        }
        all
    }

    /// `None` if no plugin has it.
    pub(super) async fn offered_prompt(
        &self,
        application: &Application,
        name: &str,
        arguments: &[(String, String)],
        caller: &Arc<dyn ToolCaller>,
    ) -> Result<Option<Vec<PromptLine>>, CatalogueError> {
        for entry in with_prompts(application) {
            let question = Question { function: "get", arguments: json!({ "name": name, "arguments": arguments }) };
            let lines: Option<Vec<Line>> = self.asked(entry, Offers::PROMPTS, question, caller).await?;
            if let Some(lines) = lines {
                return Ok(Some(lines.into_iter().map(Into::into).collect()));
            }
        }
        Ok(None)
    }

    /// What the first plugin says that has something to say.
    pub(super) async fn offered_completions(
        &self,
        application: &Application,
        interface: &'static str,
        arguments: Value,
    ) -> Result<Vec<String>, CatalogueError> {
        let caller: Arc<dyn ToolCaller> = Arc::new(SilentCaller);
        let asked: Vec<_> = match interface {
            Offers::PROMPTS => with_prompts(application).collect(),
            _ => with_resources(application).collect(),
        };
        for entry in asked {
            let question = Question { function: "complete", arguments: arguments.clone() };
            let values: Vec<String> = self.asked(entry, interface, question, &caller).await?;
            if !values.is_empty() {
                return Ok(values);
            }
        }
        Ok(Vec::new())
    }

    /// A list of a plugin: empty where it cannot say it, so that one plugin does not hide the others.
    async fn listed<T: DeserializeOwned>(
        &self,
        entry: &Arc<PluginEntry>,
        interface: &str,
        function: &'static str,
    ) -> Vec<T> {
        let caller: Arc<dyn ToolCaller> = Arc::new(SilentCaller);
        let question = Question { function, arguments: json!({}) };
        self.asked(entry, interface, question, &caller).await.unwrap_or_else(|error| {
            tracing::warn!(app = %self.app, plugin = %entry.plugin.name, function, %error, "a plugin does not say what it offers");
            Vec::new()
        })
    }

    async fn asked<T: DeserializeOwned>(
        &self,
        entry: &Arc<PluginEntry>,
        interface: &str,
        question: Question,
        caller: &Arc<dyn ToolCaller>,
    ) -> Result<T, CatalogueError> {
        if let Err(exceeded) = self.core.router.admit(self.app.as_str()) {
            return Err(CatalogueError::Unavailable(format!("rate_limited: {exceeded}")));
        }
        let function = format!("{interface}#{}", question.function);
        let outcome =
            self.core.tools.offered(&self.core, self.app.as_str(), entry, &function, question.arguments, caller).await;
        match outcome {
            Ok(ToolOutcome::Value(value)) => serde_json::from_value(value).map_err(|error| {
                let what =
                    format!("the plugin `{}` does not say it as `{interface}` has it: {error}", entry.plugin.name);
                CatalogueError::Unavailable(what)
            }),
            Ok(ToolOutcome::Error(said)) => Err(CatalogueError::Invalid(refusal::said(&said))),
            Err(kind) => Err(refusal::of_tool(&kind).map_or_else(|error| error, CatalogueError::Unavailable)),
        }
    }
}

impl From<Argument> for PromptArgument {
    fn from(argument: Argument) -> Self {
        Self { name: argument.name, description: argument.description, required: argument.required }
    }
}

/// Whether a plugin may have this URI.
fn is_theirs(uri: &str) -> bool {
    (1..=URI_BYTES).contains(&uri.len()) && !uri.starts_with(OF_HOST)
}

/// Adds what is not there under this name.
fn add<T>(all: &mut Vec<T>, more: impl Iterator<Item = T>, name: impl Fn(&T) -> &str) {
    for one in more {
        if !all.iter().any(|other| name(other) == name(&one)) {
            all.push(one);
        }
    }
}
