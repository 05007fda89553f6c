//! Executions, as those outside of the crate see them.

use nexus_model::{AppName, ExecutionId, Revision, StoreError};

use crate::{
    Core,
    durable::{Comparison, ReplayEffects, ReplayError, Shown, Watching},
};

impl Core {
    /// Cancels an execution of one of `apps`: one that a model or a program works for at this host, or one of a workflow,
    /// whichever host has it. `false` if there is none that has not ended.
    pub async fn cancel_execution(&self, apps: &[AppName], id: ExecutionId) -> Result<bool, StoreError> {
        if let Some(owner) = self.router.owner_in_flight(id) {
            return Ok(apps.contains(&owner) && self.router.cancel(&owner, id));
        }
        for app in apps {
            if self.durable().cancel(self, app, id).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What there is to see of an execution of a workflow, of one of `apps`.
    pub async fn show_execution(
        &self,
        apps: &[AppName],
        id: ExecutionId,
    ) -> Result<Option<(AppName, Shown)>, StoreError> {
        for app in apps {
            if let Some(shown) = self.durable().show(app, id).await? {
                return Ok(Some((app.clone(), shown)));
            }
        }
        Ok(None)
    }

    /// Executions of workflows of an application that have not ended, newest first.
    pub async fn unfinished_executions(
        &self,
        app: &AppName,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        self.durable().unfinished(app, before, limit).await
    }

    /// What is told of an execution of a workflow that this host has.
    pub fn watch_execution(&self, app: &AppName, id: ExecutionId) -> Option<Watching> {
        self.durable().watch(app, id)
    }

    /// Does an execution of a workflow again; see [`ReplayEffects`].
    pub async fn replay_execution(
        &self,
        app: &AppName,
        id: ExecutionId,
        revision: Option<Revision>,
        effects: ReplayEffects,
    ) -> Result<ExecutionId, ReplayError> {
        if let Err(error) = self.sandboxes().check() {
            return Err(ReplayError::Busy(error.to_string()));
        }
        self.durable().replay(app, id, revision, effects).await.map(|(id, _)| id)
    }

    /// What a replay that has ended has otherwise than the execution that it did again.
    pub async fn compare_execution(&self, app: &AppName, id: ExecutionId) -> Result<Option<Comparison>, StoreError> {
        self.durable().comparison(app, id).await
    }

    /// How many executions of workflows wait at this host, in no sandbox.
    pub fn waiting_executions(&self) -> usize {
        self.durable().parked()
    }
}
