//! `POST /v1/events` and `GET /v1/events`.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response, sse::Event},
};
use futures::stream;
use nexus_core::{FollowError, Scope};
use nexus_model::CloudEvent;
use nexus_signals::{EventScope, Follower, Seen};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::{
    api::{Api, Caller, Verb},
    body, cloud_events,
    description::StreamEvent,
    error,
    params::Asked,
    problem::Problem,
    stream::{LOOK_UP, sent},
};

/// The pause after the store has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Logs that one reader follows.
const MAX_LOGS: usize = 200;

/// What was published.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PublishedView {
    /// How many events.
    pub accepted: usize,
    /// Their places in the application's log, in the order of the request.
    pub places: Vec<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Target {
    /// The application that the events are for.
    app: String,
}

/// Publishes events
///
/// By `CloudEvents` 1.0 over HTTP: in binary mode (attributes in fields `ce-…`), in structured mode
/// (`application/cloudevents+json`), or up to 100 in a batch (`application/cloudevents-batch+json`). The events are durable
/// when the answer comes. Those with the same `partitionkey`, or else the same `subject`, keep their order. If the answer
/// is an error of the server, publish all of them again: an event of the same source and id has its effect once.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", operation_id = "publish_events",
    params(Target),
    request_body(
        content = serde_json::Value, content_type = "application/cloudevents+json", description = "The event",
        example = json!({"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.placed", "data": {"total": 12}}),
    ),
    responses(
        (status = 202, body = PublishedView, description = "Taken; what they trigger happens now"),
        (status = 403, description = "The key has neither `apps:{app}:invoke` nor `apps:{app}:write`, or the type is reserved", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body, an event or the batch is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body does not say that it is an event", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "What was sent is not an event", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Full, stopping, too many events wait for a trigger, or the store is unavailable: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn publish(
    State(api): State<Api>,
    caller: Caller,
    Asked(Target { app }): Asked<Target>,
    request: Request,
) -> Result<Response, Problem> {
    // Who may change an application may make its events; who may only call it, too.
    if api.permit(&caller, Verb::Write, &app).is_err() {
        api.permit(&caller, Verb::Invoke, &app)?;
    }
    let (Parts { headers, .. }, body) = request.into_parts();
    let body = body::read_any(&api, &headers, body).await?;
    let places = api.core.events.publish(&app, cloud_events::read(&headers, &body)?).await?;
    Ok((StatusCode::ACCEPTED, Json(PublishedView { accepted: places.len(), places })).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only those of this application; otherwise of all that the key may read, and with an admin key the host's own.
    app: Option<String>,
    /// Only those whose type begins with this.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Only those with this subject.
    subject: Option<String>,
    /// The id of the last event that was seen, where the header `Last-Event-ID` cannot be sent.
    after: Option<String>,
}

/// Follows events
///
/// As server-sent events: `event` (`{"app", "place", "event"}`, the event in the JSON format of `CloudEvents`) and `gap`
/// (`{"app"}`: events of this log may have been lost here, since it does not reach back far enough any more). Each has an
/// id; who comes back with it as `Last-Event-ID` goes on after it, and who comes without one sees what happens from now
/// on. A slow reader is never dropped: it falls behind, and is told where it fell behind too far.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "follow_events",
    params(Filter, ("last-event-id" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses(
        (status = 200, body = StreamEvent, description = "Events, until either side ends it", content_type = "text/event-stream"),
        (status = 403, description = "The key may read no application, or not this one", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn follow(
    State(api): State<Api>,
    caller: Caller,
    Asked(filter): Asked<Filter>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scopes = scopes(&api, &caller, filter.app.as_deref())?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or(filter.after.as_deref());
    let place = std::sync::Arc::clone(&api.followers).try_acquire_owned().map_err(|_| error::overloaded())?;
    let follower = api.core.events.follow(scopes, last).await.map_err(|error| match error {
        FollowError::Cursor(error) => error::invalid_parameter(error.to_string()),
        FollowError::Store(error) => error.into(),
    })?;
    let reader = Reader { api, follower, filter, seen: VecDeque::new(), _place: place };
    let events = stream::unfold(reader, async |mut reader| Some((Ok::<_, Infallible>(reader.next().await?), reader)));
    Ok(sent(events))
}

/// The logs that the caller may read.
fn scopes(api: &Api, caller: &Caller, app: Option<&str>) -> Result<Vec<EventScope>, Problem> {
    if let Some(app) = app {
        return api.known(caller, Verb::Read, app).map(|app| vec![Some(app)]);
    }
    let names = api.core.registry.names().into_iter();
    let mut scopes: Vec<EventScope> = names.filter(|app| caller.may(Verb::Read, app)).map(Some).collect();
    if scopes.is_empty() {
        caller.require_all(Verb::Read)?;
    }
    if caller.require(&Scope::Admin).is_ok() {
        scopes.push(None);
    }
    if scopes.len() > MAX_LOGS {
        let detail = format!("there are more than {MAX_LOGS} applications to follow; name one with `app`");
        return Err(error::invalid_parameter(detail));
    }
    Ok(scopes)
}

/// One reader: asked for one event at a time, it holds a page of each log at the most.
struct Reader {
    api: Api,
    follower: Follower,
    filter: Filter,
    seen: VecDeque<Seen>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event as it is sent; `None` when the server stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(seen) = self.seen.pop_front() {
                self.follower.pass(&seen);
                if let Some(event) = self.shown(&seen) {
                    return Some(event.id(self.follower.cursor()));
                }
            }
            if self.api.is_draining() {
                return None;
            }
            // Dropping the wait loses nothing.
            match tokio::time::timeout(LOOK_UP, self.follower.next()).await {
                Ok(Ok(seen)) => self.seen.extend(seen),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a reader of events waits for the store");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_) => {}
            }
        }
    }

    fn shown(&self, seen: &Seen) -> Option<Event> {
        match seen {
            Seen::Gap(scope) => Some(Event::default().event("gap").data(json!({ "app": scope }).to_string())),
            Seen::Event(scope, logged) => self.filter.takes(&logged.event).then(|| {
                let data = json!({ "app": scope, "place": logged.id, "event": logged.event });
                Event::default().event("event").data(data.to_string())
            }),
        }
    }
}

impl Filter {
    fn takes(&self, event: &CloudEvent) -> bool {
        self.kind.as_ref().is_none_or(|prefix| event.kind.starts_with(prefix))
            && self.subject.as_ref().is_none_or(|subject| event.subject.as_ref() == Some(subject))
    }
}
