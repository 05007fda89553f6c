//! `/v1/apps/{app}/dead-letters`.

use axum::{Json, extract::State, http::StatusCode};
use nexus_core::DeadLetter;
use nexus_model::AppName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::{
    api::{Api, Caller, Verb},
    error,
    params::{self, Asked, Named},
    problem::Problem,
};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;

/// An event that was put aside after five deliveries.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterView {
    /// Names it among those of its application.
    pub id: String,
    /// The trigger that could not work it off.
    pub trigger: String,
    /// How often it was delivered.
    pub deliveries: u64,
    /// A stable word for what went wrong the last time.
    #[schema(example = "invalid_input")]
    pub code: String,
    /// What went wrong the last time.
    pub message: String,
    /// When it was put aside.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub dead_at: OffsetDateTime,
    /// The application that emitted the event, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emitter: Option<String>,
    /// The event, in the JSON format of `CloudEvents`.
    pub event: Value,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            trigger: letter.trigger,
            deliveries: letter.deliveries,
            code: letter.code,
            message: letter.message,
            dead_at: letter.dead_at,
            emitter: letter.emitter.map(|app| app.to_string()),
            event: letter.event.to_json(),
        }
    }
}

/// Dead letters, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterList {
    /// This page.
    pub dead_letters: Vec<DeadLetterView>,
    /// What to send as `after` to see the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Only those put aside after this one.
    after: Option<String>,
    /// At most this many, 1 to 100; 50 if left out.
    limit: Option<usize>,
}

/// Lists dead letters
///
/// Oldest first. An application keeps the newest 1,000.
#[utoipa::path(
    get, path = "/v1/apps/{app}/dead-letters", tag = "events", operation_id = "list_dead_letters",
    params(("app" = String, Path, description = "The application", example = "support"), Page),
    responses(
        (status = 200, body = DeadLetterList, description = "One page"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    Asked(Page { after, limit }): Asked<Page>,
) -> Result<Json<DeadLetterList>, Problem> {
    let name = api.known(&caller, Verb::Read, &app)?;
    let limit = params::limit(limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let page = api.core.events.dead_letters(&name, after.as_deref(), limit).await?;
    let dead_letters = page.letters.into_iter().map(Into::into).collect();
    Ok(Json(DeadLetterList { dead_letters, next: page.next }))
}

/// Shows a dead letter
#[utoipa::path(
    get, path = "/v1/apps/{app}/dead-letters/{id}", tag = "events", operation_id = "get_dead_letter",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("id" = String, Path, description = "The dead letter"),
    ),
    responses(
        (status = 200, body = DeadLetterView, description = "The dead letter"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or dead letter", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Named((app, id)): Named<(String, String)>,
) -> Result<Json<DeadLetterView>, Problem> {
    let name = api.known(&caller, Verb::Read, &app)?;
    let found = api.core.events.dead_letter(&name, &id).await?;
    found.map(|letter| Json(letter.into())).ok_or_else(|| error::unknown_dead_letter(&id))
}

/// Sends a dead letter to its trigger again
///
/// As if it came for the first time.
#[utoipa::path(
    post, path = "/v1/apps/{app}/dead-letters/{id}/redrive", tag = "events", operation_id = "redrive_dead_letter",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("id" = String, Path, description = "The dead letter"),
    ),
    responses(
        (status = 204, description = "Queued again"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or dead letter, or its trigger is gone", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Full, stopping, too many events wait for the trigger, or the store is unavailable", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn redrive(
    State(api): State<Api>,
    caller: Caller,
    Named((app, id)): Named<(String, String)>,
) -> Result<StatusCode, Problem> {
    let name = noted(&api, &caller, "dead_letter.redrive", &app, &id).await?;
    done(api.core.events.redrive(&name, &id).await?, &id)
}

/// Throws a dead letter away
#[utoipa::path(
    delete, path = "/v1/apps/{app}/dead-letters/{id}", tag = "events", operation_id = "discard_dead_letter",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("id" = String, Path, description = "The dead letter"),
    ),
    responses(
        (status = 204, description = "Gone"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or dead letter", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn discard(
    State(api): State<Api>,
    caller: Caller,
    Named((app, id)): Named<(String, String)>,
) -> Result<StatusCode, Problem> {
    let name = noted(&api, &caller, "dead_letter.discard", &app, &id).await?;
    done(api.core.events.discard(&name, &id).await?, &id)
}

/// The application of a dead letter that the caller may change, once the audit log has what is about to be done.
async fn noted(api: &Api, caller: &Caller, action: &str, app: &str, id: &str) -> Result<AppName, Problem> {
    let name = api.known(caller, Verb::Write, app)?;
    api.note(caller, action, &format!("{name}/{id}")).await?;
    Ok(name)
}

fn done(was_there: bool, id: &str) -> Result<StatusCode, Problem> {
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(error::unknown_dead_letter(id)) }
}
