//! One question to an endpoint and its streamed answer.
//!
//! The client library `genai` is not used here: it keeps a whole line of the stream and a whole error body in memory,
//! however long they are, and searches the line again for each piece of it, so that an endless line holds its thread for
//! minutes past any time-out.

use nexus_model::{GenerateRequest, Message, ModelErrorKind, TokenSink};
use reqwest::{
    Response,
    header::{AUTHORIZATION, HeaderValue},
};
use time::OffsetDateTime;
use tokio::task::coop::consume_budget;

use crate::{
    answer::{MAX_ANSWER_BYTES, cut},
    events::{EventReader, MAX_EVENT_BYTES},
    failure::{Failure, broken, failed_midway, refused},
    settings::{ModelSettings, Provider},
    wire::{self, Chunk, Tokens},
};

/// The most of a refusal that is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;
/// The most bytes of a stream: the longest answer, letter by letter in events of 256 bytes.
const MAX_STREAM_BYTES: usize = 256 * MAX_ANSWER_BYTES;
/// The longest name of a model that is repeated, in characters.
const MODEL_NAME_CHARS: usize = 200;

/// A whole answer, not read yet.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// The model that the provider says has answered.
    pub(crate) model: Option<String>,
}

/// What stays the same over the rounds of one request.
pub(crate) struct Exchange<'a> {
    pub(crate) client: &'a reqwest::Client,
    pub(crate) settings: &'a ModelSettings,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) request: &'a GenerateRequest,
}

impl Exchange<'_> {
    /// Sends the messages and collects the answer; `sink` gets each piece as it comes. What the provider counts is added
    /// to `used`, also when the answer is of no use.
    pub(crate) async fn ask(
        &self,
        messages: &[Message],
        sink: Option<&mut (dyn TokenSink + '_)>,
        used: &mut Tokens,
    ) -> Result<Answer, Failure> {
        let Provider::OpenAi = self.settings.provider;
        let mut call = self.client.post(self.settings.endpoint.call("chat/completions"));
        if let Some(authorization) = &self.authorization {
            call = call.header(AUTHORIZATION, authorization);
        }
        let body = wire::body(self.settings, self.request, messages);
        let response = call.json(&body).send().await.map_err(|error| broken(&error))?;
        if response.status().is_success() { collect(response, sink, used).await } else { Err(refusal(response).await) }
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

async fn collect(
    mut response: Response,
    mut sink: Option<&mut (dyn TokenSink + '_)>,
    used: &mut Tokens,
) -> Result<Answer, Failure> {
    let mut reader = EventReader::default();
    let mut collected = Collected::default();
    let mut received = 0;
    while let Some(bytes) = response.chunk().await.map_err(|error| broken(&error))? {
        // An endpoint that always has more to say must not keep the time-out from being seen.
        consume_budget().await;
        received += bytes.len();
        if received > MAX_STREAM_BYTES {
            return Err(too_large(MAX_STREAM_BYTES));
        }
        for event in reader.read(&bytes).map_err(|_| too_large(MAX_EVENT_BYTES))? {
            if event == b"[DONE]" {
                return collected.finish(true, used);
            }
            collected.event(&event, sink.as_deref_mut())?;
        }
    }
    collected.finish(false, used)
}

#[derive(Default)]
struct Collected {
    text: String,
    /// Bytes of the answer and of the reasoning before it.
    size: usize,
    tokens: Tokens,
    model: Option<String>,
    finish_reason: Option<String>,
}

impl Collected {
    fn event(&mut self, event: &[u8], sink: Option<&mut (dyn TokenSink + '_)>) -> Result<(), Failure> {
        let chunk: Chunk = serde_json::from_slice(event).map_err(|error| {
            let kind = ModelErrorKind::ProviderFailed { status: 200 };
            Failure::new(kind, format!("an event of the stream is not a part of a chat completion: {error}"))
        })?;
        if let Some(error) = chunk.error {
            return Err(failed_midway(&error));
        }
        self.tokens = chunk.usage.unwrap_or(self.tokens);
        self.model = self.model.take().or(chunk.model);
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(()) };
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        let piece = choice.delta.content.unwrap_or_default();
        self.size += piece.len() + choice.delta.reasoning_content.map_or(0, |thought| thought.len());
        if self.size > MAX_ANSWER_BYTES {
            return Err(too_large(MAX_ANSWER_BYTES));
        }
        if !piece.is_empty() {
            self.text.push_str(&piece);
            if let Some(sink) = sink {
                sink.token(&piece);
            }
        }
        Ok(())
    }

    /// The answer, if the stream came to its end: its end mark, or at least the reason why the model stopped.
    fn finish(self, end_mark: bool, used: &mut Tokens) -> Result<Answer, Failure> {
        used.add(self.tokens);
        let truncated = |why| Err(Failure::new(ModelErrorKind::Truncated, why));
        match self.finish_reason.as_deref() {
            Some("length") => truncated("the model used up the tokens that it may answer with"),
            Some("content_filter") => truncated("the provider's content filter stopped the answer"),
            None if !end_mark => truncated("the stream ended without its end mark"),
            _ => Ok(Answer { text: self.text, model: self.model.map(|name| cut(&name, MODEL_NAME_CHARS)) }),
        }
    }
}

fn too_large(limit: usize) -> Failure {
    Failure::new(ModelErrorKind::TooLarge, format!("more than {limit} bytes"))
}
