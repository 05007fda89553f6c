//! Pools on a real engine.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_sandbox::{
    BoxError, Exit, PoolName, PoolPart, PoolSettings, Sandbox, SandboxError, SandboxHandler, SandboxManager,
};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::support::{Speaker, driver_of, image, owned, owner, spec, until};

/// Speaks with whoever says that he is ready.
struct Lines;

#[async_trait]
impl SandboxHandler for Lines {
    type Session = Mutex<Speaker>;

    async fn attach(&self, sandbox: Sandbox) -> Result<Self::Session, BoxError> {
        let mut speaker = Speaker::new(sandbox);
        match speaker.hear().await.as_deref() {
            Some("ready") => Ok(Mutex::new(speaker)),
            other => Err(format!("it said {other:?}").into()),
        }
    }
}

struct World {
    manager: SandboxManager<Lines>,
    name: PoolName,
    owner: nexus_sandbox::Owner,
}

async fn world(words: &[&str], settings: PoolSettings) -> World {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let spec = spec(image(&driver).await, words);
    let name = PoolName { app: "app".parse().unwrap(), part: PoolPart::Workers };
    let manager = SandboxManager::new(Arc::new(driver), TaskTracker::new());
    manager.set(name.clone(), Arc::new(Lines), spec, settings);
    World { manager, name, owner }
}

impl World {
    fn status(&self) -> nexus_sandbox::PoolStatus {
        self.manager.status()[&self.name]
    }

    async fn checkout(&self) -> nexus_sandbox::Slot<Lines> {
        self.manager.checkout(&self.name).await.unwrap()
    }
}

fn settings() -> PoolSettings {
    let patience = Duration::from_secs(30);
    PoolSettings {
        spare: 0,
        max: 2,
        per_sandbox: 2,
        patience,
        pause: Duration::from_millis(100),
        ..PoolSettings::default()
    }
}

#[tokio::test]
async fn a_sandbox_serves_many_and_more_are_started_for_those_who_wait() {
    let world = world(&[], settings()).await;
    let first = world.checkout().await;
    let second = world.checkout().await;
    assert_eq!(first.sandbox().id(), second.sandbox().id());
    let third = world.checkout().await;
    assert_ne!(first.sandbox().id(), third.sandbox().id());
    for slot in [&first, &second, &third] {
        slot.session().lock().await.echo("hello").await;
    }
    assert_eq!((world.status().ready, world.status().taken), (2, 3));
    drop((first, second, third));
    assert_eq!(world.status().taken, 0);
    world.manager.drain(Duration::ZERO).await;
    assert_eq!(owned(&world.owner), 0);
}

#[tokio::test]
async fn who_finds_no_place_is_told_when_to_come_again() {
    let bounds = PoolSettings { max: 1, per_sandbox: 1, waiting: 1, ..settings() };
    let world = world(&[], bounds).await;
    let slot = world.checkout().await;
    let waits = world.manager.checkout(&world.name);
    let full = async {
        until("one waits", || async { world.status().waiting == 1 }).await;
        let refused = world.manager.checkout(&world.name).await;
        assert!(matches!(refused, Err(SandboxError::Busy { retry_after }) if retry_after >= Duration::from_secs(1)));
        let id = slot.sandbox().id().to_owned();
        drop(slot);
        id
    };
    let (waited, id) = tokio::join!(waits, full);
    assert_eq!(waited.unwrap().sandbox().id(), id);

    let world = self::world(&[], PoolSettings { max: 0, patience: Duration::from_millis(50), ..settings() }).await;
    assert!(matches!(world.manager.checkout(&world.name).await, Err(SandboxError::Busy { .. })));
    assert_eq!(world.status().waiting, 0);
}

#[tokio::test]
async fn spares_are_kept_the_dead_are_replaced_and_the_idle_are_ended() {
    let bounds = PoolSettings { min: 1, spare: 1, max: 3, idle: Duration::from_millis(500), ..settings() };
    let world = world(&[], bounds).await;
    until("one is ready unasked", || async { world.status().ready == 1 }).await;
    let slot = world.checkout().await;
    until("there is a spare", || async { world.status().ready == 2 }).await;
    slot.sandbox().kill().await;
    assert_eq!(slot.sandbox().ended(), Some(Exit { code: Some(137) }));
    // Another is there at once, and the next spare comes.
    let next = world.checkout().await;
    next.session().lock().await.echo("hello").await;
    until("there is a spare again", || async { world.status().ready == 2 }).await;
    drop((slot, next));
    until("only the least number is left", || async {
        let status = world.status();
        (status.ready, status.ending) == (1, 0)
    })
    .await;
    world.manager.drain(Duration::ZERO).await;
    assert_eq!(owned(&world.owner), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_has_ended_is_given_to_nobody() {
    let world = world(&[], settings()).await;
    for _ in 0..5 {
        let slot = world.checkout().await;
        let dead = slot.sandbox().id().to_owned();
        slot.sandbox().kill().await;
        drop(slot);
        // At once: its keeper may not have noticed.
        assert_ne!(world.checkout().await.sandbox().id(), dead);
    }
    world.manager.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_drain_waits_and_then_ends_even_the_deaf() {
    let bounds = PoolSettings { grace: Duration::from_millis(200), ..settings() };
    let world = world(&["deaf"], bounds).await;
    let slot = world.checkout().await;
    let drained = world.manager.drain(Duration::from_millis(300));
    let refused = async {
        tokio::task::yield_now().await;
        assert!(matches!(world.manager.checkout(&world.name).await, Err(SandboxError::Closed)));
    };
    tokio::join!(drained, refused);
    assert!(slot.sandbox().ended().is_some());
    assert_eq!(owned(&world.owner), 0);
}

#[tokio::test]
async fn what_never_comes_to_serve_is_not_started_over_and_over() {
    let bounds = PoolSettings { patience: Duration::from_secs(3), pause: Duration::from_mins(10), ..settings() };
    let world = world(&["complain"], bounds).await;
    assert!(matches!(world.manager.checkout(&world.name).await, Err(SandboxError::Busy { .. })));
    until("it is gone", || async { owned(&world.owner) == 0 }).await;
    let status = world.status();
    assert_eq!((status.starting, status.ready, status.ending), (0, 0, 0));
}
