//! Requests that were turned away for what the caller may do or use.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a request was turned away, or a model not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No good key (401).
    Unauthorized,
    /// The key may not do this, or the request came from elsewhere (403).
    Forbidden,
    /// Above the rate of a key or an application (429).
    RateLimited,
    /// Above a budget (402), calls in the background included.
    OverBudget,
}

impl Refusal {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Unauthorized, Self::Forbidden, Self::RateLimited, Self::OverBudget];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::OverBudget => "over_budget",
        }
    }
}

/// One counter for each [`Refusal`], in the order of [`Refusal::ALL`].
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    pub(crate) fn record(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> [u64; Refusal::ALL.len()] {
        Refusal::ALL.map(|refusal| self.0[refusal as usize].load(Relaxed))
    }
}
