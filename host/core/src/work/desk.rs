//! Who waits for a sandbox, and which sandbox has what.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nexus_model::{AppName, ExecutionId};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use super::{Work, WorkError};

/// What a program brings back.
type Outcome = Result<Value, WorkError>;

/// Where executions wait for sandboxes. One for a host.
#[derive(Default)]
pub(crate) struct WorkDesk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    apps: HashMap<AppName, Arc<Line>>,
    /// What sandboxes have.
    claimed: BTreeMap<ExecutionId, InHand>,
}

/// The executions of one application that no sandbox has yet.
#[derive(Default)]
struct Line {
    waiting: Mutex<VecDeque<Waiting>>,
    came: Notify,
}

struct Waiting {
    work: Work,
    since: Instant,
    answer: oneshot::Sender<Outcome>,
    taken: oneshot::Sender<()>,
}

struct InHand {
    sandbox: String,
    answer: oneshot::Sender<Outcome>,
}

/// What is at an application's desk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Executions that wait.
    pub(crate) waiting: usize,
    /// How long the first has waited.
    pub(crate) longest: Duration,
}

/// Whose an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The sandbox's that asks, and somebody waits for its answer.
    Yes,
    /// The sandbox's that asks, or of nobody any more: it is to stop.
    Cancelled,
    /// Another sandbox's.
    Foreign,
}

impl WorkDesk {
    /// Waits for what a sandbox makes of the work: `patience` for one to take it, and until the work's own end for an answer.
    /// Dropping the future takes the work back.
    pub(crate) async fn done(&self, work: Work, patience: Duration, left: Duration) -> Outcome {
        let id = work.execution;
        let line = self.line(&work.app);
        let (answer, mut answered) = oneshot::channel();
        let (taken, was_taken) = oneshot::channel();
        let _place = Place { desk: self, line: Arc::clone(&line), id };
        line.waiting().push_back(Waiting { work, since: Instant::now(), answer, taken });
        line.came.notify_one();
        let end = tokio::time::sleep(left);
        tokio::pin!(end);
        let patience = patience.min(left);
        tokio::select! {
            taken = was_taken => if taken.is_err() { return (&mut answered).await.unwrap_or(Err(WorkError::Lost)) },
            () = tokio::time::sleep(patience) => return Err(WorkError::NotTaken(patience)),
        }
        tokio::select! {
            outcome = &mut answered => outcome.unwrap_or(Err(WorkError::Lost)),
            () = end => Err(WorkError::Late(left)),
        }
    }

    /// The next execution of an application for a sandbox, if one comes within `wait`.
    pub(crate) async fn next(&self, app: &AppName, sandbox: &str, wait: Duration) -> Option<Work> {
        let line = self.line(app);
        let end = tokio::time::Instant::now() + wait;
        loop {
            let came = line.came.notified();
            if let Some(work) = self.take(&line, sandbox) {
                return Some(work);
            }
            if tokio::time::timeout_at(end, came).await.is_err() {
                return self.take(&line, sandbox);
            }
        }
    }

    fn take(&self, line: &Line, sandbox: &str) -> Option<Work> {
        // Both at one time, so that whoever stops waiting finds it in one of them.
        let mut state = self.state();
        let mut waiting = line.waiting();
        while let Some(next) = waiting.pop_front() {
            if next.taken.send(()).is_err() {
                continue;
            }
            if !waiting.is_empty() {
                line.came.notify_one();
            }
            state.claimed.insert(next.work.execution, InHand { sandbox: sandbox.to_owned(), answer: next.answer });
            return Some(next.work);
        }
        None
    }

    /// Whose an execution is.
    pub(crate) fn whose(&self, execution: ExecutionId, sandbox: &str) -> Claimed {
        match self.state().claimed.get(&execution) {
            Some(in_hand) if in_hand.sandbox != sandbox => Claimed::Foreign,
            Some(in_hand) if in_hand.answer.is_closed() => Claimed::Cancelled,
            Some(_) => Claimed::Yes,
            None => Claimed::Cancelled,
        }
    }

    /// Brings back what came of an execution.
    pub(crate) fn finish(&self, execution: ExecutionId, sandbox: &str, outcome: Result<Value, String>) -> Claimed {
        let whose = self.whose(execution, sandbox);
        if whose != Claimed::Foreign
            && let Some(in_hand) = self.state().claimed.remove(&execution)
        {
            // Nobody waits any more if it fails.
            let _ = in_hand.answer.send(outcome.map_err(WorkError::Failed));
        }
        whose
    }

    /// A sandbox is gone: what it had is lost.
    pub(crate) fn gone(&self, sandbox: &str) {
        let lost: Vec<_> = {
            let mut state = self.state();
            let ids: Vec<_> =
                state.claimed.iter().filter(|(_, in_hand)| in_hand.sandbox == sandbox).map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| state.claimed.remove(&id)).collect()
        };
        for in_hand in lost {
            let _ = in_hand.answer.send(Err(WorkError::Lost));
        }
    }

    /// Ends an execution of an application, wherever it is; `false` if it is not here.
    pub(crate) fn cancel(&self, app: &AppName, execution: ExecutionId) -> bool {
        let line = self.line(app);
        let mut state = self.state();
        let mut waiting = line.waiting();
        let at = waiting.iter().position(|waiting| waiting.work.execution == execution);
        let answer = match at.and_then(|at| waiting.remove(at)) {
            Some(waiting) => Some(waiting.answer),
            None => state.claimed.remove(&execution).map(|in_hand| in_hand.answer),
        };
        answer.is_some_and(|answer| answer.send(Err(WorkError::Cancelled)).is_ok())
    }

    /// What is at the desk of an application.
    pub(crate) fn waiting(&self, app: &AppName) -> Leave {
        let line = self.line(app);
        let waiting = line.waiting();
        let longest = waiting.front().map(|first| first.since.elapsed()).unwrap_or_default();
        Leave { waiting: waiting.len(), longest }
    }

    fn line(&self, app: &AppName) -> Arc<Line> {
        Arc::clone(self.state().apps.entry(app.clone()).or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place at the desk, which is left with the value.
struct Place<'a> {
    desk: &'a WorkDesk,
    line: Arc<Line>,
    id: ExecutionId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        self.line.waiting().retain(|waiting| waiting.work.execution != self.id);
        state.claimed.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn work(app: &str) -> Work {
        Work {
            execution: ExecutionId(Uuid::now_v7()),
            app: app.parse().unwrap(),
            operation: "echo".parse().unwrap(),
            definition: Arc::new(json!({})),
            input: json!(1),
            until: SystemTime::now() + LONG,
        }
    }

    #[tokio::test]
    async fn an_execution_comes_back_from_the_sandbox_that_took_it() {
        let desk = Arc::new(WorkDesk::default());
        let app = "a".parse().unwrap();
        let worker = {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                let app = "a".parse().unwrap();
                let work = desk.next(&app, "one", LONG).await.unwrap();
                assert_eq!(desk.whose(work.execution, "other"), Claimed::Foreign);
                assert_eq!(desk.finish(work.execution, "other", Ok(json!("stolen"))), Claimed::Foreign);
                assert_eq!(desk.whose(work.execution, "one"), Claimed::Yes);
                desk.finish(work.execution, "one", Ok(json!({ "was": work.input })))
            })
        };
        assert_eq!(desk.done(work("a"), LONG, LONG).await, Ok(json!({ "was": 1 })));
        assert_eq!(worker.await.unwrap(), Claimed::Yes);
        assert!(desk.state().claimed.is_empty());
        assert_eq!(desk.waiting(&app).waiting, 0);
        assert!(desk.next(&"b".parse().unwrap(), "one", Duration::from_millis(1)).await.is_none());
    }

    #[tokio::test]
    async fn whoever_stops_waiting_leaves_nothing() {
        let desk = WorkDesk::default();
        let app = "a".parse().unwrap();
        let short = Duration::from_millis(5);
        assert_eq!(desk.done(work("a"), short, LONG).await, Err(WorkError::NotTaken(short)));
        assert!(desk.next(&app, "one", Duration::ZERO).await.is_none());
        let item = work("a");
        let id = item.execution;
        let (outcome, taken) = tokio::join!(desk.done(item, LONG, short), desk.next(&app, "one", LONG));
        assert_eq!((outcome, taken.unwrap().execution), (Err(WorkError::Late(short)), id));
        assert_eq!(desk.whose(id, "one"), Claimed::Cancelled);
    }

    #[tokio::test]
    async fn what_a_dead_sandbox_had_is_lost_and_what_is_cancelled_ends() {
        let desk = WorkDesk::default();
        let app = "a".parse().unwrap();
        let (outcome, ()) = tokio::join!(desk.done(work("a"), LONG, LONG), async {
            desk.next(&app, "one", LONG).await.unwrap();
            desk.gone("two");
            desk.gone("one");
        });
        assert_eq!(outcome, Err(WorkError::Lost));
        for claim in [false, true] {
            let item = work("a");
            let id = item.execution;
            let (outcome, ended) = tokio::join!(desk.done(item, LONG, LONG), async {
                if claim {
                    desk.next(&app, "one", LONG).await.unwrap();
                }
                desk.cancel(&app, id)
            });
            assert_eq!((outcome, ended), (Err(WorkError::Cancelled), true));
            assert!(!desk.cancel(&app, id));
        }
    }
}
