//! The one who called, as the protocol has him: told of a call over its stream, and asked. Up to 2025-11-25 a question is a
//! request of the server's own; from 2026-07-28 on it is what the call is answered with, and the answer comes with the next.
#![expect(deprecated, reason = "sampling, roots and logs go, but clients have them still")]

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use nexus_model::{AskError, LogLine, Progress, Question, ToolCaller};
use rmcp::{
    ErrorData, RoleServer,
    model::{
        ClientCapabilities, ClientResult, CreateMessageResult, ElicitResult, InputRequest, InputRequests,
        InputRequiredResult, InputResponses, ListRootsResult, LoggingLevel, LoggingMessageNotificationParam,
        ProgressNotificationParam, ProgressToken, ProtocolVersion, ServerRequest,
    },
    service::{Peer, RequestContext},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::rounds::{Asked, Rounds};

/// How loud a line of the log is: the first least.
const LEVELS: [LoggingLevel; 8] = [
    LoggingLevel::Debug,
    LoggingLevel::Info,
    LoggingLevel::Notice,
    LoggingLevel::Warning,
    LoggingLevel::Error,
    LoggingLevel::Critical,
    LoggingLevel::Alert,
    LoggingLevel::Emergency,
];

/// Whether a request is of a revision without sessions.
pub(crate) fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

/// The caller of one request.
pub(crate) struct McpCaller {
    peer: Peer<RoleServer>,
    capabilities: ClientCapabilities,
    progress: Option<ProgressToken>,
    /// The least that is worth telling; nothing is if there is none.
    level: Option<LoggingLevel>,
    stateless: bool,
    answers: InputResponses,
    so_far: Mutex<SoFar>,
}

/// What came of the questions until now.
#[derive(Default)]
struct SoFar {
    done: Option<f64>,
    /// Questions that have no answer yet.
    open: InputRequests,
    /// Answers that the call has seen.
    seen: InputResponses,
    /// What the caller would have to be able to.
    lacking: Option<ClientCapabilities>,
    /// What is wrong with an answer.
    wrong: Option<String>,
}

/// What is to be done instead of telling what the call answered.
pub(crate) enum Instead {
    /// The caller is asked.
    Ask(InputRequiredResult),
    /// The caller did something wrong, or cannot do what it would take.
    Refuse(ErrorData),
}

impl McpCaller {
    /// `level` is that of the session, if there is one.
    pub(crate) fn new(
        context: &RequestContext<RoleServer>,
        level: Option<LoggingLevel>,
        answers: InputResponses,
    ) -> Self {
        let stateless = is_stateless(context);
        Self {
            peer: context.peer.clone(),
            capabilities: context.client_capabilities().unwrap_or_default(),
            progress: context.meta.get_progress_token(),
            level: if stateless { context.meta.log_level() } else { level },
            stateless,
            answers,
            so_far: Mutex::default(),
        }
    }

    /// What the questions of a call come to, once it has ended. `asked` is the request where it has rounds, `failed` says whether
    /// the call did.
    pub(crate) fn instead(&self, rounds: &Rounds, asked: Option<&Asked>, failed: bool) -> Option<Instead> {
        let mut so_far = self.so_far();
        if let Some(wrong) = so_far.wrong.take() {
            return Some(Instead::Refuse(ErrorData::invalid_params(wrong, None)));
        }
        if let Some(asked) = asked
            && !so_far.open.is_empty()
        {
            let open = std::mem::take(&mut so_far.open);
            return Some(match rounds.seal(asked, &so_far.seen) {
                Ok(state) => Instead::Ask(InputRequiredResult::new(Some(open), Some(state))),
                Err(error) => Instead::Refuse(error),
            });
        }
        let lacking = so_far.lacking.take().filter(|_| failed && self.stateless)?;
        Some(Instead::Refuse(ErrorData::missing_required_client_capability(lacking)))
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the caller cannot be asked, so that he is told of it if the call needs it.
    fn check(&self, request: &InputRequest) -> Result<(), AskError> {
        let (able, what, noted): (_, _, fn(&mut ClientCapabilities)) = match request {
            InputRequest::Elicitation(_) => {
                // Who says nothing of forms can do them: there was nothing else once.
                let able = |elicitation: &rmcp::model::ElicitationCapability| {
                    elicitation.form.is_some() || elicitation.url.is_none()
                };
                let able = self.capabilities.elicitation.as_ref().is_some_and(able);
                (able, "elicitation", |lacking| lacking.elicitation = Some(<_>::default()))
            }
            InputRequest::CreateMessage(_) => (self.capabilities.sampling.is_some(), "sampling", |lacking| {
                lacking.sampling = Some(<_>::default());
            }),
            InputRequest::ListRoots(_) => (self.capabilities.roots.is_some(), "roots", |lacking| {
                lacking.roots = Some(<_>::default());
            }),
            _ => return Err(AskError::Failed("there is no such question".to_owned())),
        };
        if able {
            return Ok(());
        }
        noted(self.so_far().lacking.get_or_insert_default());
        Err(AskError::Unsupported(format!("the client does not offer `{what}`")))
    }

    /// The answer, if the caller has brought it along.
    fn brought(&self, key: String, request: &InputRequest) -> Result<Value, AskError> {
        let mut so_far = self.so_far();
        let Some(answer) = self.answers.get(&key) else {
            return match so_far.open.insert(key, request.clone()) {
                Some(other) if other != *request => Err(AskError::Failed("two questions have one key".to_owned())),
                _ => Err(AskError::Later),
            };
        };
        match fits(request, answer) {
            Ok(()) => {
                so_far.seen.insert(key, answer.clone());
                Ok(answer.clone())
            }
            Err(why) => {
                so_far.wrong = Some(format!("inputResponses: `{key}` is no answer: {why}"));
                Err(AskError::Failed(why))
            }
        }
    }

    /// The answer, asked for on the stream of the call.
    async fn asked(&self, request: InputRequest) -> Result<Value, AskError> {
        let request = match request {
            InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
            InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
            InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
            _ => return Err(AskError::Failed("there is no such question".to_owned())),
        };
        let answer = self.peer.send_request(request).await.map_err(|error| AskError::Failed(error.to_string()))?;
        match answer {
            ClientResult::CreateMessageResult(result) => told(&result),
            ClientResult::ElicitResult(result) => told(&result),
            ClientResult::ListRootsResult(result) => told(&result),
            _ => Err(AskError::Failed("the answer is to another question".to_owned())),
        }
    }
}

#[async_trait]
impl ToolCaller for McpCaller {
    async fn progress(&self, progress: Progress) {
        let Some(token) = self.progress.clone() else { return };
        let more = |done: &mut Option<f64>| {
            let more = progress.done.is_finite() && done.is_none_or(|done| progress.done > done);
            if more {
                *done = Some(progress.done);
            }
            more
        };
        if !more(&mut self.so_far().done) {
            return;
        }
        let mut told = ProgressNotificationParam::new(token, progress.done);
        (told.total, told.message) = (progress.total, progress.message);
        // Who is gone misses nothing.
        let _ = self.peer.notify_progress(told).await;
    }

    async fn log(&self, line: LogLine) {
        let place = |name: &Value| LEVELS.iter().position(|level| json!(level) == *name);
        let (Some(least), Some(level)) = (self.level.and_then(|level| place(&json!(level))), place(&json!(line.level)))
        else {
            return;
        };
        if level < least {
            return;
        }
        let mut told = LoggingMessageNotificationParam::new(LEVELS[level], line.data);
        told.logger = line.logger;
        let _ = self.peer.notify_logging_message(told).await;
    }

    async fn ask(&self, question: Question) -> Result<Value, AskError> {
        let asked = match question.method.as_str() {
            "roots/list" => json!({ "method": question.method }),
            _ => json!({ "method": question.method, "params": question.params }),
        };
        let request: InputRequest = serde_json::from_value(asked)
            .map_err(|_| AskError::Failed(format!("this is no `{}` as the protocol has it", question.method)))?;
        self.check(&request)?;
        if self.stateless { self.brought(question.key, &request) } else { self.asked(request).await }
    }
}

impl fmt::Debug for McpCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpCaller").field("stateless", &self.stateless).finish_non_exhaustive()
    }
}

fn told<T: serde::Serialize>(result: &T) -> Result<Value, AskError> {
    serde_json::to_value(result).map_err(|error| AskError::Failed(error.to_string()))
}

/// Whether a value is an answer to this question.
fn fits(request: &InputRequest, answer: &Value) -> Result<(), String> {
    fn is<T: DeserializeOwned>(answer: &Value) -> Result<(), String> {
        serde_json::from_value::<T>(answer.clone()).map(drop).map_err(|error| error.to_string())
    }
    match request {
        InputRequest::CreateMessage(_) => is::<CreateMessageResult>(answer),
        InputRequest::Elicitation(_) => is::<ElicitResult>(answer),
        InputRequest::ListRoots(_) => is::<ListRootsResult>(answer),
        _ => Err("there is no such question".to_owned()),
    }
}
