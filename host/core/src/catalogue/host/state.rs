//! `core.state.*`: the runtime state of an application, the same that its plugins see as `wasi:keyvalue`.

use nexus_model::{Durability, Key, Write};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{Scope, Target, tools::below};

/// Keys on one page.
const PAGE: usize = 100;

/// The place of a key in the store.
fn place(host: &HostCatalogue, at: &Place, verb: fn(Target) -> Scope) -> Result<Key, Refusal> {
    let app = host.app(&at.app, verb)?;
    let bucket = below(at.bucket.as_deref().unwrap_or_default());
    let bucket = bucket.map_err(|error| Refusal::said("invalid_arguments", error.to_string()))?;
    Ok(Key::of_state(&app, format!("{bucket}{}", at.key)))
}

#[derive(Deserialize, JsonSchema)]
struct Place {
    /// The application.
    app: String,
    /// The bucket; the one that plugins call `default`, if left out.
    bucket: Option<String>,
    /// The key; for a list, what keys begin with.
    #[serde(default)]
    key: String,
}

/// Reads a value of an application's state: `null` if there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    #[serde(flatten)]
    at: Place,
}

impl Arguments for Get {
    const NAME: &'static str = "core.state.get";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let found = host.core.runtime().get(&place(host, &self.at, Self::VERB)?).await?;
        let Some(bytes) = found else { return Ok(json!({ "value": null })) };
        // Plugins may write what is no JSON.
        let value = serde_json::from_slice::<Value>(&bytes).or_else(|_| String::from_utf8(bytes).map(Value::String));
        Ok(json!({ "value": value.map_err(|_| Refusal::said("not_a_text", "the value is no text"))? }))
    }
}

/// Writes a value of an application's state. Durable when the answer comes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Set {
    #[serde(flatten)]
    at: Place,
    /// The value, kept as JSON.
    value: Value,
}

impl Arguments for Set {
    const NAME: &'static str = "core.state.set";
    const VERB: fn(Target) -> Scope = Scope::Write;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let key = place(host, &self.at, Self::VERB)?;
        let write = Write::Set { key, value: self.value.to_string().into_bytes(), ttl: None };
        host.core.runtime().write(vec![write], Durability::Synced).await?;
        Ok(json!({}))
    }
}

/// Removes a value of an application's state. No error if there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    #[serde(flatten)]
    at: Place,
}

impl Arguments for Delete {
    const NAME: &'static str = "core.state.delete";
    const VERB: fn(Target) -> Scope = Scope::Write;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let write = Write::Delete { key: place(host, &self.at, Self::VERB)? };
        host.core.runtime().write(vec![write], Durability::Synced).await?;
        Ok(json!({}))
    }
}

/// Lists keys of an application's state, 100 at one time.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    #[serde(flatten)]
    at: Place,
    /// Only those after this key.
    after: Option<String>,
}

impl Arguments for List {
    const NAME: &'static str = "core.state.list";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let prefix = place(host, &self.at, Self::VERB)?;
        let bucket = prefix.key().strip_suffix(&self.at.key).unwrap_or_default();
        let after = self.after.map(|after| format!("{bucket}{after}"));
        let entries = host.core.runtime().list(&prefix, after.as_deref(), PAGE).await?;
        let keys: Vec<_> = entries.iter().filter_map(|entry| entry.key.strip_prefix(bucket)).collect();
        Ok(json!({ "keys": keys, "more": entries.len() == PAGE }))
    }
}

/// Adds to a whole number of an application's state, in one step whoever else does; it is 0 if there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Increment {
    #[serde(flatten)]
    at: Place,
    /// How much; 1, if left out.
    by: Option<i64>,
}

impl Arguments for Increment {
    const NAME: &'static str = "core.state.increment";
    const VERB: fn(Target) -> Scope = Scope::Write;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let key = place(host, &self.at, Self::VERB)?;
        let value = host.core.runtime().increment(&key, self.by.unwrap_or(1), None).await?;
        Ok(json!({ "value": value }))
    }
}
