//! What the doors show of plugins.

use nexus_model::{Plugin, PluginFacts, PluginName};

use super::{ApplicationRegistry, PluginEntry};

/// A plugin that serves.
#[derive(Debug, Clone)]
pub struct PluginDetail {
    /// As `app.yaml` has it.
    pub plugin: Plugin,
    /// What its component is.
    pub facts: PluginFacts,
}

impl ApplicationRegistry {
    /// The plugins of an application that serve, by name; `None` if there is no such application.
    pub fn plugins(&self, app: &str) -> Option<Vec<PluginDetail>> {
        let serving = self.application(app);
        if serving.is_none() && self.app(app).is_none() {
            return None;
        }
        let entries = serving.iter().flat_map(|application| application.plugins.values());
        Some(entries.map(|entry| detail(entry)).collect())
    }

    /// One of them.
    pub fn plugin(&self, app: &str, name: &PluginName) -> Option<PluginDetail> {
        let application = self.application(app)?;
        application.plugins.get(name).map(|entry| detail(entry))
    }
}

fn detail(entry: &PluginEntry) -> PluginDetail {
    PluginDetail { plugin: entry.plugin.clone(), facts: entry.known.facts() }
}
