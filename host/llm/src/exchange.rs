//! One question to an endpoint and its streamed answer: the bytes, whoever the provider is.

use std::time::{Duration, Instant};

use nexus_model::{ChatMessage, ModelErrorKind, TokenSink, ToolRequest};
use reqwest::{
    Response,
    header::{HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use tokio::{task::coop::consume_budget, time::timeout};
use tracing::Instrument;

use crate::{
    answer::{MAX_ANSWER_BYTES, cut},
    calls::{Calls, MAX_CALLS},
    failure::{Failure, broken, late, refused},
    frames::{FrameReader, MAX_MESSAGE_BYTES},
    question::Question,
    settings::{ModelSettings, Provider},
    telemetry::{self, Asked},
    tokens::{Reported, Tokens},
    wire::{Part, Stop},
};

/// The most of a refusal that is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;
/// The most bytes of a stream: the longest answer, letter by letter in messages of 256 bytes.
const MAX_STREAM_BYTES: usize = 256 * MAX_ANSWER_BYTES;
/// The longest name of a model that is repeated, in characters.
const MODEL_NAME_CHARS: usize = 200;

/// A whole answer, not read yet.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// The tools that the model wants to be used.
    pub(crate) calls: Vec<ToolRequest>,
    /// The model that the provider says has answered.
    pub(crate) model: Option<String>,
}

/// A key, ready to be sent.
pub(crate) struct Key {
    pub(crate) secret: SecretString,
    pub(crate) header: (HeaderName, HeaderValue),
}

/// What stays the same over the rounds of one request.
pub(crate) struct Exchange<'a> {
    pub(crate) client: &'a reqwest::Client,
    pub(crate) settings: &'a ModelSettings,
    pub(crate) key: Option<&'a Key>,
    pub(crate) question: Question<'a>,
    /// How long all rounds together may take, and when they began.
    pub(crate) time: Duration,
    pub(crate) begun: Instant,
}

impl Exchange<'_> {
    /// Sends the messages and collects the answer; `sink` gets each piece as it comes. What the provider counts is added
    /// to `used`, also when the answer is of no use.
    pub(crate) async fn ask(
        &self,
        messages: &[ChatMessage],
        sink: Option<&mut (dyn TokenSink + '_)>,
        used: &mut Tokens,
    ) -> Result<Answer, Failure> {
        let ModelSettings { provider, model, endpoint, .. } = self.settings;
        let output = if self.question.schema.is_some() { "json" } else { "text" };
        let asked = Asked::new(provider.as_str(), model, endpoint, output);
        let before = *used;
        let left = self.time.saturating_sub(self.begun.elapsed());
        let answer = timeout(left, self.exchange(messages, sink, used).instrument(asked.span()));
        let outcome = answer.await.unwrap_or_else(|_| Err(late(self.time)));
        let told = outcome.as_ref().map(|answer| answer.model.as_deref()).map_err(|failure| failure.kind.code());
        let (input, output) = (used.input() - before.input(), used.output - before.output);
        asked.tell(told, input, output);
        outcome
    }

    async fn exchange(
        &self,
        messages: &[ChatMessage],
        sink: Option<&mut (dyn TokenSink + '_)>,
        used: &mut Tokens,
    ) -> Result<Answer, Failure> {
        let provider = self.settings.provider;
        let call = self.client.post(self.settings.endpoint.call(provider.path()));
        let mut call = call.headers(telemetry::trace_fields());
        for (name, value) in provider.headers() {
            call = call.header(*name, *value);
        }
        if let Some(Key { header: (name, value), .. }) = self.key {
            call = call.header(name, value);
        }
        let body = provider.body(self.settings, &self.question, messages);
        // Until the count is told: who gives up waiting does not know what was used.
        let before = std::mem::replace(&mut used.incomplete, true);
        let response = call.json(&body).send().await.map_err(|error| broken(&error));
        let response = match response {
            Ok(response) if response.status().is_success() => response,
            Ok(response) => {
                used.incomplete = before;
                return Err(refusal(response).await);
            }
            Err(failure) => {
                used.incomplete = before;
                return Err(failure);
            }
        };
        let mut collected = Collected::default();
        let tools = !self.question.tools.is_empty();
        let outcome = collect(provider, tools, response, sink, &mut collected).await;
        used.incomplete = before;
        used.add(collected.tokens);
        outcome.and_then(|end_mark| collected.finish(end_mark, messages)).map(|answer| self.without_key(answer))
    }

    /// The name of a model is kept and shown: one that repeats the key is none.
    fn without_key(&self, answer: Answer) -> Answer {
        let secret = self.key.map(|key| key.secret.expose_secret());
        let model = answer.model.filter(|name| secret.is_none_or(|secret| !name.contains(secret)));
        Answer { model: model.map(|name| cut(&name, MODEL_NAME_CHARS)), ..answer }
    }
}

async fn refusal(mut response: Response) -> Failure {
    let mut body = Vec::new();
    // A refusal that breaks off is a refusal all the same.
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(&bytes);
        if body.len() >= MAX_REFUSAL_BYTES {
            body.truncate(MAX_REFUSAL_BYTES);
            break;
        }
    }
    refused(response.status(), response.headers(), &String::from_utf8_lossy(&body), OffsetDateTime::now_utc())
}

/// Reads the stream; says whether it came to its end mark.
async fn collect(
    provider: Provider,
    tools: bool,
    mut response: Response,
    mut sink: Option<&mut (dyn TokenSink + '_)>,
    collected: &mut Collected,
) -> Result<bool, Failure> {
    let mut reader = FrameReader::new(provider.framing());
    let mut received = 0;
    while let Some(bytes) = response.chunk().await.map_err(|error| broken(&error))? {
        // An endpoint that always has more to say must not keep the time-out from being seen.
        consume_budget().await;
        received += bytes.len();
        if received > MAX_STREAM_BYTES {
            return Err(too_large(MAX_STREAM_BYTES));
        }
        for message in reader.read(&bytes).map_err(|_| too_large(MAX_MESSAGE_BYTES))? {
            if collected.take(provider.read(&message, tools)?, sink.as_deref_mut())? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[derive(Default)]
struct Collected {
    text: String,
    calls: Calls,
    /// Bytes of the answer, of its calls and of the reasoning before it.
    size: usize,
    tokens: Reported,
    model: Option<String>,
    stop: Option<Stop>,
}

impl Collected {
    /// Adds a message; says whether it is the last.
    fn take(&mut self, part: Part, sink: Option<&mut (dyn TokenSink + '_)>) -> Result<bool, Failure> {
        self.tokens.update(part.tokens);
        self.model = self.model.take().or(part.model);
        self.stop = part.stop.or(self.stop);
        self.size += part.text.len() + part.thought;
        self.size +=
            part.calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len()).sum::<usize>();
        if self.size > MAX_ANSWER_BYTES {
            return Err(too_large(MAX_ANSWER_BYTES));
        }
        for call in part.calls {
            self.calls.add(call).map_err(|_| {
                Failure::new(ModelErrorKind::TooLarge, format!("more than {MAX_CALLS} tools are wanted at one time"))
            })?;
        }
        if !part.text.is_empty() {
            self.text.push_str(&part.text);
            if let Some(sink) = sink {
                sink.token(&part.text);
            }
        }
        Ok(part.end)
    }

    /// The answer, if the stream came to its end: its end mark, or at least the reason why the model stopped.
    fn finish(self, end_mark: bool, conversation: &[ChatMessage]) -> Result<Answer, Failure> {
        let truncated = |why| Err(Failure::new(ModelErrorKind::Truncated, why));
        match self.stop {
            Some(Stop::Length) => truncated("the model used up the tokens that it may answer with"),
            Some(Stop::Filter) => truncated("the provider's content filter stopped the answer"),
            None if !end_mark => truncated("the stream ended without its end mark"),
            _ => Ok(Answer { text: self.text, calls: self.calls.finish(conversation), model: self.model }),
        }
    }
}

fn too_large(limit: usize) -> Failure {
    Failure::new(ModelErrorKind::TooLarge, format!("more than {limit} bytes"))
}
