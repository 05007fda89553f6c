//! Asking each case, and looking at its answer.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use nexus_definitions::{Judgement, Verdict, evaluate};
use nexus_model::{
    AnswerCheck, ChatMessage, ConverseRequest, Message, ModelError, ModelParameters, ModelProvider, PromptTests, Role,
    TestCase, Usage, canonical_json,
};
use serde_json::Value;

use crate::asking::{TIMEOUT, Task, is_hopeless, patiently};

/// So many cases in a row that a provider left without an answer end a trial; the others are not asked.
const GIVE_UP: usize = 10;
/// How much of a value a reason shows, in characters.
const SHOWN: usize = 80;

/// The aliases of the models that judge answers.
pub(crate) fn judges(tasks: &[Task]) -> BTreeSet<&str> {
    let evaluators = tasks.iter().filter(|task| !task.prompt.tests.cases.is_empty());
    let evaluators = evaluators.flat_map(|task| &task.prompt.tests.evaluators);
    let judges = evaluators.filter_map(|evaluator| match &evaluator.check {
        AnswerCheck::Judge(judge) => Some(judge.model.as_str()),
        AnswerCheck::Text(_) | AnswerCheck::Json(_) => None,
    });
    judges.collect()
}

/// Prompts to test.
pub(crate) struct Trial<'a> {
    pub(crate) tasks: &'a [Task],
    pub(crate) models: &'a dyn ModelProvider,
    /// How often each case is asked.
    pub(crate) times: usize,
    /// How many are asked at one time. The judges of a case are asked one after the other.
    pub(crate) parallel: usize,
}

/// One case, to be asked once.
#[derive(Clone, Copy)]
struct Question<'a> {
    task: &'a Task,
    test: &'a TestCase,
    /// Both from 1.
    case: usize,
    turn: usize,
}

/// What became of a case.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The application, its operation, and the prompt's file.
    pub(crate) app: String,
    pub(crate) operation: String,
    pub(crate) prompt: String,
    /// The alias of the model, and the provider's name of it.
    pub(crate) model: String,
    pub(crate) answered_by: Option<String>,
    /// Which of the test data, from 1, and for the how manieth time.
    pub(crate) case: usize,
    pub(crate) turn: usize,
    pub(crate) input: Value,
    pub(crate) expected: Option<Value>,
    pub(crate) answer: Option<Value>,
    /// Why there is no answer.
    pub(crate) error: Option<String>,
    /// Whether it took a repair round.
    pub(crate) repaired: bool,
    pub(crate) scores: Vec<Score>,
    pub(crate) latency_ms: Option<u64>,
    /// Of its judges too.
    pub(crate) usage: Usage,
    /// The provider is out of order: others may fare no better.
    out_of_order: bool,
}

/// What an evaluator says of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Score {
    pub(crate) evaluator: String,
    /// From 0 to 1; it passes above 0.
    pub(crate) score: f64,
    pub(crate) reason: String,
    /// The alias of the model that was asked.
    pub(crate) judge: Option<String>,
}

impl Score {
    pub(crate) fn passes(&self) -> bool {
        self.score > 0.0
    }
}

impl Outcome {
    fn of(question: Question<'_>) -> Self {
        let Question { task, test, case, turn } = question;
        Self {
            app: task.reference.app.to_string(),
            operation: task.reference.operation.to_string(),
            prompt: task.prompt.path.clone(),
            model: task.alias().to_owned(),
            answered_by: None,
            case,
            turn,
            input: test.input.clone(),
            expected: test.expected.clone(),
            answer: None,
            error: None,
            repaired: false,
            scores: Vec::new(),
            latency_ms: None,
            usage: Usage::NONE,
            out_of_order: false,
        }
    }

    fn failed(self, reason: impl Into<String>) -> Self {
        Self { error: Some(reason.into()), ..self }
    }

    #[cfg(test)]
    pub(super) fn for_testing(case: usize, turn: usize, outcome: Result<Value, String>, scores: Vec<Score>) -> Self {
        Self {
            app: "mail".to_owned(),
            operation: "sort".to_owned(),
            prompt: "prompts/sort.prompt.yml".to_owned(),
            model: "small".to_owned(),
            answered_by: None,
            case,
            turn,
            input: Value::Null,
            expected: None,
            answer: outcome.clone().ok(),
            error: outcome.err(),
            repaired: false,
            scores,
            latency_ms: None,
            usage: Usage::NONE,
            out_of_order: false,
        }
    }

    /// Whether there is an answer, and all that was looked at passes.
    pub(crate) fn passes(&self) -> bool {
        self.error.is_none() && self.scores.iter().all(Score::passes)
    }
}

impl Trial<'_> {
    /// How many questions there are, those to judges aside.
    pub(crate) fn questions(&self) -> usize {
        self.tasks.iter().map(|task| task.prompt.tests.cases.len()).sum::<usize>().saturating_mul(self.times)
    }

    fn all(&self) -> impl Iterator<Item = Question<'_>> {
        self.tasks.iter().flat_map(move |task| {
            (1..)
                .zip(&task.prompt.tests.cases)
                .flat_map(move |(case, test)| (1..=self.times).map(move |turn| Question { task, test, case, turn }))
        })
    }

    /// Asks all, and looks at all answers; `told` hears of each outcome as it comes. They are returned in the order in
    /// which they are written.
    ///
    /// # Errors
    /// A model that would answer none: it has no key, or a wrong one.
    pub(crate) async fn run(&self, mut told: impl FnMut(&Outcome)) -> Result<Vec<Outcome>, ModelError> {
        let mut outcomes = BTreeMap::new();
        let mut in_a_row = 0;
        let asked = self.all().enumerate().map(|(at, question)| async move { (at, self.ask(question).await) });
        let mut answers = stream::iter(asked).buffer_unordered(self.parallel);
        while let Some((at, outcome)) = answers.next().await {
            let outcome = outcome?;
            in_a_row = if outcome.out_of_order { in_a_row + 1 } else { 0 };
            told(&outcome);
            outcomes.insert(at, outcome);
            if in_a_row >= GIVE_UP {
                break;
            }
        }
        drop(answers);
        let not_asked = || format!("not asked: {GIVE_UP} in a row had no answer");
        let all = self.all().enumerate();
        let whole =
            all.map(|(at, question)| outcomes.remove(&at).unwrap_or_else(|| Outcome::of(question).failed(not_asked())));
        Ok(whole.collect())
    }

    async fn ask(&self, question: Question<'_>) -> Result<Outcome, ModelError> {
        let Question { task, test, .. } = question;
        let mut outcome = Outcome::of(question);
        let request = match task.request(&test.input) {
            Ok(request) => request,
            Err(reason) => return Ok(outcome.failed(reason)),
        };
        let (generation, latency) = match patiently(async || self.models.generate(&request, None).await).await {
            Ok(answered) => answered,
            Err(error) if is_hopeless(&error.kind) => return Err(error),
            Err(error) => {
                outcome.usage = error.usage;
                outcome.out_of_order = error.kind.is_passing();
                return Ok(outcome.failed(format!("{error}; {}", error.hint)));
            }
        };
        outcome.usage = generation.usage;
        outcome.answered_by = Some(generation.by.model);
        outcome.repaired = generation.repaired;
        outcome.latency_ms = u64::try_from(latency.as_millis()).ok();
        for (evaluator, verdict) in verdicts(&task.prompt.tests, test, &generation.value) {
            let score = match verdict {
                Verdict::Scored(score, reason) => Score { evaluator, score, reason, judge: None },
                Verdict::Ask(judgement) => self.judged(evaluator, judgement, &mut outcome.usage).await?,
            };
            outcome.scores.push(score);
        }
        outcome.answer = Some(generation.value);
        Ok(outcome)
    }

    /// What a judge says, which takes as much as is added to `usage`. One that says nothing passes no answer.
    async fn judged(&self, evaluator: String, judgement: Judgement, usage: &mut Usage) -> Result<Score, ModelError> {
        let request = ConverseRequest {
            model: judgement.model.clone(),
            messages: judgement.messages.iter().map(said).collect(),
            tools: Vec::new(),
            parameters: ModelParameters::default(),
            schema: None,
            timeout: TIMEOUT,
        };
        let (score, reason) = match patiently(async || self.models.converse(&request, None).await).await {
            Ok((reply, _)) => {
                *usage = *usage + reply.usage;
                match judgement.verdict(&reply.content) {
                    Verdict::Scored(score, reason) => (score, reason),
                    Verdict::Ask(_) => (0.0, "the judge has another question".to_owned()),
                }
            }
            Err(error) if is_hopeless(&error.kind) => return Err(error),
            Err(error) => {
                *usage = *usage + error.usage;
                (0.0, format!("the judge does not answer: {error}"))
            }
        };
        Ok(Score { evaluator, score, reason, judge: Some(judgement.model) })
    }
}

fn said(message: &Message) -> ChatMessage {
    let content = message.content.clone();
    match message.role {
        Role::System => ChatMessage::System { content },
        Role::User => ChatMessage::User { content },
        Role::Assistant => ChatMessage::Assistant { content, tool_calls: Vec::new() },
    }
}

/// What is said of an answer, by the names of those who say it. Without evaluators it has to be the one that is expected,
/// and where none is, that it satisfies the schema is enough.
fn verdicts(tests: &PromptTests, test: &TestCase, answer: &Value) -> Vec<(String, Verdict)> {
    if !tests.evaluators.is_empty() {
        let verdict = |evaluator| evaluate(evaluator, test, answer);
        return tests.evaluators.iter().map(|one| (one.name.clone(), verdict(one))).collect();
    }
    let (name, verdict) = match &test.expected {
        None => ("schema", Verdict::Scored(1.0, "it satisfies the output schema".to_owned())),
        Some(expected) if canonical_json(answer) == canonical_json(expected) => {
            ("expected", Verdict::Scored(1.0, "it is as expected".to_owned()))
        }
        Some(expected) => ("expected", Verdict::Scored(0.0, format!("not so: it is {}", shown(expected)))),
    };
    vec![(name.to_owned(), verdict)]
}

/// A value in a sentence.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use nexus_definitions::Verdict;
    use nexus_model::{AnswerCheck, Evaluator, PromptTests, TestCase, TextCheck};
    use serde_json::{Map, Value, json};

    use super::{shown, verdicts};

    fn test(expected: Option<Value>) -> TestCase {
        TestCase { input: json!({}), expected, fields: Map::new() }
    }

    fn passes(tests: &PromptTests, expected: Option<Value>, answer: &Value) -> Vec<(String, Option<bool>)> {
        let verdicts = verdicts(tests, &test(expected), answer).into_iter();
        verdicts.map(|(name, verdict)| (name, verdict.passes())).collect()
    }

    #[test]
    fn without_evaluators_an_answer_is_to_be_the_expected_one_if_there_is_one() {
        let none = PromptTests::default();
        let of = |name: &str, passes| vec![(name.to_owned(), Some(passes))];
        let answer = json!({ "a": 1, "b": [2] });
        // Spelling and templates decide nothing.
        assert_eq!(passes(&none, Some(json!({ "b": [2.0], "a": 1 })), &answer), of("expected", true));
        assert_eq!(passes(&none, Some(json!("{{ input }}")), &json!("{{ input }}")), of("expected", true));
        assert_eq!(passes(&none, Some(json!({ "a": 1 })), &answer), of("expected", false));
        assert_eq!(passes(&none, Some(Value::Null), &answer), of("expected", false));
        assert_eq!(passes(&none, None, &answer), of("schema", true));
    }

    #[test]
    fn evaluators_stand_in_the_place_of_what_is_expected() {
        let check = |text: &str| AnswerCheck::Text(TextCheck::Contains(text.to_owned()));
        let evaluator = |name: &str, text: &str| Evaluator { name: name.to_owned(), check: check(text) };
        let tests =
            PromptTests { cases: Vec::new(), evaluators: vec![evaluator("one", "fine"), evaluator("two", "bad")] };
        let said = passes(&tests, Some(json!("other")), &json!("All is fine"));
        assert_eq!(said, [("one".to_owned(), Some(true)), ("two".to_owned(), Some(false))]);
    }

    #[test]
    fn a_reason_shows_the_beginning_of_a_long_value() {
        assert_eq!(shown(&json!({ "a": 1 })), r#"`{"a":1}`"#);
        let long = shown(&json!("é".repeat(500)));
        assert!(long.chars().count() == 83 && long.ends_with("…`"), "{long}");
        let verdict = &verdicts(&PromptTests::default(), &test(Some(json!(1))), &json!(2))[0].1;
        assert_eq!(*verdict, Verdict::Scored(0.0, "not so: it is `1`".to_owned()));
    }
}
