//! One compilation: write, build, check, decide. What comes out is evidence, whatever the outcome.

use std::{sync::Arc, time::Duration};

use nexus_model::{
    Agreement, Attempt, Budget, BuildError, Component, ComponentHost, ComponentKind, Evidence, LoadError, Refusal,
    Trace, Usage, sha256_hex,
};
use time::OffsetDateTime;

use super::{
    OracleConfig,
    bound::lower_95,
    candidate::{self, Candidate, refusal},
    coder::{self, Bar, Previous, Task},
    compare::{Comparison, Counterexample, compare, failing_test},
    split::{Split, split},
};
use crate::{
    budget::{Budgets, Payer, SpendError},
    registry::OperationEntry,
};

/// The reason of a compilation that the application's budget did not allow.
pub(super) const OVER_BUDGET: &str = "over_budget";
/// A gap between the score on what the coder saw and the score on the sealed set that speaks of memorising.
const MEMORISING_GAP: f64 = 0.25;

/// What ends a run that is judged is its fuel, which is the same under any load; the clock ends what fuel does not count.
const PATIENCE: Duration = Duration::from_secs(5);

/// Inputs that one lesson shows at the most.
const MAX_SHOWN: usize = 20;

/// Inputs of the repair set among them at the most, and never more than half of it: what was shown tells nothing about
/// the next candidate any more.
const MAX_REVEALED: usize = 10;

/// What one compilation came to.
pub(crate) struct Outcome {
    pub(crate) evidence: Evidence,
    /// The candidate that was judged, if any was good enough to be.
    pub(crate) candidate: Option<Candidate>,
    /// The component, if it may take over.
    pub(crate) built: Option<Built>,
}

/// A component, portable and ready to answer.
pub(crate) struct Built {
    pub(crate) bytes: Vec<u8>,
    pub(crate) component: Arc<dyn Component>,
}

/// A candidate that was built and scored.
struct Scored {
    candidate: Candidate,
    built: Built,
    /// Score on the traces that the coder has seen, the repair set included.
    seen: Agreement,
    repair: Agreement,
    refused: Option<Refusal>,
}

/// What one attempt left for the next.
struct Lesson {
    candidate: Option<Candidate>,
    complaint: String,
    counterexamples: Vec<Counterexample>,
    /// How many there were before some were chosen.
    found: usize,
}

pub(crate) struct Compilation<'a> {
    pub(crate) entry: &'a OperationEntry,
    pub(crate) budgets: &'a Budgets,
    /// What the application may spend.
    pub(crate) budget: Budget,
    pub(crate) components: &'a dyn ComponentHost,
    pub(crate) config: &'a OracleConfig,
}

impl Compilation<'_> {
    /// Runs to its end. A fault of the candidate is a refusal; what is returned as an error is a fault of the host or
    /// of the coder model, with nothing learned.
    pub(crate) async fn run(&self, traces: Vec<(String, Trace)>) -> Result<Outcome, Refusal> {
        let distinct = traces.len() as u64;
        let mut parts = split(traces);
        parts.examples.truncate(self.config.max_examples);
        let mut evidence = self.evidence(distinct, parts.examples.len() as u64);
        if (parts.gate.len() as u64) < self.config.min_gate {
            let detail =
                format!("the sealed set has {} inputs, at least {} are needed", parts.gate.len(), self.config.min_gate);
            evidence.refused = Some(refusal("gate_size", detail));
            return Ok(Outcome { evidence, candidate: None, built: None });
        }
        let best = self.attempts(&mut parts, &mut evidence).await?;
        let Some(best) = best else {
            evidence.refused = evidence.attempts.iter().rev().find_map(|attempt| attempt.refused.clone());
            return Ok(Outcome { evidence, candidate: None, built: None });
        };
        Ok(self.judge(best, &parts, evidence).await)
    }

    fn evidence(&self, distinct_inputs: u64, examples: u64) -> Evidence {
        Evidence {
            version: self.entry.version.clone(),
            decided_at: OffsetDateTime::now_utc(),
            distinct_inputs,
            examples,
            required_agreement: self.entry.operation.optimize.agreement,
            attempts: Vec::new(),
            gate: None,
            gate_agreement: 0.0,
            gate_coverage: 0.0,
            gate_agreement_lower_95: 0.0,
            component_sha256: None,
            refused: None,
            usage: Usage::NONE,
        }
    }

    /// Lets the coder write, and mend up to `repairs` times. The best candidate that could be built comes back.
    async fn attempts(&self, parts: &mut Split, evidence: &mut Evidence) -> Result<Option<Scored>, Refusal> {
        let mut best: Option<Scored> = None;
        let mut lesson: Option<Lesson> = None;
        for number in 1..=1 + self.config.repairs {
            let previous = lesson.as_ref().map(|lesson| Previous {
                candidate: lesson.candidate.as_ref(),
                complaint: lesson.complaint.clone(),
                counterexamples: &lesson.counterexamples,
                found: lesson.found,
            });
            let (entry, model) = (self.entry, &self.config.coder_model);
            let task = Task { reference: &entry.reference, operation: &entry.operation, bar: self.bar() };
            let request = coder::request(model, task, &parts.examples, number, previous.as_ref());
            tracing::info!(operation = %entry.reference, attempt = number, "asking the coder");
            let payer = Payer { app: &entry.reference.app, budget: self.budget, execution: false, spent: Usage::NONE };
            let answer = self.budgets.generate(payer, &request, None).await;
            let mut attempt = Attempt {
                number,
                prompt_sha256: coder::fingerprint(&request),
                source_sha256: String::new(),
                repair: Agreement::default(),
                refused: None,
                usage: answer.as_ref().map_or_else(SpendError::usage, |generation| generation.usage),
                coder: answer.as_ref().ok().map(|generation| generation.by.clone()),
            };
            evidence.usage = evidence.usage + attempt.usage;
            let value = match answer {
                Ok(generation) => generation.value,
                Err(error @ (SpendError::Exceeded(_) | SpendError::Store(_))) => {
                    return Err(refusal(OVER_BUDGET, error.to_string()));
                }
                Err(error) => {
                    attempt.refused = Some(refusal("coder", error.to_string()));
                    evidence.attempts.push(attempt);
                    break;
                }
            };
            let (next, scored) = self.attempt(&value, parts, &mut attempt).await?;
            evidence.attempts.push(attempt);
            let satisfied = scored.as_ref().is_some_and(|scored| scored.refused.is_none());
            best = better(best, scored);
            if satisfied {
                break;
            }
            parts.reveal(next.counterexamples.iter().map(|example| &example.input));
            lesson = Some(next);
        }
        Ok(best)
    }

    /// One candidate: read, inspected, built, tested, scored. Fills in the attempt and says what to learn from it.
    async fn attempt(
        &self,
        answer: &serde_json::Value,
        parts: &Split,
        attempt: &mut Attempt,
    ) -> Result<(Lesson, Option<Scored>), Refusal> {
        let candidate = match candidate::read(answer) {
            Ok(candidate) => candidate,
            Err(refused) => return Ok((refuse(attempt, None, refused), None)),
        };
        attempt.source_sha256 = sha256_hex(&candidate.source);
        let shown: Vec<Trace> = parts.examples.iter().chain(&parts.repair).cloned().collect();
        if let Err(refused) = candidate::inspect(&candidate, &shown) {
            return Ok((refuse(attempt, Some(candidate), refused), None));
        }
        let built = match self.build(&candidate.source).await? {
            Ok(built) => built,
            Err(refused) => return Ok((refuse(attempt, Some(candidate), refused), None)),
        };
        let (code, output, deadline) = (built.component.as_ref(), &self.entry.output, self.deadline());
        if let Some(failing) = failing_test(code, output, &candidate.tests, deadline).await {
            let refused = refusal("own_tests", format!("one of its own tests fails: {failing}"));
            return Ok((refuse(attempt, Some(candidate), refused), None));
        }
        let repair = compare(code, output, &parts.repair, deadline).await;
        let examples = compare(code, output, &parts.examples, deadline).await;
        attempt.repair = repair.agreement;
        attempt.refused = self.score(&repair, &examples);
        let seen = repair.agreement + examples.agreement;
        let lesson = lesson(&candidate, attempt.refused.as_ref(), repair, examples);
        let refused = attempt.refused.clone();
        let scored = Scored { candidate, built, seen, repair: attempt.repair, refused };
        Ok((lesson, Some(scored)))
    }

    /// Builds a candidate. The inner error is the candidate's fault, the outer the host's.
    async fn build(&self, source: &str) -> Result<Result<Built, Refusal>, Refusal> {
        let bytes = match self.components.build(source).await {
            Ok(bytes) => bytes,
            Err(BuildError::Host(reason)) => return Err(refusal("host", reason)),
            Err(error) => return Ok(Err(refusal("build", error.to_string()))),
        };
        match self.components.load(ComponentKind::Generated, &bytes).await {
            Ok(component) => Ok(Ok(Built { bytes, component })),
            Err(LoadError::Host(reason)) => Err(refusal("host", reason)),
            Err(error) => Ok(Err(refusal("build", error.to_string()))),
        }
    }

    /// Whether a candidate is good enough on what may be looked at to be shown to the sealed set.
    fn score(&self, repair: &Comparison, examples: &Comparison) -> Option<Refusal> {
        if repair.broke_schema + examples.broke_schema > 0 {
            return Some(refusal("output_schema", "some answers break the output schema"));
        }
        let required = self.entry.operation.optimize.agreement;
        // The repair set weighs as much as all that was seen: what holds on the examples alone is not a rule.
        let seen = repair.agreement + examples.agreement;
        let narrow = if repair.agreement.coverage() < seen.coverage() { repair.agreement } else { seen };
        if narrow.coverage() < self.config.min_coverage {
            return Some(refusal("coverage", told("it handles too few inputs", narrow, self.config.min_coverage)));
        }
        let worst = if repair.agreement.rate() < seen.rate() { repair.agreement } else { seen };
        disagreement("", worst, required)
    }

    /// The sealed set decides.
    async fn judge(&self, best: Scored, parts: &Split, mut evidence: Evidence) -> Outcome {
        let gate = compare(best.built.component.as_ref(), &self.entry.output, &parts.gate, self.deadline()).await;
        let found = gate.agreement;
        evidence.decided_at = OffsetDateTime::now_utc();
        evidence.gate = Some(found);
        evidence.gate_agreement = found.rate();
        evidence.gate_coverage = found.coverage();
        evidence.gate_agreement_lower_95 = lower_95(found.agreed, found.handled);
        evidence.component_sha256 = Some(best.built.component.digest().to_owned());
        // Luck with the sealed set does not make up for what went wrong in the open.
        evidence.refused = self.gate(&gate, best.seen).or(best.refused);
        let built = evidence.refused.is_none().then_some(best.built);
        Outcome { evidence, candidate: Some(best.candidate), built }
    }

    fn gate(&self, gate: &Comparison, seen: Agreement) -> Option<Refusal> {
        let (found, required) = (gate.agreement, self.entry.operation.optimize.agreement);
        if gate.broke_schema > 0 {
            return Some(refusal("output_schema", "some answers on the sealed set break the output schema"));
        }
        if found.coverage() < self.config.min_coverage {
            return Some(refusal(
                "coverage",
                told("sealed set: it handles too few inputs", found, self.config.min_coverage),
            ));
        }
        let gap = score(seen) - score(found);
        if gap > MEMORISING_GAP {
            let detail = format!(
                "it answers {:.3} of the inputs that the coder saw as the model does, but of the sealed set {:.3} (agreement \
                 {:.3}, coverage {:.3})",
                score(seen),
                score(found),
                found.rate(),
                found.coverage()
            );
            return Some(refusal("memorised", detail));
        }
        disagreement("sealed set: ", found, required)
    }

    fn deadline(&self) -> Duration {
        self.config.component_deadline().max(PATIENCE)
    }

    fn bar(&self) -> Bar {
        Bar { agreement: self.entry.operation.optimize.agreement, coverage: self.config.min_coverage }
    }
}

/// The share of all inputs that code and model agree on.
fn score(agreement: Agreement) -> f64 {
    agreement.rate() * agreement.coverage()
}

/// Too many wrong answers, or a failure, which is worse than one: it tells nothing.
fn disagreement(place: &str, found: Agreement, required: f64) -> Option<Refusal> {
    let what = match found.failed {
        0 if found.rate() >= required => return None,
        0 => "it agrees with the model too rarely",
        _ => "it fails where it should answer or abstain",
    };
    Some(refusal("agreement", told(&format!("{place}{what}"), found, required)))
}

fn told(what: &str, found: Agreement, required: f64) -> String {
    format!(
        "{what}: of {} inputs it handled {} (coverage {:.3}), of these {} agree ({:.3}), {} failed; {required:.3} is needed",
        found.n,
        found.handled,
        found.coverage(),
        found.agreed,
        found.rate(),
        found.failed
    )
}

fn refuse(attempt: &mut Attempt, candidate: Option<Candidate>, refused: Refusal) -> Lesson {
    let complaint = format!("{}: {}", refused.reason, refused.detail);
    attempt.refused = Some(refused);
    Lesson { candidate, complaint, counterexamples: Vec::new(), found: 0 }
}

/// What the coder is told after a score: wrong answers first; abstentions only when they are what is wrong.
fn lesson(candidate: &Candidate, refused: Option<&Refusal>, repair: Comparison, examples: Comparison) -> Lesson {
    let complaint = refused.map(|refused| format!("{}: {}", refused.reason, refused.detail)).unwrap_or_default();
    let narrow = refused.is_some_and(|refused| refused.reason == "coverage");
    let missed = |found: Comparison| {
        let abstentions = if narrow { found.abstentions } else { Vec::new() };
        found.counterexamples.into_iter().chain(abstentions).collect::<Vec<_>>()
    };
    let most = MAX_REVEALED.min(usize::try_from(repair.agreement.n / 2).unwrap_or(MAX_REVEALED));
    let (mut counterexamples, known) = (missed(repair), missed(examples));
    let found = counterexamples.len() + known.len();
    counterexamples.truncate(most);
    counterexamples.extend(known);
    counterexamples.truncate(MAX_SHOWN);
    Lesson { candidate: Some(candidate.clone()), complaint, counterexamples, found }
}

/// The better of two candidates: one without complaint, else the one that scores higher on the repair set.
fn better(best: Option<Scored>, next: Option<Scored>) -> Option<Scored> {
    let rank = |scored: &Scored| (scored.refused.is_none(), score(scored.repair));
    match (best, next) {
        (Some(best), Some(next)) if rank(&next) < rank(&best) => Some(best),
        (best, next) => next.or(best),
    }
}
