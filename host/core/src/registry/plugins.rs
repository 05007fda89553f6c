//! From the plugins of a definition to tools that can be called.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, stream};
use nexus_definitions::{AppPlaces, Fault, FaultCode, nearest};
use nexus_model::{
    App, AppName, DefinitionStore, LinkedPlugin, LoadError, Plugin, PluginFacts, PluginHost, PluginName, Revision,
    Snapshot,
};
use tokio::sync::OnceCell;

use super::{Application, ApplicationRegistry, known::Known};
use crate::tools::{granted, matches};

/// Components that are looked at at one time.
const LOOKED_AT: usize = 8;

/// A plugin of one revision of an application.
#[derive(Debug)]
pub(crate) struct PluginEntry {
    pub(crate) plugin: Plugin,
    pub(crate) known: Arc<Known>,
    app: AppName,
    revision: Revision,
    /// Made on the first call; shared by the revisions that have the same component with the same grants.
    linked: Arc<OnceCell<Arc<dyn LinkedPlugin>>>,
}

impl PluginEntry {
    /// The names of its tools, with the plugin's.
    pub(crate) fn tool_names(&self) -> impl Iterator<Item = String> {
        self.known.names().map(|tool| format!("{}.{tool}", self.plugin.name))
    }

    /// The component, linked with what it is granted. Its bytes are read again the first time: nobody holds them.
    pub(crate) async fn linked(
        &self,
        definitions: &dyn DefinitionStore,
        host: &dyn PluginHost,
    ) -> Result<Arc<dyn LinkedPlugin>, LoadError> {
        let link = async || {
            let read = definitions.read_file_at(&self.app, &self.revision, &self.plugin.path).await;
            let bytes = read.map_err(|error| LoadError::Host(error.to_string()))?;
            let gone = || LoadError::Host(format!("`{}` is not in revision {}", self.plugin.path, self.revision));
            host.link(&bytes.ok_or_else(gone)?, &self.plugin.grants).await
        };
        self.linked.get_or_try_init(link).await.cloned()
    }
}

type Plugins = BTreeMap<PluginName, Arc<PluginEntry>>;

impl ApplicationRegistry {
    /// What a component is, whether or not it is a plugin of somebody.
    pub async fn inspect(&self, component: &[u8]) -> Result<Arc<PluginFacts>, LoadError> {
        self.plugin_host.inspect(component).await
    }

    /// The plugins of a definition, and what is wrong with them.
    pub(super) async fn look_at_plugins(
        &self,
        app: &App,
        snapshot: &Snapshot,
        serving: Option<&Application>,
    ) -> (Plugins, Vec<Fault>) {
        if app.plugins.is_empty() {
            return <_>::default();
        }
        let looks: Vec<_> = app.plugins.values().map(|plugin| self.facts(plugin, snapshot)).collect();
        let looked: Vec<_> = stream::iter(looks).buffered(LOOKED_AT).collect().await;
        let mut plugins = Plugins::new();
        let mut findings = Vec::new();
        for (plugin, facts) in app.plugins.values().zip(looked) {
            match facts {
                Ok(known) => {
                    findings.extend(missing_grants(plugin, &known));
                    let entry = entry(plugin, known, &app.name, &snapshot.revision, serving);
                    plugins.insert(plugin.name.clone(), Arc::new(entry));
                }
                Err(error) => {
                    let at = format!("/spec/plugins/{}/component", plugin.name);
                    findings.push(Finding::new(at, FaultCode::BadComponent, error.to_string()));
                }
            }
        }
        // A tool of a plugin that could not be looked at may well be there.
        if plugins.len() == app.plugins.len() {
            findings.extend(unknown_tools(&plugins));
            findings.extend(unknown_exposed(app, &plugins));
        }
        if findings.is_empty() {
            return (plugins, Vec::new());
        }
        let places = AppPlaces::open(&snapshot.files);
        (plugins, findings.into_iter().map(|finding| finding.at(&places)).collect())
    }

    async fn facts(&self, plugin: &Plugin, snapshot: &Snapshot) -> Result<Arc<Known>, LoadError> {
        if let Some(facts) = self.known_facts(&plugin.digest).await {
            return Ok(facts);
        }
        let gone = || LoadError::Host(format!("there is no file `{}`", plugin.path));
        let facts = self.plugin_host.inspect(snapshot.files.get(&plugin.path).ok_or_else(gone)?).await?;
        Ok(self.facts.keep(&facts))
    }

    /// What the component of this digest is, if that was found already.
    pub(super) async fn known_facts(&self, digest: &str) -> Option<Arc<Known>> {
        match self.facts.get(digest) {
            Some(known) => Some(known),
            None => self.plugin_host.known(digest).await.map(|facts| self.facts.keep(&facts)),
        }
    }
}

fn entry(
    plugin: &Plugin,
    known: Arc<Known>,
    app: &AppName,
    revision: &Revision,
    serving: Option<&Application>,
) -> PluginEntry {
    let same = serving
        .and_then(|application| application.plugins.get(&plugin.name))
        .filter(|entry| entry.plugin.digest == plugin.digest && entry.plugin.grants == plugin.grants);
    PluginEntry {
        plugin: plugin.clone(),
        known,
        app: app.clone(),
        revision: revision.clone(),
        linked: same.map_or_else(Arc::default, |entry| Arc::clone(&entry.linked)),
    }
}

/// What is wrong, before its place is known.
struct Finding {
    at: String,
    code: FaultCode,
    message: String,
    expected: String,
    nearest: Option<String>,
}

impl Finding {
    fn new(at: String, code: FaultCode, message: String) -> Self {
        Self { at, code, message, expected: String::new(), nearest: None }
    }

    fn at(self, places: &AppPlaces) -> Fault {
        let fault = if self.code == FaultCode::MissingGrant {
            places.fault_at_key(&self.at, self.code, self.message)
        } else {
            places.fault_at_value(&self.at, self.code, self.message)
        };
        Fault { expected: self.expected, nearest: self.nearest, ..fault }
    }
}

/// One fault for all grants that a plugin lacks, with the lines that would grant them.
fn missing_grants(plugin: &Plugin, known: &Known) -> Option<Finding> {
    let missing: Vec<_> = known.needs().iter().filter(|need| !granted(&plugin.grants, &need.import)).collect();
    if missing.is_empty() {
        return None;
    }
    let imports: Vec<_> = missing.iter().map(|need| format!("`{}`", need.import)).collect();
    let message = format!("the plugin `{}` imports what it is not granted: {}", plugin.name, imports.join(", "));
    let mut lines: Vec<&str> = missing.iter().flat_map(|need| need.yaml.trim_end().lines()).collect();
    lines.dedup();
    let expected = format!("these lines below its `grants`, or fewer imports:\n  {}", lines.join("\n  "));
    let at = format!("/spec/plugins/{}/grants", plugin.name);
    Some(Finding { expected, ..Finding::new(at, FaultCode::MissingGrant, message) })
}

/// Names that stand for tools that there are not.
fn unknown_exposed(app: &App, plugins: &Plugins) -> Vec<Finding> {
    let tools: Vec<String> = plugins.values().flat_map(|entry| entry.tool_names()).collect();
    let unknown = app.expose.iter().filter(|(_, tool)| !tools.contains(tool));
    let findings = unknown.map(|(name, tool)| {
        let message = format!("no plugin of the application has a tool `{tool}`");
        let nearest = nearest(tool, tools.iter().map(String::as_str));
        Finding { nearest, ..Finding::new(format!("/spec/expose/{name}"), FaultCode::UnknownTool, message) }
    });
    findings.collect()
}

/// Grants of tools that there are not.
fn unknown_tools(plugins: &Plugins) -> Vec<Finding> {
    let tools: Vec<String> = plugins.values().flat_map(|entry| entry.tool_names()).collect();
    let of_plugin = |entry: &Arc<PluginEntry>| {
        let plugin = &entry.plugin;
        let unknown = plugin.grants.tools.iter().enumerate();
        let unknown = unknown.filter(|(_, pattern)| !tools.iter().any(|tool| matches(pattern, tool)));
        let findings = unknown.map(|(number, pattern)| {
            let at = format!("/spec/plugins/{}/grants/tools/{number}", plugin.name);
            let message = format!("no plugin of the application has a tool `{pattern}`");
            let nearest = nearest(pattern, tools.iter().map(String::as_str));
            Finding { nearest, ..Finding::new(at, FaultCode::UnknownTool, message) }
        });
        findings.collect::<Vec<_>>()
    };
    plugins.values().flat_map(of_plugin).collect()
}
