//! `GET /v1/executions/{id}/events`.

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{Response, sse::Event},
};
use futures::stream;
use nexus_core::{NewsId, NewsItem, Shown, Status, Told, Watching};
use nexus_model::{AppName, ExecutionId};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::{StepView, readable};
use crate::http::{
    api::{Api, Caller},
    description::StreamEvent,
    error,
    params::Named,
    problem::Problem,
    stream::{LOOK_UP, sent},
};

/// Follows an execution of a workflow
///
/// As server-sent events: `step` (a task begins or ends), `begun` and `ended` (an effect), `token` and `restart` (what a model
/// says), `parked` (it waits, in no sandbox), `resumed`, and at last `finished`. Each has an id; who comes back with it as
/// `Last-Event-ID` goes on after it. What is written down of an execution is told again for as long as it is kept; the rest of it
/// only if it is new enough.
#[utoipa::path(
    get, path = "/v1/executions/{id}/events", tag = "executions", operation_id = "follow_execution",
    params(
        ("id" = String, Path, description = "The execution's id"),
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that was seen"),
    ),
    responses(
        (status = 200, body = StreamEvent, description = "Events, until the execution has ended", content_type = "text/event-stream"),
        (status = 403, description = "The key may read no application", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such execution of a workflow among those that the key may read", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn follow(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let apps = readable(&api, &caller)?;
    let unknown = || error::unknown_execution(&id);
    let parsed: ExecutionId = id.parse().map_err(|_| unknown())?;
    let seen = match headers.get("last-event-id").and_then(|seen| seen.to_str().ok()) {
        Some(seen) => {
            let wrong = |_| error::invalid_parameter("this is not the id of an event of an execution");
            Some(seen.parse::<NewsId>().map_err(wrong)?)
        }
        None => None,
    };
    let (app, shown) = api.core.show_execution(&apps, parsed).await?.ok_or_else(unknown)?;
    let place = std::sync::Arc::clone(&api.followers).try_acquire_owned().map_err(|_| error::overloaded())?;
    let watching = api.core.watch_execution(&app, parsed);
    let mut reader =
        Reader { api, app, id: parsed, seen, watching, waiting: VecDeque::new(), ended: false, _place: place };
    if reader.watching.is_none() {
        reader.take(shown);
    }
    let events = stream::unfold(reader, async |mut reader| Some((Ok::<_, Infallible>(reader.next().await?), reader)));
    Ok(sent(events))
}

struct Reader {
    api: Api,
    app: AppName,
    id: ExecutionId,
    seen: Option<NewsId>,
    /// `None` while another host has it, or nobody any more.
    watching: Option<Watching>,
    waiting: VecDeque<Event>,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.ended || self.api.is_draining() {
                return None;
            }
            let Some(watching) = &mut self.watching else {
                tokio::time::sleep(LOOK_UP).await;
                self.watching = self.api.core.watch_execution(&self.app, self.id);
                match self.api.core.show_execution(std::slice::from_ref(&self.app), self.id).await {
                    Ok(Some((_, shown))) => self.take(shown),
                    Ok(None) => return None,
                    Err(error) => tracing::warn!(%error, "a reader of an execution waits for the store"),
                }
                continue;
            };
            match tokio::time::timeout(LOOK_UP, watching.next(self.seen)).await {
                Ok(items) if items.is_empty() => self.watching = None,
                Ok(items) => {
                    self.seen = items.last().map(|item| item.id);
                    self.ended = items.iter().any(|item| matches!(item.news, Told::Finished { .. }));
                    self.waiting.extend(items.into_iter().map(event));
                }
                Err(_) => {}
            }
        }
    }

    /// What is written down, of an execution that this host does not have.
    fn take(&mut self, shown: Shown) {
        let mut records: Vec<_> = shown.records.into_iter().filter(|record| record.ended > 0).collect();
        records.sort_by_key(|record| record.ended);
        for record in records {
            let id = NewsId::of_ended(record.ended);
            if self.seen.is_none_or(|seen| id > seen) {
                self.seen = Some(id);
                self.waiting.push_back(event(NewsItem { id, news: Told::Ended(Box::new(record)) }));
            }
        }
        if let Status::Ended(ended) = shown.status {
            let (output, problem) = match &ended.result {
                Ok(output) => (Some(output.clone()), None),
                Err(error) => (None, serde_json::to_value(error).ok()),
            };
            let id = self.seen.unwrap_or_default().next();
            self.waiting.push_back(event(NewsItem { id, news: Told::Finished { output, problem } }));
            self.ended = true;
        }
    }
}

fn event(item: NewsItem) -> Event {
    let (name, data) = match item.news {
        Told::Ended(record) => ("ended", serde_json::to_value(StepView::from(*record)).unwrap_or_default()),
        news => {
            let name = match &news {
                Told::Step { .. } => "step",
                Told::Begun { .. } => "begun",
                Told::Token { .. } => "token",
                Told::Restart { .. } => "restart",
                Told::Parked { .. } => "parked",
                Told::Resumed => "resumed",
                Told::Finished { .. } | Told::Ended(_) => "finished",
            };
            (name, plain(&news))
        }
    };
    Event::default().event(name).id(item.id.to_string()).data(data.to_string())
}

/// What is told, without its kind, which the event has.
fn plain(news: &Told) -> Value {
    let mut data = serde_json::to_value(news).unwrap_or_else(|_| json!({}));
    if let Some(fields) = data.as_object_mut() {
        fields.remove("type");
    }
    data
}
