//! What was turned away for what somebody may do or use.

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

/// Why an application's event was not delivered to another application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryRefusal {
    /// The definition of the application that emits it does not say that it calls the other.
    NotDeclared,
    /// The other's definition does not let it in.
    NotAdmitted,
}

impl DeliveryRefusal {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::NotDeclared, Self::NotAdmitted];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotDeclared => "not_declared",
            Self::NotAdmitted => "not_admitted",
        }
    }
}

/// One counter for each reason, in the order of its `ALL`.
#[derive(Debug)]
pub(crate) struct Counters<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl<const N: usize> Counters<N> {
    /// Counts the reason at this place.
    pub(crate) fn record(&self, place: usize) {
        self.0[place].fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> [u64; N] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}
