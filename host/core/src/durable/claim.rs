//! Takes executions up: those that wait, when they are woken, and those of hosts that are no more.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use nexus_model::{AppName, Durability, ExecutionId, Key, StoreError, Write};
use tokio::sync::watch;

use super::{
    Durable, Live, Status, bytes,
    drive::cancelled,
    news::{News, Told},
    read,
    record::{Begun, Open, ParkedFor, Record, journal_prefix, open_key},
    run::{Made, Run, Waits},
    workflow_of,
};
use crate::{Core, lease::Lease, router::spans};

/// How long a host that is gone is taken for one that lives.
const LASTS: Duration = Duration::from_secs(5);
/// How often it is looked for executions that nobody has.
const LOOK: Duration = Duration::from_secs(2);
/// Executions, or records, that are read in one step.
const PAGE: usize = 500;
/// How often a cancellation is tried against a host that goes on writing.
const MAX_TRIES: u32 = 20;

/// Why an execution could not be taken up.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Definition(String),
}

impl Durable {
    /// Says that this host lives, and takes up executions that nobody has, until the host stops.
    pub(crate) async fn take_over(self: Arc<Self>) {
        let lease = self.lease(&self.host);
        let holding = async {
            loop {
                if let Err(error) = lease.take().await {
                    tracing::warn!(%error, "it cannot be said that this host lives; others may take its executions");
                }
                lease.keep(|| true, &self.cancel).await;
                if !crate::start::wait(Duration::from_secs(1), &self.cancel).await {
                    return;
                }
            }
        };
        let looking = async {
            loop {
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, "it could not be looked for executions that nobody has");
                }
                if !crate::start::wait(LOOK, &self.cancel).await {
                    return;
                }
            }
        };
        tokio::join!(holding, looking);
    }

    fn lease(&self, host: &str) -> Lease {
        let key = Key::of_host("executing_host", host);
        Lease { runtime: Arc::clone(&self.runtime), key, holder: host.to_owned(), lasts: LASTS }
    }

    async fn lives(&self, host: &str) -> Result<bool, StoreError> {
        // Nobody else can have this store.
        if self.runtime.is_exclusive() {
            return Ok(false);
        }
        Ok(self.runtime.get(&self.lease(host).key).await?.is_some())
    }

    async fn look(self: &Arc<Self>) -> Result<(), StoreError> {
        for app in self.registry.names() {
            let mut after = None;
            loop {
                let page = self.runtime.list(&open_key(&app, ""), after.as_deref(), PAGE).await?;
                after = page.last().map(|entry| entry.key.clone());
                let last = page.len() < PAGE;
                for entry in page {
                    let (Ok(id), Some(open)) = (entry.key.parse(), read::<Open>(&entry.value)) else { continue };
                    self.look_into(&app, id, open, entry.value).await?;
                }
                if last {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn look_into(
        self: &Arc<Self>,
        app: &AppName,
        id: ExecutionId,
        open: Open,
        found: Vec<u8>,
    ) -> Result<(), StoreError> {
        let begins = self.beginning.lock().unwrap_or_else(PoisonError::into_inner).contains(&id);
        if begins || self.live().contains_key(&id) {
            return Ok(());
        }
        match &open.holder {
            // One that this host let go, because the store was out of reach.
            Some(holder) if *holder == self.host => {}
            Some(holder) if self.lives(holder).await? => return Ok(()),
            _ => {}
        }
        if !self.take(app, id, &open, found).await? {
            return Ok(());
        }
        let (status, _) = watch::channel(Status::Parked(open.parked.and_then(|parked| parked.until)));
        self.live().insert(id, Live { app: app.clone(), status, news: Arc::default(), run: None });
        match open.parked {
            Some(ParkedFor { until, listens: false }) if until.is_some() => {
                self.parked.wait(id, app, Waits { until, ..Waits::default() });
            }
            // It looks itself for what it waits for.
            _ => self.wake_now(id).await,
        }
        Ok(())
    }

    /// Makes an execution this host's; `false` if another was faster.
    async fn take(&self, app: &AppName, id: ExecutionId, open: &Open, found: Vec<u8>) -> Result<bool, StoreError> {
        let mine = Open { holder: Some(self.host.clone()), epoch: open.epoch + 1, parked: open.parked };
        let key = open_key(app, &id.to_string());
        let write = Write::Set { key: key.clone(), value: bytes(&mine), ttl: None };
        let taken = self.runtime.write_if(&key, &found, vec![write], Durability::Synced).await?;
        if taken {
            tracing::info!(execution = %id, %app, "an execution is taken up that no host had");
        }
        Ok(taken)
    }

    /// Has an execution that waits go on.
    pub(super) async fn wake(&self, id: ExecutionId) {
        if self.parked.forget(id) {
            self.wake_now(id).await;
        }
    }

    async fn wake_now(&self, id: ExecutionId) {
        let Some(live) = self.live().get(&id).cloned() else { return };
        match self.load(&live, id).await {
            Ok(Some(run)) => {
                run.news.tell(Told::Resumed);
                if let Some(live) = self.live().get_mut(&id) {
                    live.run = Some(Arc::clone(&run));
                    live.status.send_replace(Status::Active);
                }
                // The host stops if nobody drives.
                let _ = self.begun.send(run).await;
            }
            // It has ended, or another has it.
            Ok(None) => drop(self.live().remove(&id)),
            Err(error) => {
                tracing::warn!(execution = %id, %error, "an execution cannot go on yet");
                let until = Some(super::now().plus(LOOK));
                self.parked.wait(id, &live.app, Waits { until, ..Waits::default() });
            }
        }
    }

    /// An execution as the store has it.
    async fn load(&self, live: &Live, id: ExecutionId) -> Result<Option<Arc<Run>>, TakeError> {
        let app = &live.app;
        let Some(fence) = self.runtime.get(&open_key(app, &id.to_string())).await? else { return Ok(None) };
        let Some(open) = read::<Open>(&fence).filter(|open| open.holder.as_ref() == Some(&self.host)) else {
            return Ok(None);
        };
        let Some(begun): Option<Begun> = self.begun(app, id).await? else { return Ok(None) };
        let application = self.registry.application_at(app, &begun.revision).await;
        let application = application.map_err(|error| TakeError::Definition(error.to_string()))?;
        let missing = || TakeError::Definition(format!("its operation `{}` is not there", begun.operation));
        let entry = application.operations.get(&begun.operation).cloned().ok_or_else(missing)?;
        let workflow = workflow_of(&entry).ok_or_else(missing)?;
        let records = self.journal(app, id).await?;
        let made = Made {
            id,
            span: spans::execution(&entry.reference, id),
            application,
            entry,
            workflow,
            begun,
            epoch: open.epoch,
            fence,
            over: self.cancel.child_token(),
        };
        if live.news.is_empty() {
            live.news.recall(&records);
        }
        Ok(Some(Arc::new(Run::new(made, Arc::clone(&live.news), records))))
    }

    /// All that is written down of an execution that has not ended.
    pub(super) async fn journal(&self, app: &AppName, id: ExecutionId) -> Result<Vec<Record>, StoreError> {
        let (prefix, mut records, mut after) = (journal_prefix(app, id), Vec::new(), None::<String>);
        loop {
            let page = self.runtime.list(&prefix, after.as_deref(), PAGE).await?;
            let last = page.len() < PAGE;
            after = page.last().map(|entry| entry.key.clone());
            for entry in page {
                let record = serde_json::from_slice(&entry.value);
                records.push(record.map_err(|error| StoreError::Unavailable(format!("a record: {error}")))?);
            }
            if last {
                return Ok(records);
            }
        }
    }

    /// Ends an execution of an application, whoever has it; `false` if there is none that has not ended.
    pub(crate) async fn cancel(
        self: &Arc<Self>,
        core: &Core,
        app: &AppName,
        id: ExecutionId,
    ) -> Result<bool, StoreError> {
        // Taking it is what stops whoever has it: nothing that he writes is written any more.
        let mut tries = 0;
        loop {
            let Some(found) = self.runtime.get(&open_key(app, &id.to_string())).await? else { return Ok(false) };
            let Some(open) = read::<Open>(&found) else { return Ok(false) };
            if self.take(app, id, &open, found).await? {
                break;
            }
            tries += 1;
            if tries == MAX_TRIES {
                return Err(StoreError::Unavailable("an execution changes too fast to be cancelled".to_owned()));
            }
        }
        self.parked.forget(id);
        let before = self.live().get(&id).cloned();
        let held = before.as_ref().and_then(|live| live.run.clone());
        if let Some(run) = held {
            run.over.cancel();
        }
        let (status, _) = watch::channel(Status::Active);
        let live =
            before.unwrap_or_else(|| Live { app: app.clone(), status, news: Arc::new(News::default()), run: None });
        let live = Live { run: None, ..live };
        self.live().insert(id, live.clone());
        match self.load(&live, id).await {
            Ok(Some(run)) => {
                let at = super::now().max(run.clock());
                self.finish(core, &run, Err(cancelled()), at).await;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(TakeError::Store(error)) => Err(error),
            Err(TakeError::Definition(why)) => Err(StoreError::Unavailable(why)),
        }
    }
}
