//! What the server says about an operation on its way to code.

use serde::Deserialize;

/// The part of `GET …/optimization` that is shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Standing {
    pub(super) state: String,
    pub(super) distinct_inputs: u64,
    pub(super) needed_inputs: u64,
    pub(super) evidence: Option<Evidence>,
    pub(super) live: Score,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Evidence {
    pub(super) required_agreement: f64,
    pub(super) attempts: Vec<Attempt>,
    pub(super) gate: Option<Score>,
    pub(super) refused: Option<Refusal>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    pub(super) repair: Score,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) detail: String,
}

/// How often code and model agreed.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Score {
    pub(super) n: u32,
    pub(super) handled: u32,
    pub(super) agreed: u32,
}

impl Score {
    /// The share of handled inputs with equal answers; `None` when none was handled.
    pub(super) fn agreement(&self) -> Option<f64> {
        (self.handled > 0).then(|| f64::from(self.agreed) / f64::from(self.handled))
    }

    /// The share of inputs that were handled; `None` when there were none.
    pub(super) fn coverage(&self) -> Option<f64> {
        (self.n > 0).then(|| f64::from(self.handled) / f64::from(self.n))
    }
}

impl Standing {
    /// Whether the oracle has decided.
    pub(super) fn decided(&self) -> bool {
        matches!(self.state.as_str(), "active" | "refused" | "ready" | "recommended" | "demoted" | "off")
    }

    /// Whether code answers.
    pub(super) fn compiled(&self) -> bool {
        self.state == "active"
    }

    /// The score that the decision rests on: the sealed set, or the last attempt's repair set if none came that far.
    pub(super) fn score(&self) -> Option<Score> {
        let evidence = self.evidence.as_ref()?;
        evidence.gate.or_else(|| Some(evidence.attempts.last()?.repair))
    }

    /// Why code was refused.
    pub(super) fn refused_because(&self) -> Option<String> {
        let refused = self.evidence.as_ref().filter(|_| !self.compiled())?.refused.as_ref()?;
        Some(format!("{}: {}", refused.reason, refused.detail))
    }
}
