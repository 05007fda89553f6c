//! `GET /v1/logs`: what was said, read once or followed.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use nexus_core::{Principal, Scope, Target};
use nexus_model::AppName;
use nexus_signals::{Followed, LogBookError, LogFilter, LogFollower, LogLevel, LogRecord, LogScope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::{IntoParams, ToSchema};

use super::{
    api::{Api, Caller, Verb},
    description::StreamEvent,
    error,
    params::{self, Asked},
    problem::Problem,
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
const MAX_TEXT: usize = 200;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// One thing that was said. Secrets are masked; other text stands as it was, control characters escaped by JSON.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogRecordView {
    /// Numbers the records of this server's log.
    #[schema(example = 4711)]
    pub id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub time: OffsetDateTime,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[schema(example = "warn")]
    pub level: String,
    /// Which part of the program said it; `nexus::guest` for what a component wrote.
    #[schema(example = "nexus_core::router")]
    pub target: String,
    /// What was said.
    pub message: String,
    /// The application that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// The trace, as in `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

impl From<LogRecord> for LogRecordView {
    fn from(record: LogRecord) -> Self {
        let LogRecord { id, time, level, target, message, context, fields } = record;
        let level = level.as_str().to_owned();
        let (app, operation) = (context.app, context.operation);
        let (execution, trace_id) = (context.execution, context.trace_id);
        Self { id, time, level, target, message, app, operation, execution, trace_id, fields }
    }
}

/// Records, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogList {
    /// This page. It may be shorter than asked for, even empty, and not be the last.
    pub records: Vec<LogRecordView>,
    /// What to send as `cursor` to see older ones; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The number of the newest record of the whole log: where to follow from to miss nothing.
    pub newest: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only about this application.
    app: Option<String>,
    /// Only about operations of this name.
    operation: Option<String>,
    /// Only about this execution.
    execution: Option<String>,
    /// Only what matters at least so much: `trace`, `debug`, `info`, `warn` or `error`.
    level: Option<String>,
    /// Only what holds this text in its message, target or fields; case does not matter. At most 200 characters.
    q: Option<String>,
    /// Not before this time (RFC 3339). Not for a stream.
    since: Option<String>,
    /// Before this time (RFC 3339). Not for a stream.
    until: Option<String>,
    /// At most this many, 1 to 1000; 100 if left out. Not for a stream.
    limit: Option<usize>,
    /// Only older than this record; for a stream, only newer.
    cursor: Option<u64>,
}

/// Reads the log, or follows it
///
/// Newest first, what the host and its components said about the applications that the key may read; with the scope
/// `admin` also what is about none. How much is kept is a setting of the server.
///
/// With `Accept: text/event-stream` records come as they are said, oldest first, as events `log` whose ids are the
/// records' numbers. A client that comes back with `Last-Event-ID` misses nothing that is still kept; what is not, is told
/// by an event `gap` with the number of records that are `missing`. Without it, the stream begins after `cursor`, or now.
/// The stream ends when the key ends, or what it may read changes.
#[utoipa::path(
    get, path = "/v1/logs", tag = "logs", operation_id = "read_logs",
    params(Filter, ("last-event-id" = Option<u64>, Header, description = "The last record of a stream that was seen")),
    responses(
        (status = 200, description = "One page, or a stream", content(
            (LogList = "application/json"),
            (StreamEvent = "text/event-stream", example = json!("id: 4711\nevent: log\ndata: {\"id\":4711,\"level\":\"info\"}\n\n")),
        )),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Asked(asked): Asked<Filter>,
) -> Result<Response, Problem> {
    if let Some(app) = &asked.app {
        api.permit(&caller, Verb::Read, app)?;
    }
    let scope = scope(&api, caller.principal())?;
    if !super::execute::wants_events(&headers) {
        let limit = params::limit(asked.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
        let (cursor, filter) = (asked.cursor, filter(asked, scope)?);
        let page = api.log.query(filter, cursor, limit).await?;
        let records = page.records.into_iter().map(Into::into).collect();
        return Ok(Json(LogList { records, next: page.next, newest: page.newest }).into_response());
    }
    if asked.limit.is_some() || asked.since.is_some() || asked.until.is_some() {
        return Err(error::invalid_parameter("`limit`, `since` and `until` are not for a stream"));
    }
    let after = match headers.get(LAST_EVENT_ID) {
        None => asked.cursor,
        Some(id) => match id.to_str().ok().and_then(|id| id.parse().ok()) {
            Some(id) => Some(id),
            None => return Err(error::invalid_parameter("`Last-Event-ID` is the number of a record")),
        },
    };
    let follower = api.log.follow(filter(asked, scope.clone())?, after)?;
    // From here on it is one of the few followers, and no longer one of the requests in flight that a stop waits for.
    drop(caller);
    let tail = Tail { api, headers, scope, follower, waiting: VecDeque::new() };
    let mut response = Sse::new(tail.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// A client that follows.
struct Tail {
    api: Api,
    headers: HeaderMap,
    scope: LogScope,
    follower: LogFollower,
    waiting: VecDeque<Event>,
}

impl Tail {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut tail| async move {
            if tail.waiting.is_empty() {
                tail.waiting = tail.next().await?;
            }
            let event = tail.waiting.pop_front()?;
            Some((Ok(event), tail))
        })
    }

    /// The next events; `None` ends the stream.
    async fn next(&mut self) -> Option<VecDeque<Event>> {
        let followed = match self.follower.next().await {
            Ok(followed) => followed?,
            Err(error) => {
                tracing::warn!(%error, "a follower of the log was let go");
                return None;
            }
        };
        let principal = self.api.authenticate(&self.headers).ok()?;
        if scope(&self.api, &principal).ok()? != self.scope {
            return None;
        }
        Some(match followed {
            Followed::Records(records) => records.into_iter().map(event).collect(),
            Followed::Gap { missing, until } => {
                let data = json!({ "missing": missing }).to_string();
                [Event::default().event("gap").id(until.to_string()).data(data)].into()
            }
        })
    }
}

fn event(record: LogRecord) -> Event {
    let id = record.id.to_string();
    let data = serde_json::to_string(&LogRecordView::from(record)).unwrap_or_default();
    Event::default().event("log").id(id).data(data)
}

/// What a principal may read; refused if it may read nothing at all.
fn scope(api: &Api, principal: &Principal) -> Result<LogScope, Problem> {
    if principal.may(&Scope::Admin) {
        return Ok(LogScope::All);
    }
    let may = |app: &AppName| principal.may(&Scope::Read(Target::App(app.clone())));
    let apps: Vec<AppName> = api.core.registry.names().into_iter().filter(may).collect();
    let all = Scope::Read(Target::All);
    if apps.is_empty() && !principal.may(&all) { Err(error::forbidden(&all)) } else { Ok(LogScope::Apps(apps)) }
}

fn filter(asked: Filter, scope: LogScope) -> Result<LogFilter, Problem> {
    let level = asked.level.as_deref().map(str::parse::<LogLevel>).transpose();
    if asked.q.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT) {
        return Err(error::invalid_parameter(format!("`q` has at most {MAX_TEXT} characters")));
    }
    Ok(LogFilter {
        scope,
        app: asked.app,
        operation: asked.operation,
        execution: asked.execution,
        level: level.map_err(|error| error::invalid_parameter(error.to_string()))?,
        text: asked.q.filter(|text| !text.is_empty()),
        since: time("since", asked.since)?,
        until: time("until", asked.until)?,
    })
}

pub(super) fn time(name: &str, text: Option<String>) -> Result<Option<OffsetDateTime>, Problem> {
    let parsed = text.map(|text| OffsetDateTime::parse(&text, &Rfc3339)).transpose();
    parsed.map_err(|_| error::invalid_parameter(format!("`{name}` is a time as `2026-01-02T03:04:05Z` (RFC 3339)")))
}

impl From<LogBookError> for Problem {
    fn from(error: LogBookError) -> Self {
        match error {
            LogBookError::TooManyFollowers => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_followers",
                "Too many follow the log",
                error.to_string(),
            )
            .retry_after(KEEP_ALIVE),
            LogBookError::Open { .. } | LogBookError::Read(_) => {
                tracing::error!(%error, "the log was not read");
                let detail = "the reason is in the log on standard error";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", "The log cannot be read", detail)
            }
        }
    }
}
