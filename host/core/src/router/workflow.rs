//! Calls of operations that have a workflow: `durable` has it walked.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_definitions::violations;
use nexus_model::{Cause, ExecutionId, ServedBy, TokenSink};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Answer, Call, CallError, CallErrorKind, RequestRouter, in_flight, read};
use crate::{
    durable::{BeginError, New, Status},
    registry::{Application, Definition, OperationEntry},
};

impl RequestRouter {
    /// Begins an execution of an operation that has a workflow, and does not wait for its end; `None` if it has none.
    pub async fn begin(&self, call: Call<'_>) -> Result<Option<ExecutionId>, CallError> {
        let (application, entry) = self.find(call.app, call.operation)?;
        if !matches!(entry.definition, Definition::Workflow) {
            return Ok(None);
        }
        let (_, input) = read(call.body)?;
        let id = ExecutionId(Uuid::now_v7());
        self.begin_workflow(&application, &entry, input, id, None).await?;
        Ok(Some(id))
    }

    async fn begin_workflow(
        &self,
        application: &Arc<Application>,
        entry: &Arc<OperationEntry>,
        input: Value,
        id: ExecutionId,
        cause: Option<Cause>,
    ) -> Result<watch::Receiver<Status>, CallErrorKind> {
        let wrong = violations(&entry.input, &input);
        if !wrong.is_empty() {
            return Err(CallErrorKind::InvalidInput { violations: wrong });
        }
        // Executions wait for sandboxes, but not for an engine that there is none of.
        self.sandboxes.check().map_err(CallErrorKind::Work)?;
        let (application, entry) = (Arc::clone(application), Arc::clone(entry));
        let new = New { id, application, entry, input, cause, parent: None, replay: None };
        self.durable.begin(new).await.map_err(|error| match error {
            BeginError::TooMany => CallErrorKind::Busy { retry_after: Duration::from_secs(5) },
            BeginError::Store(error) => CallErrorKind::Store(error),
        })
    }

    /// Has a workflow walked, and waits for its end as long as a call may take. It goes on if nobody waits any more.
    pub(super) async fn walk(
        &self,
        application: &Arc<Application>,
        entry: &Arc<OperationEntry>,
        input: Value,
        sink: Option<&mut dyn TokenSink>,
        caused: Option<(ExecutionId, Cause)>,
    ) -> Result<Answer, CallError> {
        let started = Instant::now();
        let (id, cause) = caused.map_or_else(|| (ExecutionId(Uuid::now_v7()), None), |(id, cause)| (id, Some(cause)));
        let waits = cause.is_none();
        let mut status = self.begin_workflow(application, entry, input, id, cause).await?;
        let answered = |output: String, usage| Answer {
            execution: id,
            path: ServedBy::Model,
            fallback: None,
            output,
            usage,
            model: None,
            duration: started.elapsed(),
        };
        if !waits {
            // That it has begun is durable; a trigger waits for no more.
            return Ok(answered("null".to_owned(), None));
        }
        let left = application.app.limits.timeout;
        let watching = self.durable.watch(&application.app.name, id);
        let ended = tokio::time::timeout(left, in_flight::ended(&mut status, watching, sink)).await;
        let failed = |kind| CallError { execution: Some(id), kind };
        match ended {
            Err(_) => Err(failed(CallErrorKind::StillRunning { waited: left })),
            Ok(None) => Err(failed(CallErrorKind::StillRunning { waited: started.elapsed() })),
            Ok(Some(ended)) => match &ended.result {
                Ok(output) => Ok(answered(output.to_string(), Some(ended.usage))),
                Err(error) if error.status == crate::durable::CANCELLED => Err(failed(CallErrorKind::Cancelled)),
                Err(error) => Err(failed(CallErrorKind::Workflow(Box::new(error.clone())))),
            },
        }
    }
}
