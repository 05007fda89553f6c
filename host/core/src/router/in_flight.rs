//! Executions that can be cancelled while a model or a sandbox works for them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nexus_model::{AppName, ExecutionId};
use tokio_util::sync::CancellationToken;

/// What is in flight at this host. As many as there are calls at one time.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashMap<ExecutionId, (AppName, CancellationToken)>>);

impl InFlight {
    /// What becomes of the work; `None` if it was cancelled.
    pub(crate) async fn cancellable<T>(
        &self,
        id: ExecutionId,
        app: &AppName,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let token = CancellationToken::new();
        self.entries().insert(id, (app.clone(), token.clone()));
        let _entry = Entry { all: self, id };
        token.run_until_cancelled(work).await
    }

    /// Cancels an execution of an application; `false` if it is not in flight here.
    pub(crate) fn cancel(&self, app: &AppName, id: ExecutionId) -> bool {
        let entries = self.entries();
        let Some((_, token)) = entries.get(&id).filter(|(owner, _)| owner == app) else { return false };
        token.cancel();
        true
    }

    pub(crate) fn all(&self) -> Vec<(AppName, ExecutionId)> {
        self.entries().iter().map(|(id, (owner, _))| (owner.clone(), *id)).collect()
    }

    /// Whose an execution is that is in flight here.
    pub(crate) fn owner(&self, id: ExecutionId) -> Option<AppName> {
        self.entries().get(&id).map(|(owner, _)| owner.clone())
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ExecutionId, (AppName, CancellationToken)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Entry<'a> {
    all: &'a InFlight,
    id: ExecutionId,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.all.entries().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_is_in_flight_can_be_cancelled_by_its_owner() {
        let flights = InFlight::default();
        let (app, other): (AppName, AppName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let id = ExecutionId(Uuid::now_v7());
        assert_eq!(flights.cancellable(id, &app, ready(1)).await, Some(1));
        assert!(!flights.cancel(&app, id));
        let (outcome, cancelled) = tokio::join!(flights.cancellable(id, &app, pending::<()>()), async {
            [flights.cancel(&other, id), flights.cancel(&app, id)]
        });
        assert_eq!((outcome, cancelled), (None, [false, true]));
        assert!(flights.entries().is_empty());
    }
}
