//! An answer as server-sent events.

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{FutureExt, Stream, stream};
use nexus_core::{Answer, Call};
use nexus_model::TokenSink;
use opentelemetry::context::FutureExt as _;
use serde_json::{json, value::RawValue};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{
    api::{Api, Caller},
    error, headers,
    problem::Problem,
    trace_context,
};

/// Events that wait for a slow reader; pieces beyond are joined to one.
const QUEUE: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often a reader that sees nothing looks whether the server stops.
pub(crate) const LOOK_UP: Duration = Duration::from_millis(500);

/// Events as they are sent: kept alive, and buffered by nobody on the way.
pub(crate) fn sent(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

enum Notice {
    Token(String),
    Restart,
    Answer(Box<Answer>),
    Failed(Box<Problem>),
}

/// Runs the operation and answers with events as they come. What fails before the first event is an ordinary problem
/// with its own status. The caller's permit is held until the operation has ended; a caller that goes away ends it.
pub(crate) async fn events(
    api: Api,
    caller: Caller,
    app: String,
    operation: String,
    body: Bytes,
    incoming: &HeaderMap,
) -> Result<Response, Problem> {
    let (sender, mut notices) = mpsc::channel(QUEUE);
    let tasks = api.tasks.clone();
    let run = async move {
        let _permit = caller;
        tokio::select! {
            () = sender.closed() => {}
            () = run(&api, &app, &operation, &body, &sender) => {}
        }
    };
    tasks.spawn(run.in_current_span().with_current_context());
    match notices.recv().await {
        None => Err(error::internal()),
        Some(Notice::Failed(problem)) => Err(*problem),
        Some(first) => {
            let mut response = sent(all(first, notices));
            let trace = trace_context::exported().or_else(|| incoming.get(headers::TRACEPARENT).cloned());
            if let Some(trace) = trace {
                response.headers_mut().insert(headers::TRACEPARENT, trace);
            }
            Ok(response)
        }
    }
}

async fn run(api: &Api, app: &str, operation: &str, body: &[u8], sender: &mpsc::Sender<Notice>) {
    let mut relay = Relay { sender, pending: String::new(), restarted: false };
    let call = Call { app, operation, body, sink: Some(&mut relay) };
    let outcome = AssertUnwindSafe(api.core.router.execute(call)).catch_unwind().await;
    let last = match outcome {
        Ok(Ok(answer)) => {
            relay.flush().await;
            Notice::Answer(Box::new(answer))
        }
        Ok(Err(error)) => Notice::Failed(Box::new(error.into())),
        Err(_) => Notice::Failed(Box::new(error::internal())),
    };
    // A reader that is gone misses nothing.
    let _ = sender.send(last).await;
}

/// Passes pieces on without ever waiting: what does not fit the queue is kept and joined, bounded by the bound of an
/// answer.
struct Relay<'a> {
    sender: &'a mpsc::Sender<Notice>,
    pending: String,
    restarted: bool,
}

impl Relay<'_> {
    async fn flush(&mut self) {
        if std::mem::take(&mut self.restarted) {
            let _ = self.sender.send(Notice::Restart).await;
        }
        if !self.pending.is_empty() {
            let _ = self.sender.send(Notice::Token(std::mem::take(&mut self.pending))).await;
        }
    }
}

impl TokenSink for Relay<'_> {
    fn token(&mut self, text: &str) {
        self.pending.push_str(text);
        if self.restarted && self.sender.try_send(Notice::Restart).is_ok() {
            self.restarted = false;
        }
        if !self.restarted
            && let Ok(place) = self.sender.try_reserve()
        {
            place.send(Notice::Token(std::mem::take(&mut self.pending)));
        }
    }

    fn restart(&mut self) {
        self.pending.clear();
        self.restarted = true;
    }
}

fn all(first: Notice, notices: mpsc::Receiver<Notice>) -> impl Stream<Item = Result<Event, Infallible>> {
    let rest = stream::unfold(notices, |mut notices| async move { Some((notices.recv().await?, notices)) });
    futures::StreamExt::map(futures::StreamExt::chain(stream::iter([first]), rest), |notice| Ok(event(notice)))
}

fn event(notice: Notice) -> Event {
    match notice {
        Notice::Token(text) => Event::default().event("token").data(json!({ "text": text }).to_string()),
        Notice::Restart => Event::default().event("restart").data("{}"),
        Notice::Answer(answer) => Event::default().event("answer").data(describe(*answer)),
        Notice::Failed(problem) => Event::default().event("error").data(problem.to_json()),
    }
}

fn describe(answer: Answer) -> String {
    #[derive(serde::Serialize)]
    struct Last {
        execution: String,
        path: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        fallback: Option<&'static str>,
        output: Box<RawValue>,
    }
    let last = RawValue::from_string(answer.output).map(|output| Last {
        execution: answer.execution.to_string(),
        path: answer.path.as_str(),
        fallback: answer.fallback.map(nexus_model::FallbackReason::as_str),
        output,
    });
    last.and_then(|last| serde_json::to_string(&last)).unwrap_or_else(|_| "null".to_owned())
}
