//! Changes the plugins and the outside MCP servers of an `app.yaml` in place: comments, order and form of everything else stay as they are.

mod patch;
mod write;

use nexus_model::{Plugin, PluginName};
use serde_json::{Map, Value};

use crate::{plugins::ALGORITHM, yaml};

/// An `app.yaml` cannot be changed in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It cannot be read.
    #[error("`app.yaml` cannot be read: mend it first; `nexus check` shows what is wrong")]
    Unreadable,
    /// It is written in a way that would change more than was asked for.
    #[error(
        "`app.yaml` is written in a way that this change cannot be made in (an alias, perhaps, or a value where a mapping \
         is to be): write it there by hand"
    )]
    Form,
    /// Nothing would be left.
    #[error("it is all that the application has: remove the application")]
    Last,
}

/// The text of `app.yaml` with this plugin in it, added or changed.
pub fn set_plugin(text: &str, plugin: &Plugin) -> Result<String, EditError> {
    set(text, "plugins", plugin.name.as_str(), entry(plugin))
}

/// The text of `app.yaml` without this plugin; as it is, if there is none.
pub fn remove_plugin(text: &str, plugin: &PluginName) -> Result<String, EditError> {
    remove(text, "plugins", plugin.as_str())
}

/// The text of `app.yaml` with this outside MCP server in it, added or changed.
pub fn set_server(text: &str, server: &PluginName, entry: Map<String, Value>) -> Result<String, EditError> {
    set(text, "mcp", server.as_str(), entry)
}

/// The text of `app.yaml` without this outside MCP server; as it is, if there is none.
pub fn remove_server(text: &str, server: &PluginName) -> Result<String, EditError> {
    remove(text, "mcp", server.as_str())
}

fn set(text: &str, section: &str, name: &str, entry: Map<String, Value>) -> Result<String, EditError> {
    let edited = patch::put(text, &["spec", section, name], &Value::Object(entry.clone()))?;
    checked(text, edited, |value| {
        entries(value, section)?.insert(name.to_owned(), Value::Object(entry));
        Some(())
    })
}

fn remove(text: &str, section: &str, name: &str) -> Result<String, EditError> {
    let value = value_of(text).ok_or(EditError::Unreadable)?;
    let others = ["operations", "plugins", "mcp"].into_iter().filter(|other| *other != section);
    let named = |name: &str| value.pointer(&format!("/spec/{name}")).and_then(Value::as_object);
    let only = named(section).is_some_and(|entries| entries.len() == 1 && entries.contains_key(name));
    if only && others.clone().all(|other| named(other).is_none()) {
        return Err(EditError::Last);
    }
    let edited = patch::remove(text, &["spec", section, name])?;
    checked(text, edited, |value| {
        let entries = entries(value, section)?;
        entries.remove(name);
        if entries.is_empty() {
            value.get_mut("spec")?.as_object_mut()?.remove(section);
        }
        Some(())
    })
}

/// What stands below the plugin's name.
fn entry(plugin: &Plugin) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("component".to_owned(), plugin.path.as_str().into());
    entry.insert("digest".to_owned(), format!("{ALGORITHM}{}", plugin.digest).into());
    if let Some(source) = &plugin.source {
        entry.insert("source".to_owned(), source.as_str().into());
    }
    // A form of grants is always JSON.
    let grants = serde_json::to_value(&plugin.grants).unwrap_or_default();
    if grants.as_object().is_some_and(|grants| !grants.is_empty()) {
        entry.insert("grants".to_owned(), grants);
    }
    entry
}

fn entries<'a>(value: &'a mut Value, section: &str) -> Option<&'a mut Map<String, Value>> {
    let spec = value.get_mut("spec")?.as_object_mut()?;
    let entries = spec.entry(section).or_insert_with(|| Value::Object(Map::new()));
    if entries.is_null() {
        *entries = Value::Object(Map::new());
    }
    entries.as_object_mut()
}

/// The edited text, if it says what the old text would say after the change, and nothing else.
fn checked(old: &str, edited: String, change: impl FnOnce(&mut Value) -> Option<()>) -> Result<String, EditError> {
    let mut expected = value_of(old).ok_or(EditError::Unreadable)?;
    change(&mut expected).ok_or(EditError::Form)?;
    if value_of(&edited) == Some(expected) { Ok(edited) } else { Err(EditError::Form) }
}

fn value_of(text: &str) -> Option<Value> {
    let parsed = yaml::parse(text);
    parsed.root.filter(|_| parsed.findings.is_empty()).map(|root| root.to_value())
}
