//! One line of JSON per operation.

use serde::Serialize;

use super::progress::{Progress, median};

/// How one operation went.
#[derive(Serialize)]
pub(super) struct Line {
    operation: String,
    calls: usize,
    path: ByPath<usize>,
    /// On the sealed set; on the last attempt's repair set if none came that far.
    agreement: Option<f64>,
    /// On the same inputs.
    coverage: Option<f64>,
    /// Median round trip over HTTP; the model's is that of its recordings.
    p50_us: ByPath<Option<u64>>,
    compiled: bool,
    refused_because: Option<String>,
}

#[derive(Serialize)]
struct ByPath<T> {
    component: T,
    model: T,
}

impl Line {
    pub(super) fn of(progress: &Progress) -> Self {
        let score = progress.standing.score();
        let p50 = |micros: &[u64]| median(micros).map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        Self {
            operation: progress.name(),
            calls: progress.calls(),
            path: ByPath { component: progress.component.len(), model: progress.model.len() },
            agreement: score.and_then(|score| score.agreement()),
            coverage: score.and_then(|score| score.coverage()),
            p50_us: ByPath { component: p50(&progress.component), model: p50(&progress.model) },
            compiled: progress.standing.compiled(),
            refused_because: progress.standing.refused_because(),
        }
    }
}
