//! The clockwork of a pool: it carries out plans, and hands out slots.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Action, Phase, PoolSettings, PoolStatus, Slot, life,
    members::{Asked, Members, Serves, Waiter},
    plan,
};
use crate::{Driver, SandboxError, SandboxHandler, SandboxSpec};

/// How often a pool looks at itself when nothing happens.
const CLOCK: Duration = Duration::from_secs(1);
/// How often it does at most while somebody waits.
const FAST_CLOCK: Duration = Duration::from_millis(10);

pub(super) struct Shared<H: SandboxHandler> {
    pub(super) driver: Arc<dyn Driver>,
    pub(super) handler: Arc<H>,
    pub(super) spec: SandboxSpec,
    pub(super) settings: PoolSettings,
    tasks: TaskTracker,
    ended: CancellationToken,
    began: Instant,
    members: Mutex<Members<H>>,
    changed: watch::Sender<()>,
}

impl<H: SandboxHandler> Shared<H> {
    pub(super) fn new(
        driver: Arc<dyn Driver>,
        handler: Arc<H>,
        spec: SandboxSpec,
        settings: PoolSettings,
        tasks: TaskTracker,
        ended: CancellationToken,
    ) -> Self {
        let (members, changed) = (Mutex::new(Members::new()), watch::Sender::new(()));
        Self { driver, handler, spec, settings, tasks, ended, began: Instant::now(), members, changed }
    }

    fn members(&self) -> MutexGuard<'_, Members<H>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what there is, and lets everybody know.
    fn change<T>(&self, change: impl FnOnce(&mut Members<H>) -> T) -> T {
        let changed = change(&mut self.members());
        self.changed.send_replace(());
        changed
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn status(&self) -> PoolStatus {
        let mut members = self.members();
        members.prune();
        members.status()
    }

    /// Done when it is so.
    pub(super) async fn until(&self, is_so: impl Fn(PoolStatus) -> bool) {
        // The sender is here.
        let _ = self.changed.subscribe().wait_for(|()| is_so(self.status())).await;
    }

    /// When it is worth asking again: nobody knows better than by how long those wait who are there.
    pub(super) fn busy(&self) -> SandboxError {
        let since = self.members().queue.front().map(|waiter| waiter.since);
        let waited = since.map_or(Duration::ZERO, |since| self.now().saturating_sub(since));
        SandboxError::Busy { retry_after: Duration::from_secs(waited.as_secs().clamp(1, 60)) }
    }

    pub(super) fn ask(self: &Arc<Self>, sender: oneshot::Sender<Slot<H>>) -> Asked<H> {
        let since = self.now();
        let mut members = self.members();
        if members.closed {
            return Asked::Closed;
        }
        members.prune();
        if members.queue.is_empty()
            && let Some((id, serves)) = members.take(self.settings.per_sandbox)
        {
            drop(members);
            // One spare less.
            self.changed.send_replace(());
            return Asked::Given(Slot::new(id, serves, self.clone()));
        }
        if members.queue.len() >= self.settings.waiting {
            return Asked::Full;
        }
        members.queue.push_back(Waiter { since, sender });
        drop(members);
        self.changed.send_replace(());
        Asked::Waits
    }

    pub(super) fn give_back(&self, id: u64) {
        let now = self.now();
        self.change(|members| members.give_back(id, now));
    }

    pub(super) fn serves(&self, id: u64, serves: Serves<H>) {
        let idle_since = self.now();
        self.change(|members| {
            // It may have been told to end meanwhile.
            if let Some(kept) = members.kept.get_mut(&id).filter(|kept| kept.phase == Phase::Starting) {
                (kept.phase, kept.serves) = (Phase::Ready { idle_since }, Some(serves));
            }
        });
    }

    pub(super) fn gone(&self, id: u64, failed: bool) {
        let now = self.now();
        self.change(|members| {
            members.kept.remove(&id);
            if failed {
                members.not_before = now + self.settings.pause;
            }
        });
    }

    pub(super) fn close(&self) {
        let waiting = self.change(|members| {
            members.closed = true;
            std::mem::take(&mut members.queue)
        });
        // Whoever waits is told so.
        drop(waiting);
    }

    pub(super) fn end_all(&self) {
        self.change(|members| {
            for id in members.kept.keys().copied().collect::<Vec<_>>() {
                members.end(id);
            }
        });
    }

    /// Gives what is free to those who wait, in their order.
    fn serve_queue(self: &Arc<Self>) {
        loop {
            let mut members = self.members();
            members.prune();
            if members.queue.is_empty() {
                return;
            }
            let Some((id, serves)) = members.take(self.settings.per_sandbox) else { return };
            let waiter = members.queue.pop_front();
            // A slot that nobody takes is given back when it is dropped, which needs the lock.
            drop(members);
            let slot = Slot::new(id, serves, self.clone());
            if let Some(waiter) = waiter {
                let _ = waiter.sender.send(slot);
            }
        }
    }

    fn carry_out(self: &Arc<Self>) {
        let now = self.now();
        let mut members = self.members();
        if members.closed {
            return;
        }
        for action in plan(now, &members.state(), &self.settings) {
            match action {
                Action::Start => {
                    let (id, ending) = members.begin();
                    self.tasks.spawn(life::live(self.clone(), id, ending));
                }
                Action::Stop(id) => members.end(id),
            }
        }
    }
}

/// Keeps the pool until it is dropped.
pub(super) async fn keep<H: SandboxHandler>(shared: Arc<Shared<H>>) {
    let mut changed = shared.changed.subscribe();
    let kept = async {
        loop {
            changed.mark_unchanged();
            shared.serve_queue();
            shared.carry_out();
            let waits = shared.status().waiting > 0;
            let pause = if waits { shared.settings.queue.clamp(FAST_CLOCK, CLOCK) } else { CLOCK };
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep(pause) => {}
            }
        }
    };
    shared.ended.run_until_cancelled(kept).await;
    shared.close();
    shared.end_all();
}
