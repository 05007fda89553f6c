//! The port of the workflow language, over the tools of the host.

use std::{fmt, future::pending, sync::OnceLock};

use async_trait::async_trait;
use nexus_workflow::{
    Call, Decision, Effect, Effects, ErrorType, Moment, NexusFunction, Outcome, Progress, StepId, WorkflowError,
};
use rmcp::{RoleClient, service::Peer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    agent,
    host::call,
    journal::Journal,
    telling::Telling,
    work::{DECIDE, Decided, Left, PERFORM, Performed, STEP, Told},
};

/// The effects of one execution. What is in its journal is answered from there, everything else by the host.
pub(crate) struct Port {
    peer: Peer<RoleClient>,
    execution: String,
    journal: Journal,
    telling: Telling,
    left: OnceLock<Left>,
    over: CancellationToken,
}

impl Port {
    pub(crate) fn new(peer: Peer<RoleClient>, execution: String, journal: Journal) -> Self {
        let (telling, left, over) = (Telling::default(), OnceLock::new(), CancellationToken::new());
        Self { peer, execution, journal, telling, left, over }
    }

    /// Waits until the execution is to be left before its end.
    pub(crate) async fn left(&self) -> Left {
        self.over.cancelled().await;
        self.left.get().cloned().unwrap_or(Left::ToHost)
    }

    /// Tells of steps that nothing else takes along. After [`Self::end_telling`] it ends, and leaves as many as go at one time.
    pub(crate) async fn tell(&self) {
        while let Some(steps) = self.telling.next().await {
            self.tell_of(steps).await;
        }
    }

    /// There will be no more steps.
    pub(crate) fn end_telling(&self) {
        self.telling.close();
    }

    /// Steps that nothing took along.
    pub(crate) fn rest(&self) -> Vec<Told> {
        self.telling.take()
    }

    /// Steps that could not be told.
    pub(crate) fn untold(&self) -> u64 {
        self.telling.lost()
    }

    async fn tell_of(&self, steps: Vec<Told>) {
        let told = json!({ "execution": self.execution, "progress": steps });
        // People who watch are not worth an execution: what cannot be told is not.
        if let Ok(answer) = call(&self.peer, STEP, told, None).await
            && answer.get("go").and_then(Value::as_str) == Some("cancel")
        {
            self.leave(Left::ToHost);
        }
    }

    fn leave(&self, left: Left) {
        // The first reason counts.
        let _ = self.left.set(left);
        self.over.cancel();
    }

    /// Asks the host. Without an answer the execution is left, and this never ends.
    async fn ask<T: DeserializeOwned>(&self, tool: &str, asked: Value) -> T {
        let answer = call(&self.peer, tool, asked, None).await.map_err(|error| error.to_string());
        let read = answer.and_then(|answer| serde_json::from_value(answer).map_err(|error| error.to_string()));
        match read {
            Ok(answer) => answer,
            Err(why) => self.fail(format!("`{tool}`: {why}")).await,
        }
    }

    async fn fail<T>(&self, why: String) -> T {
        self.leave(Left::Failed(WorkflowError::new(ErrorType::Runtime, why)));
        pending().await
    }
}

#[async_trait]
impl Effects for Port {
    async fn perform(&self, at: &StepId, effect: Effect, deadline: Option<Moment>) -> Outcome {
        if let Some(outcome) = self.journal.outcomes.get(at.as_str()) {
            return outcome.clone();
        }
        // An agent is no effect: what it does are some.
        if let Effect::Call(Call::Function { function: NexusFunction::Agent, with }) = effect {
            return agent::run(self, at, with, deadline).await;
        }
        let mut asked = json!({
            "execution": self.execution, "step": at.as_str(), "pointer": at.pointer(), "effect": effect,
        });
        if let Some(deadline) = deadline {
            asked["deadline"] = json!(deadline);
        }
        let progress = self.telling.take();
        if !progress.is_empty() {
            asked["progress"] = json!(progress);
        }
        match self.ask(PERFORM, asked).await {
            Performed { outcome: Some(outcome), .. } => outcome,
            Performed { suspended, cancelled, .. } if suspended || cancelled => {
                self.leave(Left::ToHost);
                pending().await
            }
            Performed { .. } => self.fail(format!("`{PERFORM}` says nothing of `{at}`")).await,
        }
    }

    async fn recall(&self, at: &StepId) -> Option<Decision> {
        self.journal.decisions.get(at.as_str()).copied()
    }

    async fn decide(&self, at: &StepId, decision: Decision) -> Decision {
        let asked = json!({ "execution": self.execution, "step": at.as_str(), "decision": decision });
        self.ask::<Decided>(DECIDE, asked).await.decision
    }

    fn step(&self, at: &StepId, progress: Progress) {
        self.telling.add(Told { step: at.as_str().to_owned(), progress });
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("execution", &self.execution).finish_non_exhaustive()
    }
}
