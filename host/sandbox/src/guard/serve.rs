//! One request of a client's: looked at, sent to the engine, answered.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{self, CONNECTION, UPGRADE},
};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::{body::Body as _, body::Incoming, server, service::service_fn, upgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Guard,
    address::Stream,
    archive, build, carry,
    container::{self, Kind},
    engine::{Sent, request},
    query::Query,
    refusal::{Refusal, excerpt},
    route::{self, Act, Call},
    volume,
};
use crate::docker::OWNER;

type Answer = Response<Either<Full<Bytes>, Incoming>>;

const JSON: &str = "application/json";
const TAR: &str = "application/x-tar";
const MAX_HEAD: usize = 32 << 10;
/// The longest body of a container or a volume.
const MAX_BODY: usize = 1 << 20;
/// What of an answer's head is passed on.
const PASSED_ON: [HeaderName; 3] =
    [header::CONTENT_TYPE, HeaderName::from_static("api-version"), HeaderName::from_static("ostype")];

/// Serves one request on a connection, and what comes of it, until either side or the guard ends.
pub(super) async fn connection(guard: Arc<Guard>, stream: Stream, place: OwnedSemaphorePermit) {
    let (place, ended, head) = (Arc::new(place), guard.engine.ended.clone(), guard.settings.head);
    let answered = service_fn(move |request| {
        let (guard, place) = (guard.clone(), place.clone());
        async move { Ok::<_, Infallible>(answer(&guard, request, place).await) }
    });
    let serving = server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD)
        // Nothing can hide behind a request.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answered)
        .with_upgrades();
    // How it ends is the client's matter.
    tokio::select! {
        () = ended.cancelled_owned() => {}
        _ = serving => {}
    }
}

async fn answer(guard: &Arc<Guard>, request: Request<Incoming>, place: Arc<OwnedSemaphorePermit>) -> Answer {
    let (method, path) = (request.method().clone(), excerpt(request.uri().path()));
    let refusal = match pass(guard, request, place).await {
        Ok(answer) => return answer,
        Err(refusal) => refusal,
    };
    let (status, why) = (refusal.status, &refusal.why);
    match status {
        StatusCode::NOT_FOUND => tracing::debug!(%method, path, why, "a container that is not there was asked for"),
        StatusCode::BAD_GATEWAY => tracing::warn!(%method, path, why, "the engine could not be asked"),
        _ => tracing::warn!(%method, path, why, "refused what Nexus does not do"),
    }
    let mut answer = Response::new(Either::Left(Full::from(json!({ "message": why }).to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    answer
}

async fn pass(
    guard: &Arc<Guard>,
    request: Request<Incoming>,
    place: Arc<OwnedSemaphorePermit>,
) -> Result<Answer, Refusal> {
    let uri = request.uri();
    if uri.authority().is_some() {
        return Err(Refusal::forbidden("the engine is asked for a path, and no other host"));
    }
    let call = route::call(request.method(), uri.path())?;
    check_head(&call, request.headers())?;
    let query = Query::read(uri.query().unwrap_or_default())?;
    if call != Call::Build {
        query.check(call.parameters())?;
    }
    if let Some(needed) = call.needs().filter(|needed| query.get(needed).is_none()) {
        return Err(Refusal::forbidden(format!("the parameter `{needed}` is missing")));
    }
    let target = match (uri.path(), query.write()) {
        (path, query) if query.is_empty() => path.to_owned(),
        (path, query) => format!("{path}?{query}"),
    };
    let forward = Forward { guard, method: request.method().clone(), target };
    match call {
        Call::Build => forward.build(query, request).await,
        Call::CreateContainer => {
            let body = forward.body(request, MAX_BODY).await?;
            forward.create_container(&body).await
        }
        Call::CreateVolume => {
            let body = volume::check(&forward.body(request, MAX_BODY).await?)?;
            forward.whole(body.into(), Some(JSON)).await.map(|(answer, _)| answer)
        }
        Call::RemoveVolume { name } => {
            no_body(&request)?;
            guard.own_volume(&name).await?;
            forward.whole(Bytes::new(), None).await.map(|(answer, _)| answer)
        }
        Call::Container { id, act } => forward.container(&id, act, request, place).await,
        Call::Look | Call::ListImages | Call::InspectImage | Call::ListContainers | Call::InspectVolume => {
            no_body(&request)?;
            forward.whole(Bytes::new(), None).await.map(|(answer, _)| answer)
        }
    }
}

/// A body has a length from the first, and nobody but who attaches asks for another protocol.
fn check_head(call: &Call, headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::forbidden("a body has to have a length (`content-length`): no other is sent by Nexus"));
    }
    let attaches = matches!(call, Call::Container { act: Act::Attach, .. });
    let upgrades = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    let asked = headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"upgrade"));
    match (attaches, upgrades) {
        (true, Some(b"tcp")) if asked => Ok(()),
        (true, _) => Err(Refusal::forbidden("who attaches asks for an upgrade to `tcp`")),
        (false, Some(_)) => Err(Refusal::forbidden("only who attaches to a container may ask for another protocol")),
        (false, None) => Ok(()),
    }
}

fn no_body(request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.body().is_end_stream() { Ok(()) } else { Err(Refusal::forbidden("this call has no body")) }
}

/// A call that goes on to the engine.
struct Forward<'a> {
    guard: &'a Arc<Guard>,
    method: Method,
    /// Path and query, written again.
    target: String,
}

impl Forward<'_> {
    async fn body(&self, request: Request<Incoming>, limit: usize) -> Result<Bytes, Refusal> {
        match timeout(self.guard.settings.body, Limited::new(request.into_body(), limit).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large("the body", limit)),
            Ok(Err(_)) | Err(_) => Err(Refusal::forbidden("the body did not come whole, or not in time")),
        }
    }

    async fn send(&self, body: Bytes, content: Option<&'static str>) -> Result<Response<Incoming>, Refusal> {
        self.guard.engine.send(request(self.method.clone(), self.target.clone(), body, content)?).await
    }

    /// An answer that is no stream: the status, and the bytes as they were read.
    async fn whole(&self, body: Bytes, content: Option<&'static str>) -> Result<(Answer, Bytes), Refusal> {
        let (head, body) = self.send(body, content).await?.into_parts();
        let body = self.guard.engine.read(body).await?;
        Ok((answer_of(&head, Either::Left(Full::new(body.clone()))), body))
    }

    /// An answer that is passed on as it comes. It ends with either side.
    async fn stream(&self) -> Result<Answer, Refusal> {
        let (head, body) = self.send(Bytes::new(), None).await?.into_parts();
        Ok(answer_of(&head, Either::Right(body)))
    }

    async fn build(mut self, query: Query, incoming: Request<Incoming>) -> Result<Answer, Refusal> {
        let checked = build::check(query, self.guard.settings.memory)?;
        let path = incoming.uri().path().to_owned();
        let body = incoming.into_body();
        if body.size_hint().lower() > build::MAX_CONTEXT as u64 {
            return Err(Refusal::too_large("the context", build::MAX_CONTEXT));
        }
        let found = self.guard.engine.describe(&format!("/images/{}/json", checked.name)).await?;
        if found.is_some_and(|found| !build::is_own(&found)) {
            let name = checked.name;
            return Err(Refusal::forbidden(format!(
                "the name `{name}` is that of an image that Nexus did not build here"
            )));
        }
        self.target = format!("{path}?{}", checked.query);
        let sent: Sent = Either::Right(Limited::new(body, build::MAX_CONTEXT));
        let mut made = request(self.method.clone(), self.target.clone(), Bytes::new(), Some(TAR))?;
        *made.body_mut() = sent;
        let (head, body) = self.guard.engine.send(made).await?.into_parts();
        Ok(answer_of(&head, Either::Right(body)))
    }

    async fn create_container(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let checked = container::check(body, &self.guard.allowed)?;
        if let Some(other) = &checked.joins
            && self.guard.kind(other).await? != Kind::Sandbox
        {
            return Err(Refusal::forbidden("the container whose network is to be joined never runs"));
        }
        if let Some(volume) = &checked.volume {
            self.guard.own_volume(volume).await?;
        }
        let (answer, told) = self.whole(checked.body.into(), Some(JSON)).await?;
        if answer.status() == StatusCode::CREATED {
            let told: Value = serde_json::from_slice(&told).unwrap_or_default();
            if let Some(id) = told.get("Id").and_then(Value::as_str).filter(|id| route::is_container_id(id)) {
                self.guard.known.remember(id, checked.kind);
            }
        }
        Ok(answer)
    }

    async fn container(
        &self,
        id: &str,
        act: Act,
        incoming: Request<Incoming>,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Answer, Refusal> {
        let kind = self.guard.kind(id).await?;
        match (act, kind) {
            (Act::Inspect | Act::Remove, _) | (Act::Start | Act::Kill, Kind::Sandbox) => {
                no_body(&incoming)?;
                self.whole(Bytes::new(), None).await.map(|(answer, _)| answer)
            }
            (Act::Wait, Kind::Sandbox) => {
                no_body(&incoming)?;
                self.stream().await
            }
            (Act::Attach, Kind::Sandbox) => {
                no_body(&incoming)?;
                self.attach(incoming, place).await
            }
            (Act::Fill, Kind::Holder) => {
                let body = archive::check(&self.body(incoming, archive::MAX_BYTES).await?)?;
                self.whole(body.into(), Some(TAR)).await.map(|(answer, _)| answer)
            }
            (Act::Fill, Kind::Sandbox) => Err(Refusal::forbidden("nothing is put into a container that runs")),
            (_, Kind::Holder) => {
                Err(Refusal::forbidden("this container was made to give a volume away, and never runs"))
            }
        }
    }

    /// The connection becomes the container's streams.
    async fn attach(&self, incoming: Request<Incoming>, place: Arc<OwnedSemaphorePermit>) -> Result<Answer, Refusal> {
        let mut asked = request(self.method.clone(), self.target.clone(), Bytes::new(), None)?;
        asked.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        asked.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
        let mut answer = self.guard.engine.send(asked).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = answer.into_parts();
            let body = self.guard.engine.read(body).await?;
            return Ok(answer_of(&head, Either::Left(Full::new(body))));
        }
        let (there, here) = (upgrade::on(&mut answer), upgrade::on(incoming));
        let (ended, limit) = (self.guard.engine.ended.clone(), self.guard.settings.head);
        self.guard.engine.tasks.spawn(async move {
            let _place = place;
            let carried = async {
                let Ok((Ok(here), Ok(there))) = timeout(limit, async { tokio::join!(here, there) }).await else {
                    return;
                };
                carry::both_ways(TokioIo::new(here), TokioIo::new(there), carry::LINGER).await;
            };
            tokio::select! {
                () = ended.cancelled_owned() => {}
                () = carried => {}
            }
        });
        let (head, _) = answer.into_parts();
        let mut answer = answer_of(&head, Either::Left(Full::default()));
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
        Ok(answer)
    }
}

fn answer_of(head: &http::response::Parts, body: Either<Full<Bytes>, Incoming>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    for name in PASSED_ON {
        if let Some(value) = head.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

impl Guard {
    /// What a container is for; one that is not of Nexus is not there.
    async fn kind(&self, id: &str) -> Result<Kind, Refusal> {
        if let Some(kind) = self.known.kind(id) {
            return Ok(kind);
        }
        let found = self.engine.describe(&format!("/containers/{id}/json")).await?.unwrap_or_default();
        let of = |part: &str, name: &str| found.get(part).and_then(|part| part.get(name)).cloned().unwrap_or_default();
        if found.get("Id").and_then(Value::as_str) != Some(id) || !of("Config", "Labels")[OWNER].is_string() {
            return Err(Refusal::no_container(id));
        }
        let runs = of("HostConfig", "ReadonlyRootfs") == Value::Bool(true);
        let kind = if runs { Kind::Sandbox } else { Kind::Holder };
        self.known.remember(id, kind);
        Ok(kind)
    }

    /// Nothing, if the volume is there and was made by Nexus.
    async fn own_volume(&self, name: &str) -> Result<(), Refusal> {
        match self.engine.describe(&format!("/volumes/{name}")).await? {
            Some(found) if volume::is_own(&found, name) => Ok(()),
            Some(_) => Err(Refusal::forbidden(format!("the volume `{name}` was not made by Nexus"))),
            None => Err(Refusal { status: StatusCode::NOT_FOUND, why: format!("there is no volume {name}") }),
        }
    }
}
