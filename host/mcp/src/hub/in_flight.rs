//! The calls that are under way over one connection, and what a server has to say to whoever made them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_model::{AskError, LogLine, Progress, Question, ToolCaller};
use rmcp::{
    model::{ProgressToken, RequestId},
    service::{Peer, PeerRequestOptions, RequestHandle, RoleClient, ServiceError},
};
use serde_json::{Map, Value};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

/// What a caller has not yet been told of, at most. What comes when it is full is left out: it is news, not an answer.
const NEWS: usize = 64;
/// Questions that one connection may have open at one time.
const QUESTIONS: usize = 8;

/// What happens during a call.
#[derive(Debug)]
pub(crate) enum News {
    Progress(Progress),
    Log(LogLine),
    /// The caller is being asked.
    Asked,
    /// The caller was asked.
    Answered(Option<AskError>),
}

/// The calls that are under way over one connection.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// Held while a request is sent and noted down, so that nothing that it brings about is looked up before.
    sending: tokio::sync::Mutex<()>,
    calls: Mutex<HashMap<RequestId, Call>>,
    questions: Semaphore,
    answer: Duration,
}

#[derive(Debug, Clone)]
struct Call {
    token: ProgressToken,
    news: mpsc::Sender<News>,
    caller: Arc<dyn ToolCaller>,
    /// How often the caller was asked.
    asked: usize,
}

/// A call that was sent, noted down until this is dropped.
pub(crate) struct Sent {
    pub(crate) handle: RequestHandle<RoleClient>,
    pub(crate) news: mpsc::Receiver<News>,
    in_flight: Arc<InFlight>,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.in_flight.calls().remove(&self.handle.id);
    }
}

impl InFlight {
    /// A caller who is asked may take `answer`.
    pub(crate) fn new(answer: Duration) -> Self {
        Self {
            sending: tokio::sync::Mutex::default(),
            calls: Mutex::default(),
            questions: Semaphore::new(QUESTIONS),
            answer,
        }
    }

    /// Sends a request on behalf of a caller.
    pub(crate) async fn send(
        self: &Arc<Self>,
        peer: &Peer<RoleClient>,
        request: rmcp::model::ClientRequest,
        caller: &Arc<dyn ToolCaller>,
    ) -> Result<Sent, ServiceError> {
        let _sending = self.sending.lock().await;
        let handle = peer.send_request_with_option(request, PeerRequestOptions::no_options()).await?;
        let (sender, news) = mpsc::channel(NEWS);
        let call = Call { token: handle.progress_token.clone(), news: sender, caller: Arc::clone(caller), asked: 0 };
        self.calls().insert(handle.id.clone(), call);
        Ok(Sent { handle, news, in_flight: Arc::clone(self) })
    }

    /// Tells the caller of the call with this token.
    pub(crate) async fn progress(&self, token: &ProgressToken, progress: Progress) {
        drop(self.sending.lock().await);
        let news = self.calls().values().find(|call| call.token == *token).map(|call| call.news.clone());
        if let Some(news) = news {
            let _ = news.try_send(News::Progress(progress));
        }
    }

    /// Tells the caller, where there is one only. The protocol does not say which call a log line belongs to.
    pub(crate) async fn log(&self, line: LogLine) {
        drop(self.sending.lock().await);
        let news = self.only().map(|(_, call)| call.news);
        if let Some(news) = news {
            let _ = news.try_send(News::Log(line));
        }
    }

    /// Asks the caller of the call that a question came with; where the server does not show which that is, there must be
    /// one call only: nobody answers what another was asked.
    pub(crate) async fn ask(&self, origin: Option<RequestId>, method: &str, params: Value) -> Result<Value, AskError> {
        drop(self.sending.lock().await);
        let Ok(_place) = self.questions.try_acquire() else {
            return Err(AskError::Failed("too many questions at one time".to_owned()));
        };
        let unclear =
            || AskError::Unsupported("it cannot be told which of the calls the question belongs to".to_owned());
        let (call, key) = {
            let mut calls = self.calls();
            let id = match origin {
                Some(id) => id,
                None if calls.len() == 1 => calls.keys().next().cloned().ok_or_else(unclear)?,
                None => return Err(unclear()),
            };
            let call = calls.get_mut(&id).ok_or_else(unclear)?;
            call.asked += 1;
            (call.clone(), format!("{method}-{}", call.asked))
        };
        // Where nobody listens any more, nobody is asked.
        call.news.send(News::Asked).await.map_err(|_| unclear())?;
        let question = Question { key, method: method.to_owned(), params };
        let answered = tokio::select! {
            answered = ask(&call.caller, question, self.answer) => answered,
            () = call.news.closed() => Err(AskError::Failed("the call has ended".to_owned())),
        };
        let _ = call.news.send(News::Answered(answered.as_ref().err().cloned())).await;
        answered
    }

    fn only(&self) -> Option<(RequestId, Call)> {
        let calls = self.calls();
        let only = calls.iter().next().filter(|_| calls.len() == 1);
        only.map(|(id, call)| (id.clone(), call.clone()))
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<RequestId, Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a caller within a time. Members that an accepted form leaves out get the values that the form has for them.
pub(crate) async fn ask(caller: &Arc<dyn ToolCaller>, question: Question, within: Duration) -> Result<Value, AskError> {
    let form = question.params.get("requestedSchema").cloned();
    let answered = timeout(within, caller.ask(question)).await;
    let mut answer = answered.map_err(|_| AskError::Failed(format!("no answer within {within:?}")))??;
    let properties = form.as_ref().and_then(|form| form.get("properties")).and_then(Value::as_object);
    if let Some(properties) = properties.filter(|_| answer["action"] == "accept") {
        fill_in(properties, &mut answer);
    }
    Ok(answer)
}

fn fill_in(properties: &Map<String, Value>, answer: &mut Value) {
    let Some(answer) = answer.as_object_mut() else { return };
    let content = answer.entry("content").or_insert_with(|| Value::Object(Map::new()));
    let Some(content) = content.as_object_mut() else { return };
    for (name, property) in properties {
        if let Some(default) = property.get("default")
            && !content.contains_key(name)
        {
            content.insert(name.clone(), default.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_gets_its_default() {
        let form =
            json!({"name": {"type": "string", "default": "Ada"}, "age": {"type": "integer", "default": 36}, "no": {}});
        let mut answer = json!({"action": "accept", "content": {"age": 7}});
        fill_in(form.as_object().unwrap(), &mut answer);
        assert_eq!(answer, json!({"action": "accept", "content": {"age": 7, "name": "Ada"}}));
        let mut answer = json!({"action": "accept"});
        fill_in(form.as_object().unwrap(), &mut answer);
        assert_eq!(answer["content"], json!({"age": 36, "name": "Ada"}));
    }
}
