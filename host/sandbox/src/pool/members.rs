//! What a pool has and who waits for it: plain data, changed under one lock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Member, Phase, PoolState, PoolStatus, Slot};
use crate::{SandboxHandle, SandboxHandler};

/// Where a caller stands who asked for a slot.
pub(super) enum Asked<H: SandboxHandler> {
    Given(Slot<H>),
    Waits,
    Full,
    Closed,
}

/// A sandbox that was started.
pub(super) struct Kept<H: SandboxHandler> {
    pub(super) phase: Phase,
    pub(super) load: usize,
    /// What it serves with; gone when it is to end, so that its streams close when the last slot does.
    pub(super) serves: Option<Serves<H>>,
    /// Tells its keeper that it is to end.
    pub(super) ending: CancellationToken,
}

/// A sandbox and what is made of it.
pub(super) struct Serves<H: SandboxHandler> {
    pub(super) session: Arc<H::Session>,
    pub(super) handle: SandboxHandle,
}

impl<H: SandboxHandler> Clone for Serves<H> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), handle: self.handle.clone() }
    }
}

/// Who waits, since when.
pub(super) struct Waiter<H: SandboxHandler> {
    pub(super) since: Duration,
    pub(super) sender: oneshot::Sender<Slot<H>>,
}

pub(super) struct Members<H: SandboxHandler> {
    pub(super) kept: BTreeMap<u64, Kept<H>>,
    pub(super) queue: VecDeque<Waiter<H>>,
    pub(super) next: u64,
    pub(super) not_before: Duration,
    pub(super) closed: bool,
}

impl<H: SandboxHandler> Members<H> {
    pub(super) fn new() -> Self {
        Self { kept: BTreeMap::new(), queue: VecDeque::new(), next: 0, not_before: Duration::ZERO, closed: false }
    }

    pub(super) fn state(&self) -> PoolState {
        let member = |(id, kept): (&u64, &Kept<H>)| Member { id: *id, phase: kept.phase, load: kept.load };
        PoolState {
            members: self.kept.iter().map(member).collect(),
            waiting: self.queue.len(),
            waiting_since: self.queue.front().map(|waiter| waiter.since),
            not_before: self.not_before,
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let mut status = PoolStatus { waiting: self.queue.len(), ..PoolStatus::default() };
        for kept in self.kept.values() {
            match kept.phase {
                Phase::Starting => status.starting += 1,
                Phase::Ready { .. } => status.ready += 1,
                Phase::Ending => status.ending += 1,
            }
            status.taken += kept.load;
        }
        status
    }

    /// Makes place for a sandbox that is being started.
    pub(super) fn begin(&mut self) -> (u64, CancellationToken) {
        let (id, ending) = (self.next, CancellationToken::new());
        self.next += 1;
        self.kept.insert(id, Kept { phase: Phase::Starting, load: 0, serves: None, ending: ending.clone() });
        (id, ending)
    }

    pub(super) fn end(&mut self, id: u64) {
        if let Some(kept) = self.kept.get_mut(&id) {
            (kept.phase, kept.serves) = (Phase::Ending, None);
            kept.ending.cancel();
        }
    }

    /// Takes a place at the fullest sandbox that has one, so that others become idle.
    pub(super) fn take(&mut self, per_sandbox: usize) -> Option<(u64, Serves<H>)> {
        // Whoever lost one that has ended may ask before its keeper has noticed.
        let lives = |kept: &Kept<H>| kept.serves.as_ref().is_some_and(|serves| serves.handle.ended().is_none());
        let has_room =
            |kept: &Kept<H>| matches!(kept.phase, Phase::Ready { .. }) && kept.load < per_sandbox && lives(kept);
        let (id, kept) = self.kept.iter_mut().filter(|(_, kept)| has_room(kept)).max_by_key(|(_, kept)| kept.load)?;
        let serves = kept.serves.clone()?;
        kept.load += 1;
        Some((*id, serves))
    }

    pub(super) fn give_back(&mut self, id: u64, now: Duration) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.load = kept.load.saturating_sub(1);
            if let (0, Phase::Ready { idle_since }) = (kept.load, &mut kept.phase) {
                *idle_since = now;
            }
        }
    }

    /// Forgets those who do not wait any more.
    pub(super) fn prune(&mut self) {
        self.queue.retain(|waiter| !waiter.sender.is_closed());
    }
}
