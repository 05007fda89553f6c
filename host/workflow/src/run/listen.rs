//! Waiting for events.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    checked,
    kinds::{Done, flow},
    list::Ended,
    scope::{Frame, Run, State, Stop},
};
use crate::{
    document::{EventFilter, ForEach, Listening, Matching, ReadEvents, Strategy, Until},
    effects::{Effect, EventPattern},
    step::StepId,
};

/// What events have in common so far, by the name of the correlation.
type Common = BTreeMap<String, Value>;

/// How far a strategy is: which of its filters an event was found for, and what the events have in common.
struct Progress<'a> {
    filters: &'a [EventFilter],
    met: Vec<bool>,
    common: Common,
    all: bool,
}

impl<'a> Progress<'a> {
    fn new(strategy: &'a Strategy) -> Self {
        let (filters, all) = match strategy {
            Strategy::All(filters) => (filters.as_slice(), true),
            Strategy::Any(filters, _) => (filters.as_slice(), false),
            Strategy::One(filter) => (std::slice::from_ref(filter), true),
        };
        Self { filters, met: vec![false; filters.len()], common: Common::new(), all }
    }

    fn is_met(&self) -> bool {
        self.all && self.met.iter().all(|met| *met)
    }
}

impl Run<'_> {
    /// Waits for the events that the task asks for; the list of what was read of them.
    pub(super) async fn listen(
        &self,
        listening: &Listening,
        each: Option<&ForEach>,
        frame: &Frame<'_>,
        at: &StepId,
        state: &mut State,
    ) -> Done {
        let until = match &listening.to {
            Strategy::Any(_, until) => until.as_ref(),
            _ => None,
        };
        let mut wanted = Progress::new(&listening.to);
        let mut last = match until {
            Some(Until::Consumed(strategy)) => Some(Progress::new(strategy)),
            _ => None,
        };
        let mut patterns = patterns(wanted.filters);
        if let Some(last) = &last {
            patterns.extend(self::patterns(last.filters));
        }
        let mut consumed: Vec<Value> = Vec::new();
        for number in 0.. {
            if number >= self.limits.iterations {
                let most = self.limits.iterations;
                return Err(Stop::bound(format!("a `listen` is given at most {most} events"), frame.pointer));
            }
            let id = at.mark("event", number);
            let event = self.perform(&id, Effect::Listen(patterns.clone()), state).await?;
            if let Some(last) = &mut last
                && self.takes(last, &event, frame, state).await?
                && (last.is_met() || !last.all)
            {
                break;
            }
            if !self.takes(&mut wanted, &event, frame, state).await? {
                continue;
            }
            let (item, ended) = self.consume(listening.read, each, &event, consumed.len(), frame, &id, state).await?;
            consumed.push(item);
            if ended == Ended::Workflow {
                return Ok((Value::Array(consumed), flow(ended)));
            }
            let enough = match until {
                _ if wanted.is_met() => true,
                Some(Until::Holds(until)) => self.holds(until, &Value::Array(consumed.clone()), frame, state).await?,
                Some(Until::Consumed(_)) => false,
                None => !wanted.all,
            };
            if enough {
                break;
            }
        }
        Ok((Value::Array(consumed), None))
    }

    /// Reads an event and does with it what is to be done with each.
    #[expect(clippy::too_many_arguments, reason = "all of it is of this one place")]
    async fn consume(
        &self,
        read: ReadEvents,
        each: Option<&ForEach>,
        event: &Value,
        index: usize,
        frame: &Frame<'_>,
        at: &StepId,
        state: &mut State,
    ) -> Result<(Value, Ended), Stop> {
        let item = read_event(read, event);
        let Some(each) = each else { return Ok((item, Ended::List)) };
        let before = [&each.item, &each.at].map(|name| (name, state.variables.get(name).cloned()));
        state.variables.insert(each.item.clone(), item.clone());
        state.variables.insert(each.at.clone(), json!(index));
        // `foreach.do` sees the event as its input.
        let list = at.list("foreach").list("do");
        let (raw, ended) = self.list(&each.tasks, item, &list, state).await?;
        let frame = Frame { raw_output: Some(&raw), ..*frame };
        let output = self.mapped(&each.output, raw.clone(), &frame, state).await?;
        checked(&each.output, &output, "the output of `foreach`")?;
        let frame = Frame { output: Some(&output), ..frame };
        self.export(&each.export, &output, &frame, state).await?;
        for (name, value) in before {
            state.restore(name, value);
        }
        Ok((output, ended))
    }

    /// Whether an event is one that is waited for. If so, it counts.
    async fn takes(
        &self,
        progress: &mut Progress<'_>,
        event: &Value,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<bool, Stop> {
        if progress.filters.is_empty() {
            return Ok(true);
        }
        for (index, filter) in progress.filters.iter().enumerate() {
            let met = progress.met.get(index).copied().unwrap_or_default();
            if progress.all && met {
                continue;
            }
            if let Some(common) = self.fits_filter(filter, event, &progress.common, frame, state).await? {
                progress.common.extend(common);
                if let Some(met) = progress.met.get_mut(index) {
                    *met = true;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an event has what a filter asks for; what it has in common with others from now on.
    async fn fits_filter(
        &self,
        filter: &EventFilter,
        event: &Value,
        common: &Common,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<Option<Common>, Stop> {
        for (name, matching) in &filter.with {
            let value = if name == "data" { data(event) } else { event.get(name).cloned().unwrap_or_default() };
            let fits = match matching {
                Matching::Text(text, pattern) => value.as_str().is_some_and(|value| {
                    value == text || pattern.as_ref().is_some_and(|pattern| pattern.is_match(value))
                }),
                Matching::Value(template) => self.resolve(template, frame.data(), frame, state).await? == value,
                Matching::Holds(expression) if name != "data" => {
                    self.evaluate(expression, frame.data(), frame, state).await? == value
                }
                Matching::Holds(expression) => match self.evaluate(expression, &value, frame, state).await {
                    Ok(Value::Bool(holds)) => holds,
                    Ok(wanted) => wanted == value,
                    // Data of another form is of another event.
                    Err(Stop::Error(_)) => false,
                    Err(stop) => return Err(stop),
                },
            };
            if !fits {
                return Ok(None);
            }
        }
        let mut own = Common::new();
        for correlation in &filter.correlate {
            let value = match self.evaluate(&correlation.from, event, frame, state).await {
                Ok(value) => value,
                Err(Stop::Error(_)) => return Ok(None),
                Err(stop) => return Err(stop),
            };
            let wanted = match &correlation.expect {
                Some(expect) => Some(self.resolve(expect, frame.data(), frame, state).await?),
                None => common.get(&correlation.name).cloned(),
            };
            if wanted.is_some_and(|wanted| wanted != value) {
                return Ok(None);
            }
            own.insert(correlation.name.clone(), value);
        }
        Ok(Some(own))
    }
}

/// What of the filters can be judged without an expression. No filter: every event.
fn patterns(filters: &[EventFilter]) -> Vec<EventPattern> {
    if filters.is_empty() {
        return vec![EventPattern::default()];
    }
    let pattern = |filter: &EventFilter| {
        let texts = filter.with.iter().filter_map(|(name, matching)| match matching {
            Matching::Text(text, _) if name != "data" => Some((name.clone(), text.clone())),
            _ => None,
        });
        EventPattern { attributes: texts.collect() }
    };
    filters.iter().map(pattern).collect()
}

fn data(event: &Value) -> Value {
    event.get("data").or_else(|| event.get("data_base64")).cloned().unwrap_or_default()
}

fn read_event(read: ReadEvents, event: &Value) -> Value {
    match read {
        ReadEvents::Data => data(event),
        ReadEvents::Envelope => event.clone(),
        ReadEvents::Raw => match (event.get("data_base64"), event.get("data")) {
            (Some(bytes), _) => bytes.clone(),
            (None, Some(Value::String(text))) => Value::String(STANDARD.encode(text)),
            (None, Some(data)) => Value::String(STANDARD.encode(data.to_string())),
            (None, None) => Value::Null,
        },
    }
}
