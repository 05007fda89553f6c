//! An agent: a model that uses tools until it has an answer.
//!
//! It is a plan over effects that each have a name, as the workflow language has it: `agent/0` makes its arguments complete,
//! `turn/N` is a turn of the model, `turn/N/tool/M` a tool that it wanted. A turn that fails for the moment is made again at
//! `turn/N/attempt/K` after a wait at `turn/N/retry/K`; `turn/N/summary/0` makes a long conversation short before the turn. So an
//! execution that is run again by its journal goes the same way.

mod conversation;
mod plan;
#[cfg(test)]
mod properties;
mod tools;

use futures::{StreamExt, stream};
use nexus_model::Reply;
use nexus_workflow::{
    AgentStart, AgentTurn, Call, Effect, Effects, ErrorType, Failure, Moment, NexusFunction, Outcome, StepId,
    WorkflowError,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use plan::{Agent, Heard, Next};

/// Runs an agent. Its outcome is its answer: the value by the schema, or a text.
pub(crate) async fn run(effects: &dyn Effects, at: &StepId, with: Value, deadline: Option<Moment>) -> Outcome {
    let mut asking = Asking { effects, at, deadline, clock: Moment(i64::MIN) };
    let result = asking.run(with).await;
    Outcome { at: asking.clock, result }
}

/// The way to the world, and the time of the last outcome.
struct Asking<'a> {
    effects: &'a dyn Effects,
    at: &'a StepId,
    deadline: Option<Moment>,
    clock: Moment,
}

impl Asking<'_> {
    async fn run(&mut self, with: Value) -> Result<Value, Failure> {
        let begun = self.call(&self.at.mark("agent", 0), Call::AgentStart { with }).await?;
        let start: AgentStart = read(begun)?;
        let ends = start.limits.time_ms.map(|ms| self.clock.plus(std::time::Duration::from_millis(ms)));
        let outer = self.deadline;
        self.deadline = [outer, ends].into_iter().flatten().min();
        let parallel = start.limits.parallel.max(1) as usize;
        let mut agent = Agent::new(start, self.clock);
        loop {
            let number = u64::from(agent.turn());
            let turn = self.at.mark("turn", number);
            let heard = match agent.next() {
                Next::Turn { attempt, turn: asked } => {
                    let at = if attempt == 0 { turn } else { turn.mark("attempt", u64::from(attempt)) };
                    self.turn(&at, asked).await.map(Heard::Turn)
                }
                Next::Summary(asked) => self.turn(&turn.mark("summary", 0), asked).await.map(Heard::Summary),
                Next::Wait { attempt, until } => {
                    let at = turn.mark("retry", u64::from(attempt));
                    self.perform(&at, Effect::Wait(until)).await.map(|_| Heard::Waited)
                }
                Next::Tools(wanted) => self.tools(&turn, wanted, parallel).await.map(Heard::Tools),
                Next::End(end) => return end.map_err(Failure::Error),
            };
            match heard {
                Ok(heard) => agent.hear(self.clock, heard),
                // Its own time is over, not that of a task around it.
                Err(Failure::Deadline) if ends.is_some_and(|ends| outer.is_none_or(|outer| ends < outer)) => {
                    return Err(Failure::Error(agent.late()));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// A turn of the model; an error of it is for the plan.
    async fn turn(&mut self, at: &StepId, turn: AgentTurn) -> Result<Result<Reply, WorkflowError>, Failure> {
        match self.call(at, Call::AgentTurn(turn)).await {
            Ok(value) => read(value).map(Ok),
            Err(Failure::Error(error)) => Ok(Err(error)),
            Err(Failure::Deadline) => Err(Failure::Deadline),
        }
    }

    /// Uses tools at the same time, some at once; their results in the order in which they were wanted.
    async fn tools(
        &mut self,
        turn: &StepId,
        wanted: Vec<(usize, Value)>,
        parallel: usize,
    ) -> Result<Vec<(usize, Result<Value, WorkflowError>)>, Failure> {
        let (effects, deadline) = (self.effects, self.deadline);
        let uses = wanted.into_iter().map(|(index, with)| {
            let at = turn.mark("tool", index as u64);
            async move {
                let call = Call::Function { function: NexusFunction::Tool, with };
                (index, effects.perform(&at, Effect::Call(call), deadline).await)
            }
        });
        let outcomes: Vec<(usize, Outcome)> = stream::iter(uses).buffered(parallel).collect().await;
        let mut results = Vec::with_capacity(outcomes.len());
        for (index, outcome) in outcomes {
            results.push((
                index,
                match self.take(outcome) {
                    Ok(value) => Ok(value),
                    Err(Failure::Error(error)) => Err(error),
                    Err(Failure::Deadline) => return Err(Failure::Deadline),
                },
            ));
        }
        Ok(results)
    }

    async fn call(&mut self, at: &StepId, call: Call) -> Result<Value, Failure> {
        self.perform(at, Effect::Call(call)).await
    }

    async fn perform(&mut self, at: &StepId, effect: Effect) -> Result<Value, Failure> {
        let outcome = self.effects.perform(at, effect, self.deadline).await;
        self.take(outcome)
    }

    /// What came of an effect. What came too late did not come, so that the journal alone says how it went.
    fn take(&mut self, outcome: Outcome) -> Result<Value, Failure> {
        self.clock = self.clock.max(outcome.at);
        match outcome.result {
            _ if self.deadline.is_some_and(|deadline| outcome.at > deadline) => Err(Failure::Deadline),
            result => result,
        }
    }
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        let why = format!("the agent cannot read what the host answers: {error}");
        Failure::Error(WorkflowError::new(ErrorType::Runtime, why))
    })
}
