//! The HTTP side.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Faults, Latency, Replay, Stats, WHAT, handler, missing::Missing, ollama};

/// The largest request, in bytes.
const MAX_BODY: usize = 8 << 20;

/// How recordings are replayed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Decides about chance: the same requests in the same order meet the same faults and latencies.
    pub seed: u64,
    /// How long answers take.
    pub latency: Latency,
    /// Faults on purpose.
    pub faults: Faults,
    /// The key that requests must have, each where its protocol puts it.
    pub key: Option<SecretString>,
    /// Whether a coder's recording that was made with another prompt is an error.
    pub strict_coder: bool,
    /// The folder for requests without a recording.
    pub missing: Option<PathBuf>,
}

/// What the handlers share.
pub(super) struct Shared {
    pub(super) replay: Arc<Replay>,
    pub(super) options: Options,
    pub(super) missing: Option<Missing>,
    pub(super) stop: CancellationToken,
    stats: Mutex<Stats>,
    /// How often each recording was asked for.
    turns: Mutex<HashMap<String, u64>>,
}

impl Shared {
    pub(super) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a recording was asked for before. There are at most as many counters as recordings.
    pub(super) fn turn(&self, recording: &str) -> u64 {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let next = turns.entry(recording.to_owned()).or_default();
        *next += 1;
        *next - 1
    }
}

/// The stand-in's routes: `POST /v1/chat/completions` (`OpenAI`), `POST /v1/messages` (Anthropic), `POST /api/chat`
/// and `GET /api/tags` (Ollama), `GET /v1/models`, `GET /healthz`, `GET /stats`. Answers that are on
/// their way end early when `stop` is cancelled.
pub fn router(replay: Arc<Replay>, options: Options, stop: CancellationToken) -> Router {
    let shared = Shared {
        replay,
        missing: options.missing.clone().map(Missing::new),
        options,
        stop,
        stats: Mutex::default(),
        turns: Mutex::default(),
    };
    Router::new()
        .route("/v1/chat/completions", post(handler::openai))
        .route("/v1/messages", post(handler::anthropic))
        .route("/api/chat", post(handler::ollama))
        .route("/api/tags", get(tags))
        .route("/v1/models", get(models))
        .route("/healthz", get(|| async { Json(json!({ "status": "ok", "what": WHAT })) }))
        .route("/stats", get(stats))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(shared))
}

async fn models(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let model = |id: &str| json!({ "id": id, "object": "model", "created": 0, "owned_by": WHAT });
    Json(json!({ "object": "list", "data": shared.replay.models().map(model).collect::<Vec<_>>() }))
}

async fn tags(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(ollama::tags(shared.replay.models()))
}

async fn stats(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let stats = shared.stats().clone();
    Json(json!({ "what": WHAT, "stats": stats, "recordings": shared.replay.summary() }))
}
