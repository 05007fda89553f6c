//! Executions that can be cancelled while a model or a sandbox works for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nexus_model::{AppName, ExecutionId, TokenSink};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::durable::{Ended, Status, Told, Watching};

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

/// How an execution of a workflow ended; nothing if another host has it. `sink` sees what models say meanwhile.
pub(crate) async fn ended(
    status: &mut watch::Receiver<Status>,
    watching: Option<Watching>,
    mut sink: Option<&mut dyn TokenSink>,
) -> Option<Arc<Ended>> {
    let telling = async {
        let (Some(mut watching), Some(sink)) = (watching, sink.as_deref_mut()) else { return };
        let mut seen = None;
        loop {
            let items = watching.next(seen).await;
            let Some(last) = items.last() else { return };
            seen = Some(last.id);
            for item in items {
                match item.news {
                    Told::Token { text, .. } => sink.token(&text),
                    Told::Restart { .. } => sink.restart(),
                    _ => {}
                }
            }
        }
    };
    let ending = async {
        loop {
            match &*status.borrow_and_update() {
                Status::Ended(ended) => return Some(Arc::clone(ended)),
                Status::Elsewhere => return None,
                Status::Active | Status::Parked(_) => {}
            }
            if status.changed().await.is_err() {
                return None;
            }
        }
    };
    tokio::pin!(telling, ending);
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut ending => return ended,
            () = &mut telling, if !told => told = true,
        }
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
