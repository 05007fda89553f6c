//! `core.memory.*`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{Document, Scope, Target};

/// The hits of a search, if nothing else is asked for.
const HITS: usize = 10;

fn document(name: &str) -> Result<Document, Refusal> {
    name.parse().map_err(|error: crate::DocumentError| Refusal::said("invalid_arguments", error.to_string()))
}

/// Reads a document that an application is to remember, or lists them all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    /// The application.
    app: String,
    /// `brief`, `context` or `knowledge/<path>`; all are listed, if left out.
    document: Option<String>,
}

impl Arguments for Read {
    const NAME: &'static str = "core.memory.read";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let Some(name) = self.document else {
            let known = host.core.memory.list(&app).await?.into_iter();
            let known = known.map(|info| json!({ "document": info.document.to_string(), "bytes": info.bytes }));
            return Ok(json!({ "documents": known.collect::<Vec<_>>() }));
        };
        let text = host.core.memory.read(&app, &document(&name)?).await?;
        let text = text.ok_or_else(|| Refusal::said("unknown_document", "there is no such document"))?;
        Ok(json!({ "text": text }))
    }
}

/// Adds a text to the end of a document that an application is to remember; makes the document if it is not there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Append {
    /// The application.
    app: String,
    /// `brief`, `context` or `knowledge/<path>`.
    document: String,
    /// What is added, on a line of its own.
    text: String,
}

impl Arguments for Append {
    const NAME: &'static str = "core.memory.append";
    const VERB: fn(Target) -> Scope = Scope::Write;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let document = document(&self.document)?;
        host.note("memory.append", app.to_string()).await?;
        let commit = host.core.memory.append(&app, &document, &self.text, &host.author()).await?;
        Ok(json!({ "commit": commit }))
    }
}

/// Finds the passages of what an application is to remember that fit a query best.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// The application.
    app: String,
    /// Words to look for.
    query: String,
    /// How many passages, at most 50; 10, if left out.
    limit: Option<usize>,
}

impl Arguments for Search {
    const NAME: &'static str = "core.memory.search";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let hits = host.core.memory.search(&app, &self.query, self.limit.unwrap_or(HITS)).await?;
        let hits = hits.into_iter().map(|hit| {
            json!({ "document": hit.document.to_string(), "line": hit.line, "text": hit.text, "score": hit.score })
        });
        Ok(json!({ "hits": hits.collect::<Vec<_>>() }))
    }
}
