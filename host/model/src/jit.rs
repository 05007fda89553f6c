//! What the oracle knows about one operation, and what it can show for it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{AnsweredBy, Usage, VersionHash};

/// Where an operation stands on its way from model to code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JitState {
    /// Too few distinct inputs so far.
    Profiling,
    /// Enough evidence; waits for somebody to say compile (mode `recommend`).
    Recommended,
    /// Code is being written, built and checked.
    Compiling,
    /// A candidate passed the checks and waits for `promote`.
    Ready,
    /// Code answers.
    Active,
    /// The last try was refused; the next needs more evidence.
    Refused,
    /// Somebody took the code out of service.
    Demoted,
    /// The operation is never compiled: mode `off`, or a component written by hand.
    Off,
}

impl JitState {
    /// The word used in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Profiling => "profiling",
            Self::Recommended => "recommended",
            Self::Compiling => "compiling",
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Refused => "refused",
            Self::Demoted => "demoted",
            Self::Off => "off",
        }
    }
}

/// How often code and model agreed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Inputs compared.
    pub n: u64,
    /// Inputs that the code answered with a value that satisfies the schema.
    pub handled: u64,
    /// Handled inputs on which the answers are equal.
    pub agreed: u64,
    /// Inputs on which the code abstained.
    pub abstained: u64,
    /// Inputs on which the code failed, trapped, or broke the output schema.
    pub failed: u64,
}

impl Agreement {
    /// The share of handled inputs on which code and model agree; 0 when none was handled.
    pub fn rate(&self) -> f64 {
        ratio(self.agreed, self.handled)
    }

    /// The share of inputs that the code handles.
    pub fn coverage(&self) -> f64 {
        ratio(self.handled, self.n)
    }
}

impl std::ops::Add for Agreement {
    type Output = Self;

    /// What was found on both sets of inputs together.
    fn add(self, other: Self) -> Self {
        Self {
            n: self.n + other.n,
            handled: self.handled + other.handled,
            agreed: self.agreed + other.agreed,
            abstained: self.abstained + other.abstained,
            failed: self.failed + other.failed,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of inputs stay far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Why code was not allowed to take over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable word: `parse`, `forbidden_name`, `build`, `own_tests`, `output_schema`, `coverage`, `memorised`,
    /// `agreement`, `gate_size`, `coder`.
    pub reason: String,
    /// The whole story, with the figures.
    pub detail: String,
}

/// One candidate and how far it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 is the first; up to three repairs follow.
    pub number: u32,
    /// SHA-256 of the prompt that the coder model was given.
    pub prompt_sha256: String,
    /// SHA-256 of the candidate's source; empty when the coder gave none.
    pub source_sha256: String,
    /// Score on the repair set.
    pub repair: Agreement,
    /// Why it was not good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// What the coder model used.
    pub usage: Usage,
    /// The model that wrote it; a fall-back of the coder may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coder: Option<AnsweredBy>,
}

/// What stands behind a decision about code; `evidence.json` beside the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The operation's version that the code was written for.
    pub version: VersionHash,
    /// When the decision was made.
    #[serde(with = "time::serde::rfc3339")]
    pub decided_at: OffsetDateTime,
    /// Distinct inputs known at that time.
    pub distinct_inputs: u64,
    /// Inputs shown to the coder model.
    pub examples: u64,
    /// The agreement that was asked for.
    pub required_agreement: f64,
    /// The candidates, in order.
    pub attempts: Vec<Attempt>,
    /// The chosen candidate on the sealed set, which no coder ever saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Agreement>,
    /// Share of agreement on the sealed set.
    pub gate_agreement: f64,
    /// Share of the sealed set that the code handles.
    pub gate_coverage: f64,
    /// Lower end of the one-sided 95 % Clopper–Pearson interval of the agreement: what n really supports.
    pub gate_agreement_lower_95: f64,
    /// SHA-256 of the built component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_sha256: Option<String>,
    /// Why the code was refused, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// What writing the code cost, failures included.
    pub usage: Usage,
}

/// The oracle's record of one operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JitRecord {
    /// The operation's version that this is about. Another version starts again.
    pub version: VersionHash,
    /// Where it stands.
    pub state: JitState,
    /// Distinct inputs that the next try needs; doubles with each refusal.
    pub needed_inputs: u64,
    /// The number of the newest committed code, `v<N>` on the branch; 0 when there is none.
    pub code: u32,
    /// SHA-256 of the component that is active, or ready to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// What stands behind the last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Component answers that the model was asked again about, since the code became active.
    pub live: Agreement,
    /// When the state last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub changed_at: OffsetDateTime,
}
