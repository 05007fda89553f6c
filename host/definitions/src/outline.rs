//! What an `app.yaml` says about plugins and servers, as far as it can be read, whatever else is wrong with it.

use nexus_model::{Grants, PluginName};
use serde_json::{Map, Value};

use crate::yaml;

/// The outline of an `app.yaml`.
#[derive(Debug, Default)]
pub struct AppOutline(Value);

/// A plugin as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenPlugin {
    /// The path of its component.
    pub path: String,
    /// What it is granted; nothing where that cannot be read.
    pub grants: Grants,
}

impl AppOutline {
    /// Reads it. Of a text that is no YAML there is none.
    pub fn read(text: &str) -> Self {
        Self(yaml::parse(text).root.map(|root| root.to_value()).unwrap_or_default())
    }

    /// The plugin of this name.
    pub fn plugin(&self, name: &PluginName) -> Option<WrittenPlugin> {
        let written = self.section("plugins")?.get(name.as_str())?;
        let path = written.get("component").and_then(Value::as_str).unwrap_or_default().to_owned();
        let grants = written.get("grants").and_then(|grants| serde_json::from_value(grants.clone()).ok());
        Some(WrittenPlugin { path, grants: grants.unwrap_or_default() })
    }

    /// Whether anything but this plugin has the component of this path.
    pub fn is_used_beside(&self, path: &str, plugin: &PluginName) -> bool {
        let uses = |(_, entry): &(&String, &Value)| entry.get("component").and_then(Value::as_str) == Some(path);
        let of = |name| self.section(name).into_iter().flatten();
        of("operations").any(|entry| uses(&entry))
            || of("plugins").any(|entry| entry.0 != plugin.as_str() && uses(&entry))
    }

    /// Whether an outside MCP server of this name is written.
    pub fn has_server(&self, name: &PluginName) -> bool {
        self.section("mcp").is_some_and(|servers| servers.contains_key(name.as_str()))
    }

    fn section(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get("spec")?.get(name)?.as_object()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_read() {
        let text = "spec:\n  operations: { a: { component: x.wasm } }\n  plugins:\n    p: { component: p.wasm, grants: \
                    { logging: true } }\n    q: { component: p.wasm, grants: 7 }\n    broken: 1\n";
        let outline = AppOutline::read(text);
        let (p, q) = ("p".parse().unwrap(), "q".parse().unwrap());
        let grants = Grants { logging: true, ..Grants::default() };
        assert_eq!(outline.plugin(&p), Some(WrittenPlugin { path: "p.wasm".to_owned(), grants }));
        assert_eq!(outline.plugin(&q).unwrap().grants, Grants::default());
        assert_eq!(outline.plugin(&"none".parse().unwrap()), None);
        assert!(outline.is_used_beside("p.wasm", &p) && outline.is_used_beside("x.wasm", &p));
        assert!(!outline.is_used_beside("y.wasm", &p));
        assert_eq!(AppOutline::read("[").plugin(&p), None);
    }
}
