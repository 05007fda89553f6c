//! Who runs the triggers of an application: one host at a time, by a lease in the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nexus_definitions::Schedule;
use nexus_model::{AppName, Key, OperationName, StoreError, Trigger, TriggerOn};
use time::OffsetDateTime;

use super::{Events, consumer, deliver, effect::Effects, schedule::Clock};
use crate::{executions::Executions, lease::Lease, router::RequestRouter};

/// Time between two looks at the definitions.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A trigger, and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerStatus {
    /// Its name.
    pub name: OperationName,
    /// `event`, `cron` or `webhook`.
    pub on: &'static str,
    /// The application whose events it takes, where that is another.
    pub app: Option<AppName>,
    /// Why it gets none of them now, and what is to be changed; `None` where both applications permit it.
    pub refused: Option<String>,
    /// The operation that is called.
    pub operation: OperationName,
    /// Events that wait for it, roughly.
    pub waiting: u64,
    /// When its time comes next, if it waits for one.
    pub next: Option<OffsetDateTime>,
}

impl Events {
    /// The triggers of an application; `None` where no application of this name serves.
    pub async fn triggers(&self, app: &str) -> Result<Option<Vec<TriggerStatus>>, StoreError> {
        let Some(application) = self.parts.registry.application(app) else { return Ok(None) };
        let mut found = Vec::new();
        for trigger in &application.app.triggers {
            let waiting = self.parts.runtime.get(&deliver::waiting(&application.app.name, trigger)).await?;
            let waiting = waiting.and_then(|count| String::from_utf8(count).ok()?.parse().ok()).unwrap_or(0);
            let emitter = match &trigger.on {
                TriggerOn::Event { app, .. } => app.as_ref(),
                _ => None,
            };
            let refused = emitter.and_then(|emitter| self.permits(emitter, &application).err());
            found.push(TriggerStatus {
                name: trigger.name.clone(),
                on: trigger.on.as_str(),
                app: emitter.cloned(),
                refused: refused.map(|refused| format!("{refused}; {}", refused.mend())),
                operation: trigger.operation.clone(),
                waiting,
                next: next(trigger),
            });
        }
        Ok(Some(found))
    }
}

fn next(trigger: &Trigger) -> Option<OffsetDateTime> {
    let TriggerOn::Cron { cron, time_zone, .. } = &trigger.on else { return None };
    Schedule::parse(cron, time_zone).ok()?.next_after(OffsetDateTime::now_utc())
}

/// Starts a runner for each application that has triggers.
pub(super) struct Supervisor {
    events: Arc<Events>,
    router: Arc<RequestRouter>,
    executions: Arc<Executions>,
    running: Arc<Mutex<HashMap<AppName, Vec<Trigger>>>>,
}

impl Supervisor {
    pub(super) fn new(events: Arc<Events>, router: Arc<RequestRouter>, executions: Arc<Executions>) -> Self {
        Self { events, router, executions, running: Arc::default() }
    }

    /// Looks at the definitions until the host stops.
    pub(super) async fn run(self) {
        loop {
            for app in self.events.parts.registry.names() {
                let triggers = self.triggers(&app);
                if !triggers.is_empty() && self.claim(&app, &triggers) {
                    let lease = self.lease(&app);
                    let runner = Runner { app, triggers, supervisor: self.clone(), lease };
                    self.events.parts.tracker.spawn(runner.run());
                }
            }
            if !crate::start::wait(LOOK_EVERY, &self.events.parts.cancel).await {
                return;
            }
        }
    }

    fn clone(&self) -> Self {
        Self {
            events: Arc::clone(&self.events),
            router: Arc::clone(&self.router),
            executions: Arc::clone(&self.executions),
            running: Arc::clone(&self.running),
        }
    }

    fn lease(&self, app: &AppName) -> Lease {
        Lease {
            runtime: Arc::clone(&self.events.parts.runtime),
            key: Key::of_app(app, "lease", "triggers"),
            holder: self.events.parts.host.clone(),
            lasts: Duration::from_millis(self.events.config.lease_ms.max(100)),
        }
    }

    fn triggers(&self, app: &AppName) -> Vec<Trigger> {
        self.events.parts.registry.application(app.as_str()).map(|app| app.app.triggers.clone()).unwrap_or_default()
    }

    /// Whether this application has no runner yet; it has one from now on.
    fn claim(&self, app: &AppName, triggers: &[Trigger]) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(app) {
            return false;
        }
        running.insert(app.clone(), triggers.to_vec());
        true
    }

    fn release(&self, app: &AppName) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
    }
}

/// Runs the triggers of one application as they are now. Ends when they change or the host stops.
struct Runner {
    app: AppName,
    triggers: Vec<Trigger>,
    supervisor: Supervisor,
    lease: Lease,
}

impl Runner {
    async fn run(self) {
        while self.is_current() {
            match self.lease.take().await {
                Ok(true) => self.hold().await,
                Ok(false) => {}
                Err(error) => tracing::warn!(app = %self.app, %error, "triggers wait for the store"),
            }
            if !crate::start::wait(self.lease.renew_every(), &self.events().parts.cancel).await {
                break;
            }
        }
        self.supervisor.release(&self.app);
    }

    fn events(&self) -> &Arc<Events> {
        &self.supervisor.events
    }

    fn is_current(&self) -> bool {
        !self.events().parts.cancel.is_cancelled() && self.supervisor.triggers(&self.app) == self.triggers
    }

    /// Runs the triggers while this host has the lease and they are as they were.
    async fn hold(&self) {
        let (stop, tracker) = (self.events().parts.cancel.child_token(), &self.events().parts.tracker);
        let mut tasks = Vec::new();
        for trigger in &self.triggers {
            let effects = Effects {
                events: Arc::clone(self.events()),
                router: Arc::clone(&self.supervisor.router),
                executions: Arc::clone(&self.supervisor.executions),
                app: self.app.clone(),
                trigger: Arc::new(trigger.clone()),
            };
            tasks.push(tracker.spawn(consumer::run(effects, stop.clone())));
        }
        let clock = Clock::new(Arc::clone(self.events()), &self.app, &self.triggers);
        tasks.push(tracker.spawn(clock.run(stop.clone())));
        self.lease.keep(|| self.is_current(), &stop).await;
        stop.cancel();
        // One that panicked has ended, too.
        futures::future::join_all(tasks).await;
        self.lease.give_back().await;
    }
}
