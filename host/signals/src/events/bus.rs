//! How parts of the host tell of what they do, without knowing who listens.

use std::sync::{Arc, Mutex, PoisonError};

use nexus_model::CloudEvent;
use tokio::sync::{mpsc, oneshot};

use super::EventScope;

/// Events that must not be lost and wait to be logged; who has more waits.
const SURE: usize = 1_024;
/// Events that may be lost and wait to be logged; more are lost, and counted by who offers them.
const LOSSY: usize = 4_096;

/// An event on its way to its log.
#[derive(Debug)]
pub struct Outgoing {
    /// Whose log it goes to.
    pub scope: EventScope,
    /// The event.
    pub event: CloudEvent,
}

#[derive(Debug)]
enum Note {
    Event(Box<Outgoing>),
    /// Answered once every event before it is logged.
    Barrier(oneshot::Sender<()>),
}

/// Where the host's own events are handed in. Cheap to clone.
///
/// There are two ways: [`EventBus::emit`] for what must not be lost, [`EventBus::offer`] for what calls would wait for.
#[derive(Debug, Clone)]
pub struct EventBus {
    sure: mpsc::Sender<Note>,
    lossy: mpsc::Sender<Note>,
    outbox: Arc<Mutex<Option<Outbox>>>,
}

impl Default for EventBus {
    fn default() -> Self {
        let (sure, from_sure) = mpsc::channel(SURE);
        let (lossy, from_lossy) = mpsc::channel(LOSSY);
        let outbox = Outbox { sure: from_sure, lossy: from_lossy };
        Self { sure, lossy, outbox: Arc::new(Mutex::new(Some(outbox))) }
    }
}

impl EventBus {
    /// A bus with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands in an event that must not be lost. Waits while 1,024 are on their way. Lost only if the process ends before
    /// it is logged.
    pub async fn emit(&self, scope: EventScope, event: CloudEvent) {
        // The only error is that the host has stopped.
        let _ = self.sure.send(Note::Event(Box::new(Outgoing { scope, event }))).await;
    }

    /// Hands in an event that may be lost; never waits. Says whether it was taken.
    pub fn offer(&self, scope: EventScope, event: CloudEvent) -> bool {
        self.lossy.try_send(Note::Event(Box::new(Outgoing { scope, event }))).is_ok()
    }

    /// Waits until everything handed in so far is logged.
    pub async fn settle(&self) {
        for queue in [&self.sure, &self.lossy] {
            let (done, wait) = oneshot::channel();
            if queue.send(Note::Barrier(done)).await.is_ok() {
                // An error says that nobody logs any more, and there is nothing left to wait for.
                let _ = wait.await;
            }
        }
    }

    /// The other end; `None` the second time.
    pub fn take_outbox(&self) -> Option<Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The other end of a bus, in the hands of whoever logs.
#[derive(Debug)]
pub struct Outbox {
    sure: mpsc::Receiver<Note>,
    lossy: mpsc::Receiver<Note>,
}

impl Outbox {
    /// Hands every event to one of the two, in the order of its way, until the last bus is gone. `sure` must not give up
    /// while the store may come back.
    pub async fn drain<A, B>(self, sure: impl Fn(Outgoing) -> A, lossy: impl Fn(Vec<Outgoing>) -> B)
    where
        A: Future<Output = ()>,
        B: Future<Output = ()>,
    {
        /// Events of the lossy way that are logged together.
        const TOGETHER: usize = 64;
        let Self { sure: mut one_by_one, lossy: mut many } = self;
        let first = async {
            while let Some(note) = one_by_one.recv().await {
                match note {
                    Note::Event(outgoing) => sure(*outgoing).await,
                    Note::Barrier(done) => {
                        // Whoever waited may have gone away.
                        let _ = done.send(());
                    }
                }
            }
        };
        let second = async {
            let mut notes = Vec::with_capacity(TOGETHER);
            while many.recv_many(&mut notes, TOGETHER).await > 0 {
                let (mut events, mut barriers) = (Vec::new(), Vec::new());
                for note in notes.drain(..) {
                    match note {
                        Note::Event(outgoing) => events.push(*outgoing),
                        Note::Barrier(done) => barriers.push(done),
                    }
                }
                lossy(events).await;
                for done in barriers {
                    // Whoever waited may have gone away.
                    let _ = done.send(());
                }
            }
        };
        tokio::join!(first, second);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use nexus_model::CloudEvent;
    use serde_json::Value;

    use super::{EventBus, LOSSY};

    fn event(number: usize) -> CloudEvent {
        CloudEvent::now("nexus.test", "/", number.to_string(), Value::Null)
    }

    #[tokio::test]
    async fn what_may_be_lost_is_lost_beyond_the_bound_and_the_rest_arrives_in_order() {
        let bus = EventBus::new();
        let taken = (0..LOSSY + 5).filter(|number| bus.offer(None, event(*number))).count();
        assert_eq!(taken, LOSSY);
        for number in 0..10 {
            bus.emit(None, event(number)).await;
        }
        let outbox = bus.take_outbox().unwrap();
        assert!(bus.take_outbox().is_none());
        drop(bus);
        let (sure, lossy) = (Mutex::new(Vec::new()), Mutex::new(0));
        outbox
            .drain(
                async |outgoing| sure.lock().unwrap().push(outgoing.event.subject.unwrap()),
                async |outgoing| *lossy.lock().unwrap() += outgoing.len(),
            )
            .await;
        assert_eq!(sure.into_inner().unwrap(), (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(lossy.into_inner().unwrap(), LOSSY);
    }
}
