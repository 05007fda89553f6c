//! Who calls.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use nexus_tests::{Api, OperationInputs};
use serde_json::Value;

use super::progress::{Phase, Shared};

/// Inputs that are sent before the oracle decides: as many as the sample applications ask for (`min_inputs`), so that
/// the coder model is asked exactly what it was asked when its answers were recorded.
const WAVE: usize = 150;

/// Calls of one operation at one time.
const CONCURRENCY: usize = 8;

/// Time between two repeated calls while code is being written.
const PAUSE: Duration = Duration::from_millis(150);

/// The longest that the oracle may take to decide.
const DECIDE: Duration = Duration::from_mins(4);

/// The traffic of one operation.
pub(super) struct Lane<'a> {
    pub(super) api: Api,
    pub(super) operation: OperationInputs,
    pub(super) progress: Shared,
    pub(super) stop: &'a AtomicBool,
}

impl Lane<'_> {
    /// Sends what the model learns from, repeats it until the oracle has decided, then sends what nobody has seen.
    pub(super) fn run(&self) {
        let (known, unseen) = self.operation.inputs.split_at(WAVE.min(self.operation.inputs.len()));
        self.send(known);
        self.progress.enter(Phase::Waiting);
        self.repeat(known);
        self.progress.enter(Phase::Unseen);
        if self.progress.read().settled() {
            self.send(unseen);
        }
        self.progress.enter(Phase::Over);
    }

    /// Sends each input once.
    fn send(&self, inputs: &[Value]) {
        let next = AtomicUsize::new(0);
        scope(|threads| {
            for _ in 0..CONCURRENCY {
                threads.spawn(|| {
                    while let Some(input) = inputs.get(next.fetch_add(1, Ordering::Relaxed))
                        && !self.stopped()
                    {
                        self.call(input);
                    }
                });
            }
        });
    }

    fn repeat(&self, inputs: &[Value]) {
        let deadline = Instant::now() + DECIDE;
        for input in inputs.iter().cycle() {
            if self.stopped() || self.progress.read().settled() || Instant::now() > deadline {
                return;
            }
            self.call(input);
            sleep(PAUSE);
        }
    }

    fn call(&self, input: &Value) {
        let reply = self.api.call(&self.operation.app, &self.operation.operation, input);
        self.progress.take(input, reply);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
