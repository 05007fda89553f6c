//! What the doors show of plugins.

use std::sync::Arc;

use nexus_model::{Plugin, PluginFacts, PluginName};

use super::ApplicationRegistry;

/// A plugin that serves.
#[derive(Debug, Clone)]
pub struct PluginDetail {
    /// As `app.yaml` has it.
    pub plugin: Plugin,
    /// What its component is.
    pub facts: Arc<PluginFacts>,
}

impl ApplicationRegistry {
    /// The plugins of an application that serve, by name; `None` if there is no such application.
    pub fn plugins(&self, app: &str) -> Option<Vec<PluginDetail>> {
        let serving = self.application(app);
        if serving.is_none() && self.app(app).is_none() {
            return None;
        }
        let entries = serving.iter().flat_map(|application| application.plugins.values());
        let detail = |entry: &Arc<super::PluginEntry>| PluginDetail {
            plugin: entry.plugin.clone(),
            facts: Arc::clone(&entry.facts),
        };
        Some(entries.map(detail).collect())
    }

    /// One of them.
    pub fn plugin(&self, app: &str, name: &PluginName) -> Option<PluginDetail> {
        let application = self.application(app)?;
        let entry = application.plugins.get(name)?;
        Some(PluginDetail { plugin: entry.plugin.clone(), facts: Arc::clone(&entry.facts) })
    }
}
