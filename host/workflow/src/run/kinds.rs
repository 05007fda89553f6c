//! What each kind of task does.

use serde_json::{Map, Value, json};

use super::{
    list::Ended,
    scope::{Frame, Run, State, Stop},
};
use crate::{
    document::{Case, ErrorTemplate, Flow, Running, Task, TaskKind, TaskList},
    effects::{Call, Effect, WorkflowReference},
    error::{ErrorType, WorkflowError},
    expression::{Expression, Template},
    step::StepId,
};

/// What a task puts out, and what comes next if it decides that.
pub(super) type Done = Result<(Value, Option<Flow>), Stop>;

/// The end of a list inside a task, as what comes after the task.
pub(super) fn flow(ended: Ended) -> Option<Flow> {
    match ended {
        Ended::List => None,
        Ended::Workflow => Some(Flow::End),
    }
}

impl Run<'_> {
    /// Does what the task is for.
    pub(super) async fn kind(
        &self,
        task: &Task,
        input: &Value,
        frame: &Frame<'_>,
        at: &StepId,
        state: &mut State,
    ) -> Done {
        match &task.kind {
            TaskKind::Call(call) => self.call(call, input, frame, at, state).await,
            TaskKind::Do(tasks) => {
                let (value, ended) = self.list(tasks, input.clone(), &at.list("do"), state).await?;
                Ok((value, flow(ended)))
            }
            TaskKind::Fork { branches, compete } => self.fork(branches, *compete, input, at, state).await,
            TaskKind::Emit(event) => self.emit(event, frame, at, state).await,
            TaskKind::For { each, at: index, over, condition, tasks } => {
                let each = Each { item: each, index, condition: condition.as_ref(), tasks };
                let items = self.evaluate(over, input, frame, state).await?;
                self.each(&each, items, input, frame, at, state).await
            }
            TaskKind::Listen(listening, each) => self.listen(listening, each.as_ref(), frame, at, state).await,
            TaskKind::Raise(error) => Err(Stop::Error(self.raised(error, frame, state).await?)),
            TaskKind::Run(running) => self.running(running, frame, at, state).await,
            TaskKind::Set(template) => Ok((self.resolve(template, input, frame, state).await?, None)),
            TaskKind::Switch(cases) => self.switch(cases, input, frame, state).await,
            TaskKind::Try(tasks, catch) => self.attempts(task, tasks, catch, frame, at, state).await,
            TaskKind::Wait(duration) => {
                let until = state.clock.plus(self.duration(duration, input, frame, state).await?);
                self.perform(at, Effect::Wait(until), state).await?;
                Ok((input.clone(), None))
            }
        }
    }

    async fn emit(&self, event: &Template, frame: &Frame<'_>, at: &StepId, state: &mut State) -> Done {
        let mut event = self.object("emit.event.with", event, frame, state).await?;
        for required in ["source", "type"] {
            if !event.get(required).is_some_and(Value::is_string) {
                let detail = format!("the event's `{required}` is not a text");
                return Err(Stop::error(ErrorType::Expression, detail, frame.pointer));
            }
        }
        event.insert("specversion".to_owned(), json!("1.0"));
        event.entry("id").or_insert_with(|| json!(at.idempotency_key(self.execution)));
        event.entry("time").or_insert_with(|| json!(state.clock.iso8601()));
        let event = self.perform(at, Effect::Emit(Value::Object(event)), state).await?;
        Ok((event, None))
    }

    async fn each(
        &self,
        each: &Each<'_>,
        items: Value,
        input: &Value,
        frame: &Frame<'_>,
        at: &StepId,
        state: &mut State,
    ) -> Done {
        let Value::Array(items) = items else {
            return Err(Stop::error(ErrorType::Expression, "`for.in` is not a list", frame.pointer));
        };
        let most = self.limits.iterations;
        let before = [each.item, each.index].map(|name| (name, state.variables.get(name).cloned()));
        let mut value = input.clone();
        let mut ended = Ended::List;
        for (number, item) in (0_u64..).zip(items) {
            if number >= most {
                return Err(Stop::bound(format!("a `for` has at most {most} iterations"), frame.pointer));
            }
            state.variables.insert(each.item.to_owned(), item);
            state.variables.insert(each.index.to_owned(), json!(number));
            let goes_on = match each.condition {
                Some(condition) => self.holds(condition, &value, frame, state).await?,
                None => true,
            };
            if !goes_on {
                break;
            }
            (value, ended) = self.list(each.tasks, value, &at.mark("item", number).list("do"), state).await?;
            if ended == Ended::Workflow {
                break;
            }
        }
        for (name, value) in before {
            state.restore(name, value);
        }
        Ok((value, flow(ended)))
    }

    async fn raised(&self, error: &ErrorTemplate, frame: &Frame<'_>, state: &State) -> Result<WorkflowError, Stop> {
        let kind = self.text("type", &error.kind, frame, state).await?;
        let status = self.resolve(&error.status, frame.data(), frame, state).await?;
        let status = status.as_u64().and_then(|status| u16::try_from(status).ok()).filter(|s| (100..=599).contains(s));
        let Some(status) = status else {
            return Err(Stop::error(ErrorType::Expression, "the error's `status` is no status", frame.pointer));
        };
        let mut texts = Vec::new();
        for (what, template) in [("title", &error.title), ("detail", &error.detail), ("instance", &error.instance)] {
            texts.push(match template {
                Some(template) => Some(self.text(what, template, frame, state).await?),
                None => None,
            });
        }
        let mut texts = texts.into_iter().map(Option::unwrap_or_default).map(|text| (!text.is_empty()).then_some(text));
        let mut next = || texts.next().flatten();
        let error = WorkflowError { kind, status, title: next(), detail: next(), instance: next() };
        Ok(error.at(frame.pointer))
    }

    async fn switch(&self, cases: &[Case], input: &Value, frame: &Frame<'_>, state: &State) -> Done {
        for case in cases {
            if let Some(when) = &case.when
                && self.holds(when, input, frame, state).await?
            {
                return Ok((input.clone(), Some(case.then)));
            }
        }
        let default = cases.iter().find(|case| case.when.is_none());
        Ok((input.clone(), default.map(|case| case.then)))
    }

    async fn running(&self, running: &Running, frame: &Frame<'_>, at: &StepId, state: &mut State) -> Done {
        match running {
            Running::Workflow { namespace, name, version, input, awaited } => {
                let reference = WorkflowReference {
                    namespace: self.text("namespace", namespace, frame, state).await?,
                    name: self.text("name", name, frame, state).await?,
                    version: self.text("version", version, frame, state).await?,
                    input: self.resolve(input, frame.data(), frame, state).await?,
                    awaited: *awaited,
                };
                let output = self.perform(at, Effect::Workflow(reference), state).await?;
                Ok((if *awaited { output } else { frame.data().clone() }, None))
            }
            Running::Process { process, settings, awaited, returns } => {
                let settings = self.resolve(settings, frame.data(), frame, state).await?;
                let call = Call::Process { process: *process, settings, awaited: *awaited };
                let ended = self.perform(at, Effect::Call(call), state).await?;
                if !awaited {
                    return Ok((frame.data().clone(), None));
                }
                Ok((returned(&ended, returns), None))
            }
        }
    }
}

/// A `for`, but for its list.
struct Each<'a> {
    item: &'a str,
    index: &'a str,
    condition: Option<&'a std::sync::Arc<Expression>>,
    tasks: &'a TaskList,
}

/// What of the end of a process is the output.
fn returned(ended: &Value, returns: &str) -> Value {
    let field = |name: &str| ended.get(name).cloned().unwrap_or_default();
    match returns {
        "none" => Value::Null,
        "all" => {
            let all = ["code", "stdout", "stderr"].map(|name| (name.to_owned(), field(name)));
            Value::Object(Map::from_iter(all))
        }
        one => field(one),
    }
}

impl State {
    /// Puts a variable back to what it was.
    pub(super) fn restore(&mut self, name: &str, value: Option<Value>) {
        match value {
            Some(value) => self.variables.insert(name.to_owned(), value),
            None => self.variables.remove(name),
        };
    }
}
