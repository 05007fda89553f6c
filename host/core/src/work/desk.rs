//! What one sandbox has to do.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nexus_model::ExecutionId;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Brought, Work, WorkError};
use crate::durable::Run;

/// What a program brings back.
type Outcome = Result<Brought, WorkError>;

/// Executions that nobody waits for any more and that a program has not given back. One that has more does not do its work.
const MAX_FORGOTTEN: usize = 1_000;

/// Where the executions of one sandbox wait, and what it has taken. How many there are at one time is bounded by the places
/// of the sandbox.
pub(crate) struct Desk {
    state: Mutex<State>,
    came: Notify,
    /// Ends with the sandbox, and ends it.
    pub(crate) ended: CancellationToken,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    taken: HashMap<ExecutionId, Taken>,
    /// Those that it was told to leave, the last ones.
    released: VecDeque<ExecutionId>,
}

struct Waiting {
    work: Arc<Work>,
    answer: oneshot::Sender<Outcome>,
}

struct Taken {
    work: Arc<Work>,
    began: Instant,
    answer: oneshot::Sender<Outcome>,
}

/// How it stands with an execution that a program names.
pub(crate) enum Standing {
    /// It has it, and somebody waits for the answer.
    Open(Arc<Work>),
    /// It has it, and is to stop.
    Cancelled,
    /// It never took it, or gave it back.
    Foreign,
}

impl Desk {
    pub(crate) fn new(ended: CancellationToken) -> Self {
        Self { state: Mutex::default(), came: Notify::new(), ended }
    }

    /// Waits for what the program makes of the work, at most `left`. Dropping the future tells the program to stop.
    pub(crate) async fn done(&self, work: Work, left: Duration) -> Outcome {
        let id = work.execution;
        let (answer, answered) = oneshot::channel();
        self.state().waiting.push_back(Waiting { work: Arc::new(work), answer });
        let _place = Place { desk: self, id };
        self.came.notify_one();
        tokio::select! {
            outcome = answered => outcome.unwrap_or_else(|_| Err(lost())),
            () = tokio::time::sleep(left) => Err(WorkError::Late(left)),
            () = self.ended.cancelled() => Err(lost()),
        }
    }

    /// The next execution, if one comes within `wait`.
    pub(crate) async fn next(&self, wait: Duration) -> Option<Arc<Work>> {
        let end = tokio::time::Instant::now() + wait;
        loop {
            let came = self.came.notified();
            if let Some(work) = self.take() {
                return Some(work);
            }
            if tokio::time::timeout_at(end, came).await.is_err() {
                return None;
            }
        }
    }

    fn take(&self) -> Option<Arc<Work>> {
        let mut state = self.state();
        let Waiting { work, answer } = state.waiting.pop_front()?;
        if !state.waiting.is_empty() {
            self.came.notify_one();
        }
        state.taken.insert(work.execution, Taken { work: Arc::clone(&work), began: Instant::now(), answer });
        Some(work)
    }

    /// How it stands with an execution.
    pub(crate) fn standing(&self, execution: ExecutionId) -> Standing {
        let state = self.state();
        match state.taken.get(&execution) {
            Some(taken) if taken.answer.is_closed() => Standing::Cancelled,
            Some(taken) => Standing::Open(Arc::clone(&taken.work)),
            None if state.released.contains(&execution) => Standing::Cancelled,
            None => Standing::Foreign,
        }
    }

    /// The program was told to leave an execution, and does not bring it back: this stay of it, which may have been given to it again
    /// since, or one that nobody waits for.
    pub(crate) fn release(&self, execution: ExecutionId, stay: Option<&Arc<Run>>) {
        let mut state = self.state();
        let is_left = |taken: &Taken| {
            let same = taken.work.run.as_ref().zip(stay).is_some_and(|(run, stay)| Arc::ptr_eq(run, stay));
            same || taken.answer.is_closed()
        };
        if state.taken.get(&execution).is_some_and(is_left) {
            state.taken.remove(&execution);
            if state.released.len() == MAX_FORGOTTEN {
                state.released.pop_front();
            }
            state.released.push_back(execution);
        }
    }

    /// The execution that the program has, if it has exactly one.
    pub(crate) fn only(&self) -> Option<ExecutionId> {
        let state = self.state();
        let mut ids = state.taken.keys();
        ids.next().copied().filter(|_| ids.next().is_none())
    }

    /// Brings back what came of an execution, and how it stood with it.
    pub(crate) fn finish(&self, execution: ExecutionId, outcome: Result<Brought, String>) -> Standing {
        let mut state = self.state();
        let Some(taken) = state.taken.remove(&execution) else {
            let released = state.released.contains(&execution);
            return if released { Standing::Cancelled } else { Standing::Foreign };
        };
        drop(state);
        tracing::debug!(%execution, took = ?taken.began.elapsed(), "a sandbox gave an execution back");
        match taken.answer.send(outcome.map_err(WorkError::Failed)) {
            Ok(()) => Standing::Open(taken.work),
            Err(_) => Standing::Cancelled,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost() -> WorkError {
    WorkError::Lost("it is gone".to_owned())
}

/// A place at the desk, which is left with the value.
struct Place<'a> {
    desk: &'a Desk,
    id: ExecutionId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        state.waiting.retain(|waiting| waiting.work.execution != self.id);
        if state.taken.values().filter(|taken| taken.answer.is_closed()).count() > MAX_FORGOTTEN {
            self.desk.ended.cancel();
        }
    }
}
