//! `try`: handling errors and trying again.

use std::time::Duration;

use nexus_model::sha256_hex;
use serde_json::Value;

use super::{
    kinds::{Done, flow},
    scope::{Frame, Run, State, Stop},
};
use crate::{
    document::{Backoff, Catch, Retry, Task, TaskList},
    effects::{Effect, ProgressPhase},
    error::{WorkflowError, same_type},
    moment::Moment,
    step::StepId,
};

/// How long to wait before the attempt with this number, counted from 1 after the first time. It grows no longer than
/// to about ten years.
pub fn backoff_delay(backoff: Backoff, delay: Duration, attempt: u64) -> Duration {
    const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);
    let factor = match backoff {
        Backoff::Constant => 1,
        Backoff::Linear => attempt.max(1),
        Backoff::Exponential => 1_u64.checked_shl(u32::try_from(attempt.max(1) - 1).unwrap_or(64)).unwrap_or(u64::MAX),
    };
    let factor = u32::try_from(factor).unwrap_or(u32::MAX);
    delay.saturating_mul(factor).min(LONGEST)
}

/// Something between two durations that is the same for the same key.
fn between(from: Duration, to: Duration, key: &str) -> Duration {
    let hash = sha256_hex(key.as_bytes());
    let drawn = hash.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
    from + to.saturating_sub(from).mul_f64(f64::from(drawn) / f64::from(u32::MAX))
}

impl Run<'_> {
    pub(super) async fn attempts(
        &self,
        task: &Task,
        tasks: &TaskList,
        catch: &Catch,
        frame: &Frame<'_>,
        at: &StepId,
        state: &mut State,
    ) -> Done {
        let began = state.clock;
        let mut attempt = 0_u64;
        loop {
            let id = if attempt == 0 { at.clone() } else { at.mark("attempt", attempt) };
            let variables = state.variables.clone();
            let error = match self.attempt(tasks, catch.retry.as_deref(), frame, &id, state).await {
                Err(Stop::Error(error)) => error,
                done => return done,
            };
            // A loop that the error came out of leaves nothing behind.
            state.variables = variables;
            let before = state.variables.insert(catch.variable.clone(), error.to_value());
            let done = self.caught(task, catch, error, frame, at, (attempt, began), state).await;
            state.restore(&catch.variable, before);
            match done? {
                Some(done) => return Ok(done),
                None => attempt += 1,
            }
        }
    }

    async fn attempt(
        &self,
        tasks: &TaskList,
        retry: Option<&Retry>,
        frame: &Frame<'_>,
        at: &StepId,
        state: &mut State,
    ) -> Done {
        let deadlines = state.deadlines.len();
        if let Some(duration) = retry.and_then(|retry| retry.attempt_duration.as_ref()) {
            let after = self.duration(duration, frame.data(), frame, state).await?;
            state.deadlines.push(state.clock.plus(after));
        }
        let nesting = state.nesting;
        let list = at.list("try");
        let done = self.list(tasks, frame.data().clone(), &list, state).await;
        state.deadlines.truncate(deadlines);
        state.nesting = nesting;
        match done {
            Ok((value, ended)) => Ok((value, flow(ended))),
            Err(Stop::Deadline(index)) if index >= deadlines => {
                Err(Stop::error(crate::ErrorType::Timeout, "the attempt's time is over", at.pointer()))
            }
            Err(stop) => Err(stop),
        }
    }

    /// Handles an error: `Ok(None)` if it is to be tried again, `Ok(Some(…))` if it is handled, the error if not.
    #[expect(clippy::too_many_arguments, reason = "all of it is of this one place")]
    async fn caught(
        &self,
        task: &Task,
        catch: &Catch,
        error: WorkflowError,
        frame: &Frame<'_>,
        at: &StepId,
        (attempt, began): (u64, Moment),
        state: &mut State,
    ) -> Result<Option<(Value, Option<crate::Flow>)>, Stop> {
        let fits = self.fits(catch, &error, frame, state).await?
            && self.both(catch.when.as_ref(), catch.except_when.as_ref(), frame, state).await?;
        if !fits {
            return Err(Stop::Error(error));
        }
        if let Some(retry) = &catch.retry {
            if self.again(catch, retry, frame, at, (attempt + 1, began), state).await? {
                self.tell(at, task, state, ProgressPhase::Retried);
                return Ok(None);
            }
            if catch.tasks.is_none() {
                return Err(Stop::Error(error));
            }
        }
        match &catch.tasks {
            None => Ok(Some((frame.data().clone(), None))),
            Some(tasks) => {
                let list = at.list("catch").list("do");
                let (value, ended) = self.list(tasks, frame.data().clone(), &list, state).await?;
                Ok(Some((value, flow(ended))))
            }
        }
    }

    /// Whether an error has the fields that are asked for.
    async fn fits(&self, catch: &Catch, error: &WorkflowError, frame: &Frame<'_>, state: &State) -> Result<bool, Stop> {
        let said = error.to_value();
        for (name, template) in &catch.errors.with {
            let wanted = self.resolve(template, frame.data(), frame, state).await?;
            let fits = match (name.as_str(), &wanted) {
                ("type", Value::String(wanted)) => same_type(wanted, &error.kind),
                _ => said.get(name).unwrap_or(&Value::Null) == &wanted,
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn both(
        &self,
        when: Option<&std::sync::Arc<crate::Expression>>,
        except: Option<&std::sync::Arc<crate::Expression>>,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<bool, Stop> {
        if let Some(when) = when
            && !self.holds(when, frame.data(), frame, state).await?
        {
            return Ok(false);
        }
        match except {
            Some(except) => Ok(!self.holds(except, frame.data(), frame, state).await?),
            None => Ok(true),
        }
    }

    /// Waits for the next attempt, if there is to be one.
    async fn again(
        &self,
        catch: &Catch,
        retry: &Retry,
        frame: &Frame<'_>,
        at: &StepId,
        (attempt, began): (u64, Moment),
        state: &mut State,
    ) -> Result<bool, Stop> {
        if attempt > self.limits.iterations {
            let most = self.limits.iterations;
            return Err(Stop::bound(format!("a `try` is tried again at most {most} times"), frame.pointer));
        }
        // A policy of `use.retries` knows the error by this name, whatever this `catch` calls it.
        let before = state.variables.get("error").cloned();
        let error = state.variables.get(&catch.variable).cloned();
        state.restore("error", error);
        let wanted = self.both(retry.when.as_ref(), retry.except_when.as_ref(), frame, state).await;
        state.restore("error", before);
        if !wanted? || retry.attempts.is_some_and(|most| attempt > most) {
            return Ok(false);
        }
        let delay = match &retry.delay {
            Some(delay) => self.duration(delay, frame.data(), frame, state).await?,
            None => Duration::ZERO,
        };
        let mut delay = backoff_delay(retry.backoff, delay, attempt);
        let id = at.mark("retry", attempt);
        if let Some((from, to)) = &retry.jitter {
            let from = self.duration(from, frame.data(), frame, state).await?;
            let to = self.duration(to, frame.data(), frame, state).await?;
            delay = delay.saturating_add(between(from, to, &id.idempotency_key(self.execution)));
        }
        let until = state.clock.plus(delay);
        if let Some(limit) = &retry.duration
            && until > began.plus(self.duration(limit, frame.data(), frame, state).await?)
        {
            return Ok(false);
        }
        if !delay.is_zero() {
            self.perform(&id, Effect::Wait(until), state).await?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, backoff_delay, between};

    #[test]
    fn waits_grow_as_the_policy_says() {
        let delays =
            |backoff| (1..=5).map(|n| backoff_delay(backoff, Duration::from_secs(3), n).as_secs()).collect::<Vec<_>>();
        assert_eq!(delays(Backoff::Constant), [3, 3, 3, 3, 3]);
        assert_eq!(delays(Backoff::Linear), [3, 6, 9, 12, 15]);
        assert_eq!(delays(Backoff::Exponential), [3, 6, 12, 24, 48]);
        for backoff in [Backoff::Constant, Backoff::Linear, Backoff::Exponential] {
            assert!(backoff_delay(backoff, Duration::MAX, u64::MAX) <= Duration::from_secs(400_000_000));
        }
    }

    #[test]
    fn jitter_is_between_its_ends_and_the_same_each_time() {
        let (from, to) = (Duration::from_secs(1), Duration::from_secs(2));
        let drawn: Vec<Duration> = (0..100).map(|n| between(from, to, &n.to_string())).collect();
        assert!(drawn.iter().all(|drawn| (from..=to).contains(drawn)));
        assert!(drawn.iter().min() < drawn.iter().max());
        assert_eq!(between(from, to, "7"), between(from, to, "7"));
        assert_eq!(between(to, from, "7"), to);
    }
}
