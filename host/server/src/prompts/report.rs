//! What came of testing prompts, for people and for scripts. Pure.

use std::{collections::BTreeSet, ops::Add};

use nexus_model::Usage;
use serde_json::{Value, json};

use super::trial::{Outcome, Score, shown};

/// How wide the column of reasons is at the most, in characters.
const REASON: usize = 160;

/// What came of testing prompts.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcomes: Vec<Outcome>,
    /// Prompts of agents that have test data, as `app/path`.
    pub(crate) left_out: BTreeSet<String>,
}

impl Report {
    /// The headings of [`Report::rows`].
    pub(crate) const HEADINGS: [&'static str; 5] = ["PROMPT", "CASE", "EVALUATOR", "SCORE", "REASON"];

    pub(crate) fn passed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.passes()).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.outcomes.len() - self.passed()
    }

    /// What all answers and judges used together.
    pub(crate) fn usage(&self) -> Usage {
        self.outcomes.iter().map(|outcome| outcome.usage).fold(Usage::NONE, Add::add)
    }

    /// The mean of all scores. A case without an answer has the score 0.
    #[expect(clippy::cast_precision_loss, reason = "there are at most some hundred thousand scores")]
    pub(crate) fn mean(&self) -> Option<f64> {
        let scores = self.outcomes.iter().flat_map(|outcome| outcome.scores.iter().map(|score| score.value));
        let unanswered = self.outcomes.iter().filter(|outcome| outcome.scores.is_empty()).count();
        let count = scores.clone().count() + unanswered;
        (count > 0).then(|| scores.sum::<f64>() / count as f64)
    }

    /// A row for each score, and one for each case without an answer.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let often = self.outcomes.iter().any(|outcome| outcome.turn > 1);
        self.outcomes.iter().flat_map(|outcome| rows(outcome, often)).collect()
    }

    /// All that is known.
    pub(crate) fn value(&self) -> Value {
        let usage = self.usage();
        json!({
            "tests": self.outcomes.iter().map(value).collect::<Vec<_>>(),
            "left_out": self.left_out,
            "passed": self.passed(),
            "failed": self.failed(),
            "mean_score": self.mean(),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost_nano_usd": usage.cost.map(|cost| cost.0),
        })
    }
}

fn value(outcome: &Outcome) -> Value {
    let score = |score: &Score| {
        json!({
            "evaluator": score.evaluator,
            "score": score.value,
            "passes": score.passes(),
            "reason": score.reason,
            "judge": score.judge,
        })
    };
    json!({
        "app": outcome.app,
        "operation": outcome.operation,
        "prompt": outcome.prompt,
        "model": outcome.model,
        "answered_by": outcome.answered_by,
        "case": outcome.case,
        "turn": outcome.turn,
        "input": outcome.input,
        "expected": outcome.expected,
        "answer": outcome.answer,
        "error": outcome.error,
        "repaired": outcome.repaired,
        "passes": outcome.passes(),
        "scores": outcome.scores.iter().map(score).collect::<Vec<_>>(),
        "latency_ms": outcome.latency_ms,
        "input_tokens": outcome.usage.input_tokens,
        "output_tokens": outcome.usage.output_tokens,
        "cost_nano_usd": outcome.usage.cost.map(|cost| cost.0),
    })
}

fn rows(outcome: &Outcome, often: bool) -> Vec<Vec<String>> {
    let case = if often { format!("{} #{}", outcome.case, outcome.turn) } else { outcome.case.to_string() };
    let row = |evaluator: &str, score: String, reason: &str| {
        let prompt = format!("{}/{}", outcome.app, outcome.prompt);
        vec![prompt, case.clone(), cell(evaluator), score, cell(reason)]
    };
    if let Some(error) = &outcome.error {
        return vec![row("-", "-".to_owned(), error)];
    }
    let answer = outcome.answer.as_ref().map(|answer| format!("; the answer is {}", shown(answer)));
    let scored = |score: &Score| {
        let answer = answer.as_deref().filter(|_| !score.passes()).unwrap_or_default();
        row(&score.evaluator, rounded(score.value), &format!("{}{answer}", score.reason))
    };
    outcome.scores.iter().map(scored).collect()
}

/// A score with at most two decimals.
pub(crate) fn rounded(score: f64) -> String {
    ((score * 100.0).round() / 100.0).to_string()
}

/// A text that stays in its row, whoever wrote it.
fn cell(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.char_indices().nth(REASON) {
        None => plain,
        Some((end, _)) => format!("{}…", &plain[..end]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nexus_model::{NanoUsd, Usage};
    use serde_json::json;

    use super::{Outcome, Report, Score};

    fn score(evaluator: &str, score: f64, reason: &str) -> Score {
        Score { evaluator: evaluator.to_owned(), value: score, reason: reason.to_owned(), judge: None }
    }

    fn outcome(case: usize, turn: usize, error: Option<&str>, scores: Vec<Score>) -> Outcome {
        let answer = error.map_or(Ok(json!({ "a": case })), |error| Err(error.to_owned()));
        let usage = Usage { input_tokens: 90, output_tokens: 10, cost: Some(NanoUsd(7)), ..Usage::NONE };
        let mut outcome = Outcome::for_testing(case, turn, answer, scores);
        outcome.usage = usage;
        outcome
    }

    fn report(outcomes: Vec<Outcome>) -> Report {
        Report { outcomes, left_out: BTreeSet::new() }
    }

    #[test]
    fn a_case_passes_if_all_that_is_looked_at_does() {
        let report = report(vec![
            outcome(1, 1, None, vec![score("one", 1.0, "it is so"), score("two", 0.5, "nearly")]),
            outcome(2, 1, None, vec![score("one", 1.0, "it is so"), score("two", 0.0, "not so\u{1b}[2J")]),
            outcome(3, 1, Some("no answer"), Vec::new()),
        ]);
        assert_eq!((report.passed(), report.failed(), report.mean()), (1, 2, Some(0.5)));
        let rows: Vec<String> = report.rows().iter().map(|row| row[1..].join("|")).collect();
        let said = [
            "1|one|1|it is so",
            "1|two|0.5|nearly",
            "2|one|1|it is so",
            "2|two|0|not so [2J; the answer is `{\"a\":2}`",
            "3|-|-|no answer",
        ];
        assert_eq!(rows, said);
        let value = report.value();
        assert_eq!((&value["input_tokens"], &value["cost_nano_usd"]), (&json!(270), &json!(21)));
        assert_eq!((&value["tests"][1]["passes"], &value["tests"][2]["error"]), (&json!(false), &json!("no answer")));
        assert_eq!(value["tests"][1]["scores"][0]["passes"], true);
    }

    #[test]
    fn turns_are_told_apart_and_a_cost_that_is_not_known_is_none() {
        let mut report = report((1..=2).map(|turn| outcome(1, turn, None, vec![score("one", 1.0, "so")])).collect());
        let cases: Vec<String> = report.rows().into_iter().map(|row| row[1].clone()).collect();
        assert_eq!(cases, ["1 #1", "1 #2"]);
        report.outcomes[0].usage.cost = None;
        assert_eq!(report.value()["cost_nano_usd"], json!(null));
    }

    #[test]
    fn without_tests_nothing_fails() {
        let value = report(Vec::new()).value();
        assert_eq!((&value["tests"], &value["failed"], &value["mean_score"]), (&json!([]), &json!(0), &json!(null)));
    }
}
