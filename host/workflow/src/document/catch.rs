//! `catch` and retry policies.

use std::sync::Arc;

use super::{
    Components, Duration, TaskList, duration,
    list::{self, Targets},
    node::{Node, Position},
    places,
    reader::Reader,
};
use crate::{
    expression::{Expression, Template},
    fault::FaultKind,
};

/// Which errors are caught, and what is done about them.
#[derive(Debug, Clone)]
pub struct Catch {
    /// What the error must be like.
    pub errors: CatchErrors,
    /// The variable that has the error.
    pub variable: String,
    /// What must hold.
    pub when: Option<Arc<Expression>>,
    /// What must not hold.
    pub except_when: Option<Arc<Expression>>,
    /// Whether to try again.
    pub retry: Option<Arc<Retry>>,
    /// What to do if it is not tried again, or not any more.
    pub tasks: Option<TaskList>,
}

/// Fields that a caught error must have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CatchErrors {
    /// Each field and its value.
    pub with: Vec<(String, Template)>,
}

/// When and how often to try again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Retry {
    /// What must hold.
    pub when: Option<Arc<Expression>>,
    /// What must not hold.
    pub except_when: Option<Arc<Expression>>,
    /// How long to wait before.
    pub delay: Option<Duration>,
    /// How the wait grows.
    pub backoff: Backoff,
    /// How often at most, after the first time.
    pub attempts: Option<u64>,
    /// How long one attempt may take.
    pub attempt_duration: Option<Duration>,
    /// How long after the first attempt began the last may begin.
    pub duration: Option<Duration>,
    /// What is added to each wait: something between these.
    pub jitter: Option<(Duration, Duration)>,
}

/// How a wait grows with each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backoff {
    /// Not at all.
    #[default]
    Constant,
    /// The delay times the number of the attempt.
    Linear,
    /// The delay doubled for each attempt after the first.
    Exponential,
}

pub(super) fn read(reader: &mut Reader, node: &Node<'_>, components: &Components) -> Option<Catch> {
    if !reader.object(node, &places::CATCH) {
        return None;
    }
    let errors = node.get("errors").map(|node| filter(reader, &node)).unwrap_or_default();
    let variable = reader.variable(node.get("as"), "error");
    reader.with_variables(&[&variable], |reader| {
        let retry = node.get("retry").and_then(|node| match node.value.as_str() {
            Some(name) => {
                reader.named(&node, "retries", name);
                components.retries.get(name).cloned()
            }
            None => retry(reader, &node).map(Arc::new),
        });
        Some(Catch {
            errors,
            when: reader.optional_expression(node.get("when"), Position::Within),
            except_when: reader.optional_expression(node.get("exceptWhen"), Position::Within),
            retry,
            tasks: node.get("do").map(|node| list::read(reader, &node, components, Targets::Siblings)),
            variable: variable.clone(),
        })
    })
}

fn filter(reader: &mut Reader, node: &Node<'_>) -> CatchErrors {
    reader.object(node, &places::CATCH_ERRORS);
    let Some(with) = node.get("with") else { return CatchErrors::default() };
    reader.object(&with, &places::ERROR_FILTER);
    if with.value.as_object().is_some_and(serde_json::Map::is_empty) {
        reader.wrong(&with, FaultKind::BadValue, "the filter is empty", "at least one field of errors");
    }
    let fields = with.fields().map(|(name, field)| {
        let name = if name == "details" { "detail" } else { name };
        (name.to_owned(), reader.template(&field, Position::Within))
    });
    CatchErrors { with: fields.collect() }
}

pub(super) fn retry(reader: &mut Reader, node: &Node<'_>) -> Option<Retry> {
    if !reader.object(node, &places::RETRY) {
        return None;
    }
    let mut policy = Retry {
        when: reader.optional_expression(node.get("when"), Position::Within),
        except_when: reader.optional_expression(node.get("exceptWhen"), Position::Within),
        delay: node.get("delay").and_then(|node| duration::read(reader, &node, Position::Within)),
        ..Retry::default()
    };
    if let Some(node) = node.get("backoff") {
        policy.backoff = backoff(reader, &node);
    }
    if let Some(limit) = node.get("limit")
        && reader.object(&limit, &places::RETRY_LIMIT)
    {
        policy.duration = limit.get("duration").and_then(|node| duration::read(reader, &node, Position::Within));
        if let Some(attempt) = limit.get("attempt")
            && reader.object(&attempt, &places::RETRY_ATTEMPT)
        {
            policy.attempts = attempt.get("count").and_then(|node| reader.number(&node, 0, 10_000));
            policy.attempt_duration =
                attempt.get("duration").and_then(|node| duration::read(reader, &node, Position::Within));
        }
    }
    if let Some(jitter) = node.get("jitter")
        && reader.object(&jitter, &places::JITTER)
    {
        let mut end = |field: &str| jitter.get(field).and_then(|node| duration::read(reader, &node, Position::Within));
        let (from, to) = (end("from"), end("to"));
        if let (Some(Duration::Fixed(from)), Some(Duration::Fixed(to))) = (&from, &to)
            && from > to
        {
            reader.wrong(&jitter, FaultKind::OutOfRange, "`from` is longer than `to`", "the shorter first");
        }
        policy.jitter = from.zip(to);
    }
    Some(policy)
}

fn backoff(reader: &mut Reader, node: &Node<'_>) -> Backoff {
    reader.object(node, &places::BACKOFF);
    let kinds = [("constant", Backoff::Constant), ("linear", Backoff::Linear), ("exponential", Backoff::Exponential)];
    let mut said = kinds.into_iter().filter_map(|(name, kind)| node.get(name).map(|node| (kind, node)));
    if let (Some((kind, node)), None) = (said.next(), said.next()) {
        reader.object(&node, &places::BACKOFF_KIND);
        return kind;
    }
    let expected = "`constant`, `linear` or `exponential`";
    reader.wrong(node, FaultKind::BadValue, "there is one way to back off", expected);
    Backoff::default()
}
