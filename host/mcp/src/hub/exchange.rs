//! One question to a server and its answer, with all that comes between them.

use std::{pin::pin, sync::Arc, time::Duration};

use nexus_model::{AskError, Question, ToolCaller};
use rmcp::{
    RoleClient,
    model::{CancelledNotificationParam, ClientRequest, InputRequests, InputResponses, RequestId, ServerResult},
    service::{Peer, ServiceError},
};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::{
    connection::{Connection, Trouble},
    error::Fault,
    in_flight::{News, Sent, ask},
};

/// How often a server may ask before it answers.
const ROUNDS: usize = 10;
/// How long telling a caller, or a server that its answer is not wanted any more, may take.
const TELLING: Duration = Duration::from_secs(5);

/// What a call that is asked again brings along.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    pub(crate) responses: Option<InputResponses>,
    pub(crate) state: Option<String>,
}

/// How questions are sent, and for how long.
pub(crate) struct Exchange<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) caller: &'a Arc<dyn ToolCaller>,
    /// How long the server may take, the caller's time not counted.
    pub(crate) within: Duration,
    /// How long the caller may take for each question.
    pub(crate) answer: Duration,
    pub(crate) tasks: &'a TaskTracker,
}

impl Exchange<'_> {
    /// Asks, and asks again with what the caller says for as long as the server has questions. The server is told when this is
    /// dropped or takes too long.
    pub(crate) async fn run(&self, request: impl Fn(Answers) -> ClientRequest) -> Result<ServerResult, Trouble> {
        let mut answers = Answers::default();
        for _ in 0..ROUNDS {
            let required = match self.round(request(answers)).await? {
                ServerResult::InputRequiredResult(required) => required,
                other => return Ok(other),
            };
            let responses = match required.input_requests {
                Some(requests) => Some(self.ask_all(requests).await?),
                None => None,
            };
            answers = Answers { responses, state: required.request_state };
        }
        Err(Fault::Questions(ROUNDS).into())
    }

    async fn ask_all(&self, requests: InputRequests) -> Result<InputResponses, Trouble> {
        let mut responses = InputResponses::new();
        for (key, request) in requests {
            let mut request = serde_json::to_value(request).map_err(|error| Fault::Protocol(error.to_string()))?;
            let method = request["method"].as_str().unwrap_or_default().to_owned();
            let question = Question { key: key.clone(), method, params: request["params"].take() };
            let answer = ask(self.caller, question, self.answer).await.map_err(unanswered)?;
            responses.insert(key, answer);
        }
        Ok(responses)
    }

    async fn round(&self, request: ClientRequest) -> Result<ServerResult, Trouble> {
        let peer = self.connection.peer();
        let sent = timeout(self.within, self.connection.in_flight.send(peer, request, self.caller)).await;
        let sent = sent.map_err(|_| Fault::CallTimeout(self.within))?;
        let mut sent = sent.map_err(|error| self.connection.trouble(&error))?;
        let mut unwanted = Unwanted { peer, id: Some(sent.handle.id.clone()), tasks: self.tasks };
        let (response, later) = self.wait(&mut sent).await?;
        unwanted.id = None;
        if later {
            return Err(Fault::Later.into());
        }
        response.map_err(|error| self.connection.trouble(&error))
    }

    /// The answer, and whether a question of the server is answered with the next call.
    async fn wait(&self, sent: &mut Sent) -> Result<(Result<ServerResult, ServiceError>, bool), Trouble> {
        let (mut asking, mut later) = (0_usize, false);
        let mut deadline = pin!(sleep_until(Instant::now() + self.within));
        loop {
            let news = tokio::select! {
                biased;
                response = &mut sent.handle.rx => {
                    // What was told before the answer has perhaps not arrived here.
                    tokio::task::yield_now().await;
                    while let Ok(news) = sent.news.try_recv() {
                        later |= self.tell(news).await;
                    }
                    return Ok((response.unwrap_or(Err(ServiceError::TransportClosed)), later));
                }
                Some(news) = sent.news.recv() => news,
                () = &mut deadline, if asking == 0 => return Err(Fault::CallTimeout(self.within).into()),
            };
            match &news {
                News::Asked => asking += 1,
                News::Answered(_) => {
                    asking = asking.saturating_sub(1);
                    deadline.as_mut().reset(Instant::now() + self.within);
                }
                News::Progress(_) | News::Log(_) => {}
            }
            later |= self.tell(news).await;
        }
    }

    /// Tells the caller. Answers whether an answer comes later.
    async fn tell(&self, news: News) -> bool {
        let told = match news {
            News::Progress(progress) => timeout(TELLING, self.caller.progress(progress)).await,
            News::Log(line) => timeout(TELLING, self.caller.log(line)).await,
            News::Asked => Ok(()),
            News::Answered(error) => return error == Some(AskError::Later),
        };
        if told.is_err() {
            tracing::debug!("a caller did not listen to what a tool says");
        }
        false
    }
}

fn unanswered(error: AskError) -> Fault {
    match error {
        AskError::Later => Fault::Later,
        AskError::Unsupported(why) | AskError::Failed(why) => Fault::Unanswered(why),
    }
}

/// Tells a server that an answer is not wanted any more, when it is dropped before the answer is there.
struct Unwanted<'a> {
    peer: &'a Peer<RoleClient>,
    id: Option<RequestId>,
    tasks: &'a TaskTracker,
}

impl Drop for Unwanted<'_> {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let peer = self.peer.clone();
        let told = CancelledNotificationParam::new(Some(id), Some("nobody waits for it any more".to_owned()));
        self.tasks.spawn_on(async move { drop(timeout(TELLING, peer.notify_cancelled(told)).await) }, &runtime);
    }
}

/// The members of an object that are for the server; what the protocol itself puts there is not the caller's to say.
pub(crate) fn meta(mut meta: serde_json::Map<String, Value>) -> Option<rmcp::model::RequestMetaObject> {
    meta.retain(|name, _| name != "progressToken" && !name.starts_with("io.modelcontextprotocol/"));
    if meta.is_empty() { None } else { serde_json::from_value(Value::Object(meta)).ok() }
}
