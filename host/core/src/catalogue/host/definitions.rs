//! `core.definitions.*`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{Condition, Edit, Scope, Target};

/// The most changes that are told at one time.
const CHANGES: usize = 50;

/// Lists the files of an application's definition, with its revision.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// The application.
    app: String,
}

impl Arguments for List {
    const NAME: &'static str = "core.definitions.list";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let snapshot = host.core.registry.files(&app, None).await?;
        let files: Vec<_> =
            snapshot.files.iter().map(|(path, content)| json!({ "path": path, "bytes": content.len() })).collect();
        Ok(json!({ "revision": snapshot.revision.to_string(), "files": files }))
    }
}

/// Reads a text file of an application's definition, as it is or as it was.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    /// The application.
    app: String,
    /// The file's path within the application's folder, as `app.yaml`.
    path: String,
    /// A revision that the application once had; what is now, if left out.
    revision: Option<String>,
}

impl Arguments for Read {
    const NAME: &'static str = "core.definitions.read";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let revision = self.revision.map(|revision| nexus_model::Revision(revision.into()));
        let (revision, content) = host.core.registry.file(&app, &self.path, revision.as_ref()).await?;
        let text = std::str::from_utf8(&content).map_err(|_| Refusal::said("not_a_text", "the file is no text"))?;
        Ok(json!({ "revision": revision.to_string(), "text": text }))
    }
}

/// Writes a text file of an application's definition. The definition as it would be is checked first; with a fault nothing is
/// changed. One commit, served at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    /// The application.
    app: String,
    /// The file's path within the application's folder.
    path: String,
    /// All of its text.
    text: String,
    /// The application's revision that the change is made on, as `core.definitions.read` told it; left out for a file that is
    /// not there yet.
    expected_revision: Option<String>,
    /// What the history says of the change.
    message: Option<String>,
}

impl Arguments for Write {
    const NAME: &'static str = "core.definitions.write";
    const VERB: fn(Target) -> Scope = Scope::Write;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let condition = match self.expected_revision {
            Some(revision) => Condition::Revisions(vec![nexus_model::Revision(revision.into())]),
            None => Condition::Unstated,
        };
        let edit = Edit { app, condition, author: host.author(), message: self.message };
        host.note("file.put", format!("{}/{}", edit.app, self.path)).await?;
        let written = host.core.registry.put_file(&edit, &self.path, &Arc::from(self.text.into_bytes())).await?;
        let revision = written.revision.map(|revision| revision.to_string());
        Ok(json!({ "revision": revision, "created": written.created, "changed": written.changed }))
    }
}

/// Lists the changes of an application's definition, the newest first, at most 50.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    /// The application.
    app: String,
    /// Only those before this commit.
    before: Option<String>,
}

impl Arguments for History {
    const NAME: &'static str = "core.definitions.history";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let changes = host.core.registry.history(&app, self.before.as_deref(), CHANGES).await?;
        let told = changes.into_iter().map(|change| {
            let at = change.at.unix_timestamp();
            json!({
                "commit": change.commit, "revision": change.revision.map(|revision| revision.to_string()),
                "author": change.author.name, "unix_time": at, "message": change.message,
            })
        });
        Ok(json!({ "changes": told.collect::<Vec<_>>() }))
    }
}

/// Shows what changed in an application's definition between two revisions, as a unified diff.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Diff {
    /// The application.
    app: String,
    /// The older revision.
    from: String,
    /// The newer revision; what is now, if left out.
    to: Option<String>,
}

impl Arguments for Diff {
    const NAME: &'static str = "core.definitions.diff";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let (from, to) =
            (nexus_model::Revision(self.from.into()), self.to.map(|revision| nexus_model::Revision(revision.into())));
        let diff = host.core.registry.diff(&app, &from, to.as_ref()).await?;
        Ok(json!({ "from": diff.from.to_string(), "to": diff.to.to_string(), "diff": diff.unified() }))
    }
}
