//! Calls with an idempotency key: the answer of the first is kept for a day and told again.
//!
//! A call that was begun and whose answer is not known, because the host died meanwhile, is made again once its time is over,
//! with the same key: a tool that honours keys has its effect once, others at least once.

use std::time::{Duration, Instant};

use nexus_model::{
    AppName, CatalogueError, Durability, Key, StoreError, ToolAnswered, ToolContent, Write, canonical_json, sha256_hex,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::any::refused;
use crate::Core;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);
/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// What is known of a call.
#[derive(Serialize, Deserialize)]
struct Known {
    /// Of the tool and its arguments.
    hash: String,
    /// When a call that is under way may be given up, as a Unix time in milliseconds.
    until: i64,
    answer: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
enum Kept {
    Result(Value),
    Content { blocks: Vec<Value>, structured: Option<Value>, failed: bool },
    Refused(String),
}

/// Makes a call unless it was made before.
pub(super) async fn call<F>(
    core: &Core,
    app: &AppName,
    key: &str,
    (tool, arguments): (&str, &Value),
    until: Instant,
    make: impl FnOnce() -> F,
) -> Result<ToolAnswered, CatalogueError>
where
    F: Future<Output = Result<ToolAnswered, CatalogueError>>,
{
    if key.is_empty() || key.len() > MAX_KEY {
        return Ok(refused("invalid_arguments", &format!("an idempotency key has 1 to {MAX_KEY} bytes")));
    }
    let hash = sha256_hex(canonical_json(&json!([tool, arguments])));
    let place = Key::of_app(app, "tool-call", key);
    let now = millis();
    let left = i64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0);
    let begun = Known { hash: hash.clone(), until: now + left, answer: None };
    let mut before = None;
    for _ in 0..2 {
        if core
            .runtime()
            .compare_and_set(&place, before.as_deref(), text(&begun), Some(KEPT))
            .await
            .map_err(|error| of_store(&error))?
        {
            let answered = make().await;
            return keep(core, place, begun, answered).await;
        }
        before = core.runtime().get(&place).await.map_err(|error| of_store(&error))?;
        let Some(known) = before.as_deref().and_then(|known| serde_json::from_slice::<Known>(known).ok()) else {
            continue;
        };
        if known.hash != hash {
            return Ok(refused("idempotency_key_reused", "the key was used for another call"));
        }
        match known.answer {
            Some(answer) => return Ok(answer.into()),
            None if known.until > now => break,
            None => {}
        }
    }
    Ok(refused("in_progress", "a call with this key is under way: try again later"))
}

/// Keeps an answer; a call that was not answered may be made again.
async fn keep(
    core: &Core,
    place: Key,
    mut known: Known,
    answered: Result<ToolAnswered, CatalogueError>,
) -> Result<ToolAnswered, CatalogueError> {
    let write = match &answered {
        Ok(answer) => {
            known.answer = Some(answer.clone().into());
            Write::Set { key: place, value: text(&known), ttl: Some(KEPT) }
        }
        Err(_) => Write::Delete { key: place },
    };
    core.runtime().write(vec![write], Durability::Synced).await.map_err(|error| of_store(&error))?;
    answered
}

fn text(known: &Known) -> Vec<u8> {
    serde_json::to_vec(known).unwrap_or_default()
}

fn millis() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn of_store(error: &StoreError) -> CatalogueError {
    tracing::error!(%error, "calls with an idempotency key could not be looked up");
    CatalogueError::Unavailable("the runtime store is unavailable: try again later".to_owned())
}

impl From<ToolAnswered> for Kept {
    fn from(answered: ToolAnswered) -> Self {
        match answered {
            ToolAnswered::Result(value) => Self::Result(value),
            ToolAnswered::Content(ToolContent { blocks, structured, failed }) => {
                Self::Content { blocks, structured, failed }
            }
            ToolAnswered::Refused(why) => Self::Refused(why),
        }
    }
}

impl From<Kept> for ToolAnswered {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Result(value) => Self::Result(value),
            Kept::Content { blocks, structured, failed } => Self::Content(ToolContent { blocks, structured, failed }),
            Kept::Refused(why) => Self::Refused(why),
        }
    }
}
