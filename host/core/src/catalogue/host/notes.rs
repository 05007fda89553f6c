//! `core.logs.write` and `core.config.get`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{Scope, Target, tools::GUEST};

/// The longest line of the log, in bytes.
const MAX_LINE: usize = 8 << 10;

/// How grave it is.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes a line to the log of the host, as the application's.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// The application.
    app: String,
    /// How grave it is; `info`, if left out.
    level: Option<Level>,
    /// What happened, at most 8 KiB.
    message: String,
}

impl Arguments for Log {
    const NAME: &'static str = "core.logs.write";
    const VERB: fn(Target) -> Scope = Scope::Invoke;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        if self.message.len() > MAX_LINE {
            return Err(Refusal::said("invalid_arguments", format!("a line has at most {MAX_LINE} bytes")));
        }
        let (message, context) = (self.message, "tool");
        match self.level.unwrap_or(Level::Info) {
            Level::Debug => tracing::debug!(target: GUEST, %app, context, "{message}"),
            Level::Info => tracing::info!(target: GUEST, %app, context, "{message}"),
            Level::Warn => tracing::warn!(target: GUEST, %app, context, "{message}"),
            Level::Error => tracing::error!(target: GUEST, %app, context, "{message}"),
        }
        Ok(json!({}))
    }
}

/// Reads the application's own settings: `spec.config` of its definition.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The application.
    app: String,
    /// Only this setting; `null` if there is none of this name.
    name: Option<String>,
}

impl Arguments for Config {
    const NAME: &'static str = "core.config.get";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let application = host.serving(&self.app, Self::VERB)?;
        let config = &application.app.config;
        Ok(match self.name {
            Some(name) => json!({ "value": config.get(&name) }),
            None => json!({ "config": config }),
        })
    }
}
