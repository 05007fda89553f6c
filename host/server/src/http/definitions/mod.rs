//! Definitions over HTTP: whole applications, single files, history, and the state of an application.

pub(super) mod apps;
mod condition;
pub(super) mod files;
pub(super) mod history;
pub(super) mod lifecycle;
pub(super) mod remote;
mod views;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use nexus_core::{Edit, Written};
use nexus_model::{AppName, Revision};
use tokio::sync::SemaphorePermit;

pub use history::{AuthorView, ChangeView, DiffView, FileDiffView, HistoryView, RestoreBody};
pub use lifecycle::DeactivateBody;
pub use remote::MovedView;
pub use views::{AppFiles, EncodedBytes, FileContent, NewApp, PutApp, WrittenView};

use super::{
    Api, Problem,
    api::{Caller, Verb},
    error,
};

/// How long a change waits until fewer others are being read.
const WAIT: Duration = Duration::from_secs(10);

/// A place for the body of a change, which may be large.
pub(super) async fn place(api: &Api) -> Result<SemaphorePermit<'_>, Problem> {
    match tokio::time::timeout(WAIT, api.definition_bodies.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(error::overloaded()),
    }
}

/// The application of a path, if the caller may do this to it.
pub(super) fn permitted(api: &Api, caller: &Caller, verb: Verb, name: &str) -> Result<AppName, Problem> {
    api.permit(caller, verb, name)?;
    name.parse().map_err(|error: nexus_model::InvalidName| match verb {
        Verb::Write => error::invalid_name(error.to_string()),
        Verb::Invoke | Verb::Read => error::unknown_app(name, None),
    })
}

/// A change of an application by whoever sent this request.
pub(super) fn edit(
    caller: &Caller,
    app: AppName,
    headers: &HeaderMap,
    message: Option<String>,
) -> Result<Edit, Problem> {
    let message = message.filter(|message| !message.trim().is_empty());
    Ok(Edit { app, condition: condition::of(headers)?, author: caller.author(), message })
}

/// The entity tag of everything that an application consists of: its revision.
pub(super) fn etag(revision: &Revision) -> HeaderMap {
    let tag = HeaderValue::from_str(&format!("\"{revision}\"")).ok();
    tag.into_iter().map(|tag| (header::ETAG, tag)).collect()
}

pub(super) fn told(app: &AppName, written: &Written) -> WrittenView {
    WrittenView {
        app: app.to_string(),
        revision: written.revision.as_ref().map(ToString::to_string),
        changed: written.changed,
    }
}
