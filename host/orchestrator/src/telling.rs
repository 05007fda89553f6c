//! Steps on their way to those who watch: no durable record.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::work::Told;

/// Steps that are told at one time.
const BATCH: usize = 64;
/// Steps that wait to be told; the oldest goes.
const WAITING: usize = 256;
/// How long a step waits for others, and for something that takes it along.
const PAUSE: Duration = Duration::from_millis(50);

/// Steps that are not told yet.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    waiting: Mutex<Waiting>,
    some: Notify,
    full: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    steps: VecDeque<Told>,
    lost: u64,
    closed: bool,
}

impl Telling {
    /// Keeps a step to be told.
    pub(crate) fn add(&self, step: Told) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.steps.len() >= WAITING {
            waiting.steps.pop_front();
            waiting.lost += 1;
        }
        waiting.steps.push_back(step);
        self.some.notify_one();
        if waiting.steps.len() >= BATCH {
            self.full.notify_one();
        }
    }

    /// Waits for the next that are to be told by themselves: as many as go at one time, or those that nothing took along within a
    /// pause. `None` when it is closed and no more are left than go at one time.
    pub(crate) async fn next(&self) -> Option<Vec<Told>> {
        loop {
            match self.there() {
                (0..=BATCH, true) => return None,
                (0, false) => self.some.notified().await,
                (1..BATCH, false) => {
                    let full = timeout(PAUSE, self.full.notified()).await.is_ok();
                    if !full && matches!(self.there(), (1.., false)) {
                        return Some(self.take());
                    }
                }
                _ => return Some(self.take()),
            }
        }
    }

    /// How many wait, and whether there will be no more.
    fn there(&self) -> (usize, bool) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        (waiting.steps.len(), waiting.closed)
    }

    /// As many as go at one time.
    pub(crate) fn take(&self) -> Vec<Told> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.steps.len().min(BATCH);
        waiting.steps.drain(..count).collect()
    }

    /// There will be no more steps.
    pub(crate) fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.some.notify_one();
        self.full.notify_one();
    }

    /// Steps that were not told because too many waited.
    pub(crate) fn lost(&self) -> u64 {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).lost
    }
}

#[cfg(test)]
mod tests {
    use nexus_workflow::{Moment, Progress, ProgressPhase};

    use super::{BATCH, Telling, WAITING};
    use crate::work::Told;

    fn step(n: usize) -> Told {
        let progress = Progress { task: "a".to_owned(), at: Moment(1), phase: ProgressPhase::Started };
        Told { step: n.to_string(), progress }
    }

    #[tokio::test]
    async fn steps_are_told_in_batches_and_the_oldest_go() {
        let telling = Telling::default();
        for n in 0..WAITING + 10 {
            telling.add(step(n));
        }
        let first = telling.next().await.unwrap();
        assert_eq!((first.len(), first[0].step.as_str(), telling.lost()), (BATCH, "10", 10));
        telling.close();
        while let Some(steps) = telling.next().await {
            assert_eq!(steps.len(), BATCH);
        }
        let rest = telling.take();
        assert_eq!((rest.len(), rest.last().unwrap().step.as_str()), (BATCH, "265"));
        assert!(telling.next().await.is_none() && telling.take().is_empty());
    }

    #[tokio::test]
    async fn what_went_along_with_something_else_is_not_told_again() {
        let telling = Telling::default();
        telling.add(step(0));
        let (next, ()) = tokio::join!(telling.next(), async {
            assert_eq!(telling.take().len(), 1);
            tokio::time::sleep(2 * super::PAUSE).await;
            telling.add(step(1));
        });
        assert_eq!(next.unwrap()[0].step, "1");
    }

    #[tokio::test]
    async fn a_few_steps_wait_for_more_but_not_for_long() {
        let telling = Telling::default();
        telling.add(step(0));
        let begun = std::time::Instant::now();
        let told = tokio::join!(telling.next(), async { telling.add(step(1)) }).0;
        assert_eq!(told.unwrap().len(), 2);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
}
