//! What the host does for a plugin during one call, on the application's account and within the plugin's grants.

use std::{path::PathBuf, sync::Arc, time::Instant};

use async_trait::async_trait;
use nexus_model::{
    Access, AppName, CatalogueError, Durability, ExecutionId, GenerateRequest, GuestLevel, GuestServices, Key, KeyPage,
    Message, ModelParameters, Role, SecretName, ServiceError, SilentCaller, StoreError, ToolAnswered, ToolCaller,
    ToolContent, ToolOutcome, Write,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{MAX_DEPTH, Running, ToolErrorKind, ToolManager, ToolScope, find, folder_of, matches};
use crate::{
    Events, PublishError,
    budget::{Payer, SpendError},
    registry::PluginEntry,
    router::CallErrorKind,
};

/// The log target of what components say.
pub(crate) const GUEST: &str = "nexus::guest";
/// Keys of one page.
const PAGE: usize = 100;
/// The bucket that is opened without a name.
const DEFAULT_BUCKET: &str = "default";
/// The longest name of a bucket, in bytes.
const MAX_BUCKET: usize = 63;
/// The largest text that is sent to a model, in bytes.
pub(crate) const MAX_PROMPT_BYTES: usize = 256 << 10;
/// Says in what form a model has to answer, for models that are not held to a schema.
const FORM: &str = "Answer with a JSON object that has the one field \"text\": your answer, as text.";

/// The services for one call of one plugin.
pub(super) struct CallServices {
    manager: Arc<ToolManager>,
    running: Running,
    entry: Arc<PluginEntry>,
}

impl CallServices {
    pub(super) fn new(manager: Arc<ToolManager>, running: Running, entry: Arc<PluginEntry>) -> Self {
        Self { manager, running, entry }
    }

    /// A key of the application's state, if the bucket may be used this way.
    fn key(&self, bucket: &str, key: &str, needed: Access) -> Result<Key, ServiceError> {
        granted_access("state", self.entry.plugin.grants.state, needed)?;
        Ok(Key::of_state(self.app(), format!("{}{key}", below(bucket)?)))
    }
}

fn granted_access(what: &str, granted: Option<Access>, needed: Access) -> Result<(), ServiceError> {
    let enough = granted.is_some_and(|granted| granted >= needed);
    let word = if needed == Access::Read { "read" } else { "read-write" };
    if enough { Ok(()) } else { Err(ServiceError::Denied(format!("`{what}: {word}`"))) }
}

fn matching(what: &str, patterns: &[String], name: &str) -> Result<(), ServiceError> {
    if patterns.iter().any(|pattern| matches(pattern, name)) {
        return Ok(());
    }
    Err(ServiceError::Denied(format!("`{}` in `grants.{what}`", short(name))))
}

/// What the keys of a bucket begin with.
pub(crate) fn below(bucket: &str) -> Result<String, ServiceError> {
    let bucket = if bucket.is_empty() { DEFAULT_BUCKET } else { bucket };
    let plain = bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain && bucket.len() <= MAX_BUCKET {
        return Ok(format!("kv/{bucket}/"));
    }
    let expected = format!("1 to {MAX_BUCKET} of letters, digits, `.`, `_` and `-`");
    Err(ServiceError::NotFound(format!("no bucket has the name `{}`: use {expected}", short(bucket))))
}

/// What a model is held to that is to answer with a text.
pub(crate) fn text_schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["text"],
        "properties": { "text": { "type": "string" } },
    })
}

/// The beginning of a stranger's text, for a message to him.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[async_trait]
impl GuestServices for CallServices {
    fn app(&self) -> &AppName {
        &self.running.application.app.name
    }

    fn execution(&self) -> Option<ExecutionId> {
        Some(self.running.execution)
    }

    async fn folder(&self) -> Result<PathBuf, ServiceError> {
        granted_access("folder", self.entry.plugin.grants.folder, Access::Read)?;
        let folder = folder_of(&self.manager.parts.folders, self.app());
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).await;
        made.map(|()| folder.clone()).map_err(|error| {
            tracing::error!(folder = %folder.display(), %error, "the folder of an application cannot be made");
            ServiceError::Failed("the folder cannot be made".to_owned())
        })
    }

    async fn secret(&self, name: &SecretName) -> Result<SecretString, ServiceError> {
        let credentials = self.entry.plugin.grants.http.iter().filter_map(|grant| grant.credential.as_ref());
        if !credentials.into_iter().any(|credential| credential.secret == *name) {
            return Err(ServiceError::Denied(format!("the secret `{name}` in `grants.http`")));
        }
        let found = (self.manager.parts.secrets)(self.app(), name.as_str());
        found.ok_or_else(|| ServiceError::NotFound(format!("`{}` has no secret `{name}`", self.app())))
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        let key = self.key(bucket, key, Access::Read)?;
        self.manager.parts.runtime.get(&key).await.map_err(of_store)
    }

    async fn set(&self, bucket: &str, key: &str, value: Vec<u8>) -> Result<(), ServiceError> {
        let key = self.key(bucket, key, Access::ReadWrite)?;
        let write = Write::Set { key, value, ttl: None };
        self.manager.parts.runtime.write(vec![write], Durability::Synced).await.map_err(of_store)
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<(), ServiceError> {
        let write = Write::Delete { key: self.key(bucket, key, Access::ReadWrite)? };
        self.manager.parts.runtime.write(vec![write], Durability::Synced).await.map_err(of_store)
    }

    async fn keys(&self, bucket: &str, cursor: Option<&str>) -> Result<KeyPage, ServiceError> {
        let prefix = self.key(bucket, "", Access::Read)?;
        let after = cursor.map(|cursor| format!("{}{cursor}", prefix.key()));
        let entries = self.manager.parts.runtime.list(&prefix, after.as_deref(), PAGE).await.map_err(of_store)?;
        let full = entries.len() == PAGE;
        let name = |key: String| key.strip_prefix(prefix.key()).map(str::to_owned);
        let keys: Vec<String> = entries.into_iter().filter_map(|entry| name(entry.key)).collect();
        let next = keys.last().filter(|_| full).cloned();
        Ok(KeyPage { keys, next })
    }

    async fn increment(&self, bucket: &str, key: &str, delta: i64) -> Result<i64, ServiceError> {
        let key = self.key(bucket, key, Access::ReadWrite)?;
        self.manager.parts.runtime.increment(&key, delta, None).await.map_err(of_store)
    }

    async fn compare_and_set(
        &self,
        bucket: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, ServiceError> {
        let key = self.key(bucket, key, Access::ReadWrite)?;
        self.manager.parts.runtime.compare_and_set(&key, expected.as_deref(), value, None).await.map_err(of_store)
    }

    fn log(&self, level: GuestLevel, context: &str, message: &str) {
        if !self.entry.plugin.grants.logging {
            return;
        }
        let (app, plugin, execution) = (self.app(), &self.entry.plugin.name, self.running.execution);
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(target: GUEST, %app, %plugin, %execution, context, "{message}")
            };
        }
        match level {
            GuestLevel::Trace => say!(trace),
            GuestLevel::Debug => say!(debug),
            GuestLevel::Info => say!(info),
            GuestLevel::Warn => say!(warn),
            GuestLevel::Error | GuestLevel::Critical => say!(error),
        }
    }

    async fn call_tool(&self, tool: &str, arguments: Value) -> Result<Result<Value, Value>, ServiceError> {
        matching("tools", &self.entry.plugin.grants.tools, tool)?;
        if self.running.depth >= MAX_DEPTH {
            return Err(ServiceError::Limit(format!("tools have called each other {MAX_DEPTH} deep")));
        }
        // Whoever called the outermost tool knows nothing of this one.
        let caller: Arc<dyn ToolCaller> = Arc::new(SilentCaller);
        let running = Running { depth: self.running.depth + 1, caller, ..self.running.clone() };
        if let Ok((entry, signature)) = find(&self.running.application, tool) {
            return match self.manager.run(running, &entry, &signature.name, &arguments).await.map_err(of_tool)? {
                ToolOutcome::Value(value) => Ok(Ok(value)),
                ToolOutcome::Error(error) => Ok(Err(error)),
            };
        }
        match ToolScope::of(running).run(tool, arguments, None).await {
            Ok(ToolAnswered::Result(value)) => Ok(Ok(value)),
            Ok(ToolAnswered::Content(content)) => Ok(of_content(content)),
            Ok(ToolAnswered::Refused(why)) => Ok(Err(Value::String(why))),
            Err(CatalogueError::Unknown(why)) => Err(ServiceError::NotFound(why)),
            Err(error) => Err(ServiceError::Failed(error.to_string())),
        }
    }

    async fn publish(&self, kind: &str, subject: Option<&str>, data: Value) -> Result<String, ServiceError> {
        matching("events", &self.entry.plugin.grants.events, kind)?;
        let (app, plugin) = (self.app(), &self.entry.plugin.name);
        let event = Events::event(kind, format!("/v1/apps/{app}/plugins/{plugin}"), subject, &data);
        let event = event.map_err(|faults| ServiceError::Failed(format!("no event: {faults}")))?;
        let id = event.id.clone();
        self.manager.parts.events.publish(app.as_str(), vec![event]).await.map(|_| id).map_err(of_events)
    }

    async fn generate(&self, model: &str, system: Option<&str>, prompt: &str) -> Result<String, ServiceError> {
        if !self.entry.plugin.grants.models.iter().any(|granted| granted == model) {
            return Err(ServiceError::Denied(format!("`{}` in `grants.models`", short(model))));
        }
        if prompt.len() + system.map_or(0, str::len) > MAX_PROMPT_BYTES {
            return Err(ServiceError::Limit(format!("a prompt has at most {MAX_PROMPT_BYTES} bytes")));
        }
        let instructions = system.map_or_else(|| FORM.to_owned(), |system| format!("{system}\n\n{FORM}"));
        let request = GenerateRequest {
            model: model.to_owned(),
            messages: vec![
                Message { role: Role::System, content: instructions },
                Message { role: Role::User, content: prompt.to_owned() },
            ],
            parameters: ModelParameters::default(),
            schema: Arc::new(text_schema()),
            timeout: self.running.until.saturating_duration_since(Instant::now()),
            fallback: true,
        };
        let app = &self.running.application.app;
        let payer =
            Payer { app: &app.name, budget: app.limits.budget, execution: true, spent: nexus_model::Usage::NONE };
        let generation = self.manager.parts.budgets.generate(payer, &request, None).await.map_err(of_model)?;
        let text = generation.value.get("text").and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| ServiceError::Failed("the model gave no text".to_owned()))
    }

    fn caller(&self) -> Arc<dyn ToolCaller> {
        Arc::clone(&self.running.caller)
    }

    fn announce(&self) {
        self.manager.announced.announce(self.app());
    }
}

/// What an MCP server answered, as a value: its structured content, or else its blocks.
fn of_content(content: ToolContent) -> Result<Value, Value> {
    let value = content.structured.unwrap_or_else(|| json!({ "content": content.blocks }));
    if content.failed { Err(value) } else { Ok(value) }
}

/// A store's own reasons are for the log.
fn of_store(error: StoreError) -> ServiceError {
    match error {
        StoreError::Quota { .. } | StoreError::TooLarge { .. } => ServiceError::Limit(error.to_string()),
        StoreError::NotANumber(_) => ServiceError::Failed("the value is no whole number".to_owned()),
        error => {
            tracing::error!(%error, "the state of an application could not be used");
            ServiceError::Failed("the store is unavailable".to_owned())
        }
    }
}

fn of_events(error: PublishError) -> ServiceError {
    match error {
        PublishError::Reserved => ServiceError::Denied(error.to_string()),
        PublishError::TooLarge { .. } | PublishError::Full { .. } => ServiceError::Limit(error.to_string()),
        PublishError::UnknownApp(_) => ServiceError::Failed(error.to_string()),
        PublishError::Store(error) => of_store(error),
    }
}

fn of_model(error: SpendError) -> ServiceError {
    match error {
        SpendError::Exceeded(exceeded) => ServiceError::Limit(exceeded.to_string()),
        SpendError::Store(error) => of_store(error),
        SpendError::Model(error) => ServiceError::Failed(format!("the model `{}`: {}", error.model, error.kind)),
    }
}

fn of_tool(kind: ToolErrorKind) -> ServiceError {
    match kind {
        ToolErrorKind::UnknownTool { .. } => ServiceError::NotFound(kind.to_string()),
        ToolErrorKind::TooLarge { .. } | ToolErrorKind::Call(CallErrorKind::Busy { .. }) => {
            ServiceError::Limit(kind.to_string())
        }
        kind => ServiceError::Failed(kind.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn a_bucket_cannot_reach_another() {
        assert_eq!(below("").unwrap(), below("default").unwrap());
        assert_eq!(below("carts.v2").unwrap(), "kv/carts.v2/");
        for bad in ["a/b", "..\n", "ä", &"a".repeat(64)] {
            assert!(below(bad).is_err(), "{bad}");
        }
    }
}
