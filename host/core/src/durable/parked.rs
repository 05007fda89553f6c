//! Executions that wait, in no sandbox: for a time, an event or another execution.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_model::{AppName, ExecutionId, StoreError};
use nexus_workflow::{EventPattern, Moment};
use tokio::sync::Notify;

use super::{Durable, now, run::Waits};
use crate::Core;

/// How often it is looked for events that other hosts published.
const LOOK: Duration = Duration::from_millis(250);
/// Events that are looked at in one step.
const PAGE: usize = 200;

/// What wakes whom. As many as there are executions of this host.
#[derive(Default)]
pub(super) struct Parked {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    times: BTreeSet<(Moment, ExecutionId)>,
    waiting: HashMap<ExecutionId, (AppName, Waits)>,
    /// How far each application's log was looked at that somebody waited for events of.
    looked: BTreeMap<AppName, Option<String>>,
}

impl Parked {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what an execution waits for.
    pub(super) fn wait(&self, id: ExecutionId, app: &AppName, waits: Waits) {
        let mut state = self.state();
        if let Some(until) = waits.until {
            state.times.insert((until, id));
        }
        state.waiting.insert(id, (app.clone(), waits));
        drop(state);
        self.changed.notify_one();
    }

    /// Forgets an execution; whether it waited.
    pub(super) fn forget(&self, id: ExecutionId) -> bool {
        let mut state = self.state();
        let Some((_, waits)) = state.waiting.remove(&id) else { return false };
        if let Some(until) = waits.until {
            state.times.remove(&(until, id));
        }
        true
    }

    /// Those whose time has come, and the next time.
    fn due(&self, now: Moment) -> (Vec<ExecutionId>, Option<Moment>) {
        let state = self.state();
        let due = state.times.iter().take_while(|(until, _)| *until <= now).map(|(_, id)| *id).collect();
        (due, state.times.iter().find(|(until, _)| *until > now).map(|(until, _)| *until))
    }

    /// Applications whose events somebody waits for.
    fn listened_to(&self) -> BTreeSet<AppName> {
        let state = self.state();
        state.waiting.values().filter(|(_, waits)| !waits.events.is_empty()).map(|(app, _)| app.clone()).collect()
    }

    fn listeners(&self, app: &AppName) -> Vec<(ExecutionId, Vec<EventPattern>)> {
        let state = self.state();
        let of_app = state.waiting.iter().filter(|(_, (other, _))| other == app);
        of_app.map(|(id, (_, waits))| (*id, waits.events.clone())).collect()
    }

    fn looked(&self, app: &AppName) -> Option<Option<String>> {
        self.state().looked.get(app).cloned()
    }

    fn look_from(&self, app: &AppName, place: Option<String>) {
        self.state().looked.insert(app.clone(), place);
    }

    /// The place after which an execution waits for events.
    fn after(&self, id: ExecutionId) -> Option<String> {
        self.state().waiting.get(&id).and_then(|(_, waits)| waits.after.clone())
    }
}

impl Durable {
    /// Wakes executions when their time comes, until the host stops.
    pub(crate) async fn keep_time(&self) {
        loop {
            let changed = self.parked.changed.notified();
            let (due, next) = self.parked.due(now());
            for id in due {
                self.wake(id).await;
            }
            let left = next.map_or(LOOK * 240, |next| {
                Duration::from_millis(u64::try_from(next.0.saturating_sub(now().0)).unwrap_or(0))
            });
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = changed => {}
                () = tokio::time::sleep(left.min(LOOK * 240)) => {}
            }
        }
    }

    /// Wakes executions when events come that may be for them, until the host stops. They look themselves, from where they
    /// stood: an event that is missed here is found there.
    pub(crate) async fn listen(&self, core: &Core) {
        while crate::start::wait(LOOK, &self.cancel).await {
            for app in &self.parked.listened_to() {
                if let Err(error) = self.look_at(core, app).await {
                    tracing::warn!(%app, %error, "it could not be looked for events");
                }
            }
        }
    }

    async fn look_at(&self, core: &Core, app: &AppName) -> Result<(), StoreError> {
        let log = core.events.log();
        let scope = Some(app.clone());
        let Some(mut place) = self.parked.looked(app) else {
            // Whoever waits has looked himself when he began to.
            let newest = log.newest(&scope).await?;
            self.parked.look_from(app, newest);
            for (id, patterns) in self.parked.listeners(app) {
                if core.events.is_there_like(app, self.parked.after(id), &patterns).await {
                    self.wake(id).await;
                }
            }
            return Ok(());
        };
        loop {
            let events = log.read(&scope, place.as_deref(), PAGE).await?;
            let Some(last) = events.last() else { return Ok(()) };
            place = Some(last.id.clone());
            for (id, patterns) in self.parked.listeners(app) {
                let fits = |event: &nexus_signals::LoggedEvent| {
                    let value = event.event.to_json();
                    patterns.iter().any(|pattern| pattern.matches(&value))
                };
                if events.iter().any(fits) {
                    self.wake(id).await;
                }
            }
            self.parked.look_from(app, place.clone());
            if events.len() < PAGE {
                return Ok(());
            }
        }
    }
}
