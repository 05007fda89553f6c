//! Language models behind the port [`nexus_model::ModelProvider`].
//!
//! [`LanguageModels`] sends rendered messages, or a conversation with tools, to a provider (`OpenAI` and whatever speaks its
//! chat completions, Anthropic, Ollama), streams the answer, checks it against a JSON Schema and asks once more when it does
//! not satisfy it. What a model wants of tools is given back to whoever asked. Whatever goes wrong has a named kind and a hint. The crate reads no environment and no files: keys come from the caller, see
//! [`KeyResolver`].
//!
//! One exchange moves the bytes for all providers, with bounds on a message, an answer, a refusal, a stream and the time;
//! what a provider is sent and sends back is one small file of pure functions each (`wire/`).
//!
//! # Why not genai
//!
//! The library `genai` maps the same formats and more. Its version 0.7.2 was read and measured, and cannot be held to these
//! bounds:
//!
//! - `webc/web_stream.rs`: `process_buff_string_sse` and `process_buff_string_delimited` keep the open message without a
//!   bound, and copy, normalise and split all of it again for each piece that arrives, in a loop of `poll_next` that does not
//!   yield. An endless line held its thread for 157 s past a time-out of 10 s.
//! - `StreamResponse::text` (`webc/stream_transport.rs`) and `WebResponse::from_reqwest_response` (`webc/web_client.rs`) read
//!   an error's body, and a whole answer, without a bound. An endless error body took 1.35 GiB.
//! - Neither can be bounded from outside. `ClientBuilder::with_reqwest` takes a finished `reqwest::Client`, which has time-outs
//!   but no limit on bytes; a time-out cannot end a poll that does not return. `WebConfig` sets time-outs and headers only.
//! - The mapping cannot be used without its transport: `Adapter`, `AdapterDispatcher` and `WebRequestData` (`adapter/mod.rs`)
//!   and `WebClient` (`webc/mod.rs`) are private to the crate, and `Adapter::to_chat_stream` takes a `RequestBuilder`, not
//!   bytes. `ChatFrameSink` is shown messages once they are whole.

mod answer;
mod calls;
mod chain;
mod exchange;
mod failure;
mod frames;
mod hint;
mod prices;
mod probe;
mod provider;
mod question;
mod schema;
mod settings;
mod telemetry;
mod tokens;
mod wire;

pub use answer::MAX_ANSWER_BYTES;
pub use chain::{MAX_CHAIN, fallback_faults};
pub use prices::{PriceList, Priced};
pub use probe::Probe;
pub use provider::{KeyResolver, LanguageModels, LlmError};
pub use settings::{Endpoint, InvalidEndpoint, KeyReference, ModelSettings, Price, Provider, ResponseFormat};
