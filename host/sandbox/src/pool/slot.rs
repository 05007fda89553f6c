//! A place in a sandbox that serves.

use std::{fmt, sync::Arc};

use super::{members::Serves, work::Shared};
use crate::{SandboxHandle, SandboxHandler};

/// A place in a sandbox that serves. Dropped, it is given to the next.
pub struct Slot<H: SandboxHandler> {
    id: u64,
    serves: Serves<H>,
    shared: Arc<Shared<H>>,
}

impl<H: SandboxHandler> Slot<H> {
    pub(super) fn new(id: u64, serves: Serves<H>, shared: Arc<Shared<H>>) -> Self {
        Self { id, serves, shared }
    }

    /// What the sandbox is used by.
    pub fn session(&self) -> &Arc<H::Session> {
        &self.serves.session
    }

    /// The life of the sandbox: to learn that it has ended, or to end it with all its slots.
    pub fn sandbox(&self) -> &SandboxHandle {
        &self.serves.handle
    }
}

impl<H: SandboxHandler> Drop for Slot<H> {
    fn drop(&mut self) {
        self.shared.give_back(self.id);
    }
}

impl<H: SandboxHandler> fmt::Debug for Slot<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("sandbox", &self.serves.handle.id()).finish_non_exhaustive()
    }
}
