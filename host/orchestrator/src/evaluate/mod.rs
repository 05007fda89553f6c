//! Expressions are evaluated in processes that can be killed: jq can loop, fill the memory, and use up the stack.

mod child;
mod inside;
mod wire;

use std::{
    io,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use nexus_workflow::{Evaluate, Evaluation};
use serde_json::Value;
use tokio::{
    sync::{Mutex as Turn, Semaphore},
    task::coop::consume_budget,
    time::timeout,
};

use child::Child;
pub use inside::evaluate_for_parent;
use wire::{Answer, LONGEST, Request};

/// Bounds of evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationLimits {
    /// After what time an evaluation has its child for itself, and another child takes what comes next.
    pub alone_after: Duration,
    /// How long an evaluation may take.
    pub longest: Duration,
    /// Bytes of address space of a child.
    pub memory: u64,
    /// Children at one time.
    pub children: usize,
}

impl Default for EvaluationLimits {
    fn default() -> Self {
        Self {
            alone_after: Duration::from_millis(100),
            longest: Duration::from_secs(2),
            memory: 128 << 20,
            children: 4,
        }
    }
}

/// Bytes of a line after which a child is not asked again: what it keeps of its memory could be too much for others.
const MUCH: usize = 1 << 20;

/// The children, and the order in which they are asked: one evaluation after another, but for those that take long.
#[derive(Debug)]
pub struct Evaluators {
    program: PathBuf,
    limits: EvaluationLimits,
    turn: Turn<()>,
    places: Semaphore,
    /// With those that are asked, no more than there are places: one is started only when none is here.
    idle: Mutex<Vec<Child>>,
}

impl Evaluators {
    /// Children of this program, which calls [`evaluate_for_parent`] when its first argument is `evaluate`; the second is the
    /// memory in bytes.
    pub fn new(program: impl Into<PathBuf>, limits: EvaluationLimits) -> Self {
        Self {
            program: program.into(),
            limits,
            turn: Turn::new(()),
            places: Semaphore::new(limits.children.max(1)),
            idle: Mutex::default(),
        }
    }

    /// Children of the program that is running.
    pub fn of_this_program(limits: EvaluationLimits) -> Self {
        Self::new("/proc/self/exe", limits)
    }

    /// Asks a child. If the future is dropped on the way, the child is killed.
    async fn ask(&self, line: &[u8], most: usize) -> Result<Vec<u8>, String> {
        let turn = self.turn.lock().await;
        let place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let mut child = self.child().map_err(|error| format!("no process evaluates it: {error}"))?;
        let answer = {
            let mut asked = pin!(child.ask(line, most));
            let soon = timeout(self.limits.alone_after, &mut asked).await;
            // Others need not wait any longer for this one.
            drop(turn);
            if let Ok(answer) = soon {
                answer
            } else {
                let left = self.limits.longest.saturating_sub(self.limits.alone_after);
                let late = |_| format!("it takes longer than {} ms", self.limits.longest.as_millis());
                timeout(left, asked).await.map_err(late)?
            }
        };
        let answer = answer.map_err(|error| self.ended(&error))?;
        if line.len() < MUCH && answer.len() < MUCH {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        }
        drop(place);
        Ok(answer)
    }

    fn child(&self) -> io::Result<Child> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.and_then(Child::living) {
            Some(child) => Ok(child),
            None => Child::start(&self.program, self.limits.memory),
        }
    }

    /// Why a child said nothing.
    fn ended(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::InvalidData => "its output is too large".to_owned(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                let most = self.limits.memory >> 20;
                format!("it needs more than {most} MiB of memory, or makes a value that is nested too deep")
            }
            _ => format!("the process that evaluates it failed: {error}"),
        }
    }
}

/// Evaluates for one execution.
#[derive(Debug, Clone)]
pub struct ProcessEvaluator {
    /// Who evaluates.
    pub evaluators: Arc<Evaluators>,
    /// Bytes of JSON of an output.
    pub output_bytes: usize,
}

#[async_trait]
impl Evaluate for ProcessEvaluator {
    async fn evaluate(&self, evaluation: Evaluation<'_>) -> Result<Value, String> {
        let Evaluation { expression, input, variables } = evaluation;
        if let Some(value) = expression.evaluate_at_once(input, variables, self.output_bytes) {
            // A workflow that asks for nothing else lets others go on.
            consume_budget().await;
            return Ok(value);
        }
        let (text, names, bytes) = (expression.text(), expression.variables(), self.output_bytes);
        let request = Request { text, names, input, values: variables, bytes };
        let mut line = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        line.push(b'\n');
        if line.len() > LONGEST {
            return Err(format!("the data that it uses has more than {} MiB", LONGEST >> 20));
        }
        // Text in JSON has up to six bytes for one.
        let heard = self.evaluators.ask(&line, bytes.saturating_mul(6).saturating_add(4096)).await?;
        match serde_json::from_slice(&heard).map_err(|error| format!("its output cannot be read: {error}"))? {
            Answer::Output(output) => Ok(output),
            Answer::Problem(why) => Err(why),
        }
    }
}
