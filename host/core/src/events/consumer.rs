//! Works off the queue of one trigger. Only who holds the application's lease does.

use std::{
    future::pending,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use nexus_model::{ConsumerGroup, Delivery, RuntimeStore, StoreError, StreamStart};
use tokio::{task::JoinHandle, time::sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    deliver::{self, lane},
    effect::{Effects, Outcome, Work},
    lanes::Lanes,
};

/// How long to wait for the next event before looking around.
const WAIT: Duration = Duration::from_secs(5);
/// The pause after the store has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Events held for each that may be out, so that one slow lane does not hold up the others.
const HELD_FOR_EACH: usize = 4;

type Later<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;
type Jobs = FuturesUnordered<JoinHandle<(String, Work, Outcome)>>;

/// Works off a queue until it is stopped, whatever the store does meanwhile.
pub(super) async fn run(effects: Effects, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = Consumer::new(&effects).run(&stop).await {
            tracing::warn!(app = %effects.app, trigger = %effects.trigger.name, %error, "a trigger waits for the store");
            crate::start::wait(PAUSE, &stop).await;
        }
    }
}

struct Consumer<'a> {
    effects: &'a Effects,
    runtime: Arc<dyn RuntimeStore>,
    group: ConsumerGroup,
    lanes: Lanes<Work>,
    jobs: Jobs,
    /// What is done with and not acknowledged yet.
    finished: Vec<String>,
    /// Whether an earlier reader may have left something unacknowledged. Nothing new is read before that is done with.
    taking_over: bool,
}

enum Step {
    Read(Vec<Delivery>),
    Acknowledged,
    Job(Box<(String, Work, Outcome)>),
    Woken,
}

impl<'a> Consumer<'a> {
    fn new(effects: &'a Effects) -> Self {
        let parallel = effects.events.config.parallel.max(1);
        Self {
            effects,
            runtime: Arc::clone(&effects.events.parts.runtime),
            group: effects.queue(),
            lanes: Lanes::new(parallel, parallel * HELD_FOR_EACH),
            jobs: FuturesUnordered::new(),
            finished: Vec::new(),
            taking_over: true,
        }
    }

    /// Works until it is stopped or the store fails. What was begun has come to its end when this returns; what of it is
    /// not acknowledged is delivered again, and known.
    async fn run(mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let worked = self.work(stop).await;
        while let Some(job) = self.jobs.next().await {
            if let Ok((_, work, Outcome::Done)) = job {
                self.finished.push(work.id);
            }
        }
        worked?;
        if self.finished.is_empty() { Ok(()) } else { self.acknowledge().await }
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        self.runtime.create_group(&self.group, StreamStart::Beginning).await?;
        let mut reading: Option<Later<Vec<Delivery>>> = None;
        let mut acknowledging: Option<Later<()>> = None;
        loop {
            self.begin_jobs();
            if reading.is_none() {
                reading = self.read();
            }
            if acknowledging.is_none() && !self.finished.is_empty() {
                acknowledging = Some(self.acknowledge());
            }
            let happened = tokio::select! {
                biased;
                () = stop.cancelled() => return acknowledging.unwrap_or_else(|| Box::pin(async { Ok(()) })).await,
                outcome = finish(&mut acknowledging) => outcome.map(|()| Step::Acknowledged)?,
                job = next_job(&mut self.jobs) => job?,
                outcome = finish(&mut reading) => Step::Read(outcome?),
                () = wake(self.lanes.next_wake()) => Step::Woken,
            };
            self.take(happened).await?;
        }
    }

    async fn take(&mut self, happened: Step) -> Result<(), StoreError> {
        match happened {
            Step::Read(deliveries) => self.took(deliveries).await?,
            Step::Job(job) => match *job {
                (lane, work, Outcome::Done) => {
                    self.finished.push(work.id);
                    self.lanes.done(lane);
                }
                (lane, work, Outcome::Again(wait, begun)) => {
                    let work = Work { begun_before: begun, ..work };
                    self.lanes.again(lane, work, Instant::now() + wait);
                }
            },
            Step::Acknowledged | Step::Woken => {}
        }
        self.lanes.wake(Instant::now());
        Ok(())
    }

    fn begin_jobs(&mut self) {
        while let Some((lane, work)) = self.lanes.next() {
            let effects = self.effects.clone();
            self.jobs.push(self.effects.events.parts.tracker.spawn(async move {
                let outcome = effects.have(&work).await;
                (lane, work, outcome)
            }));
        }
    }

    /// The next read, if there is room for what it gives. What somebody else left is taken only while nothing is held,
    /// so that nobody takes from himself.
    fn read(&self) -> Option<Later<Vec<Delivery>>> {
        let (runtime, group, room) = (Arc::clone(&self.runtime), self.group.clone(), self.lanes.room());
        let consumer = self.effects.events.parts.host.clone();
        if self.taking_over {
            let idle = self.lanes.is_empty() && self.finished.is_empty();
            return idle
                .then(|| Box::pin(async move { runtime.claim(&group, &consumer, Duration::ZERO, room).await }) as _);
        }
        (room > 0).then(|| Box::pin(async move { runtime.read_group(&group, &consumer, room, WAIT).await }) as _)
    }

    async fn took(&mut self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        if deliveries.is_empty() {
            if self.taking_over {
                self.taking_over = false;
            } else if self.lanes.is_empty() && self.finished.is_empty() {
                self.mend_count().await?;
            }
        }
        for Delivery { id, value, deliveries } in deliveries {
            match serde_json::from_slice::<deliver::Queued>(&value) {
                Ok(queued) => {
                    let lane = lane(&queued.event);
                    self.lanes.push(lane, Work { id, queued, begun_before: deliveries > 1 });
                }
                Err(error) => {
                    tracing::error!(id, %error, "an event in a queue cannot be read and is left out");
                    self.finished.push(id);
                }
            }
        }
        Ok(())
    }

    /// Acknowledges and removes what is done with. Ends the host before, it is delivered again, and known.
    fn acknowledge(&mut self) -> Later<()> {
        let (runtime, group) = (Arc::clone(&self.runtime), self.group.clone());
        let waiting = deliver::waiting(&self.effects.app, &self.effects.trigger);
        let ids = std::mem::take(&mut self.finished);
        Box::pin(async move {
            let count = runtime.acknowledge(&group, &ids).await?;
            runtime.remove(&group.stream, &ids).await?;
            runtime.increment(&waiting, -i64::try_from(count).unwrap_or(i64::MAX), None).await?;
            Ok(())
        })
    }

    /// What is counted and what is queued part when a host ends between the two; an empty queue is counted as empty.
    async fn mend_count(&self) -> Result<(), StoreError> {
        let waiting = deliver::waiting(&self.effects.app, &self.effects.trigger);
        match self.runtime.get(&waiting).await? {
            Some(count) if count != b"0" => {
                self.runtime.compare_and_set(&waiting, Some(&count), b"0".to_vec(), None).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The outcome of what is under way, once; waits for ever where nothing is.
async fn finish<T>(under_way: &mut Option<Later<T>>) -> Result<T, StoreError> {
    let Some(later) = under_way else { return pending().await };
    let outcome = later.await;
    *under_way = None;
    outcome
}

async fn next_job(jobs: &mut Jobs) -> Result<Step, StoreError> {
    match jobs.next().await {
        Some(Ok(job)) => Ok(Step::Job(Box::new(job))),
        // As if the host had ended: it is delivered again, a bounded number of times.
        Some(Err(error)) => Err(StoreError::Unavailable(format!("a delivery broke off: {error}"))),
        None => pending().await,
    }
}

async fn wake(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
