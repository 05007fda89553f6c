//! What a host leaves behind that was killed.

use async_trait::async_trait;
use nexus_sandbox::{BoxError, Driver, Owner, OwnerError, Owners, Reaped};

use crate::{
    host::Host,
    support::{Speaker, docker, driver_of, image, owned, owner, relay_of, spec, told, until},
};

/// One owner is dead, one nobody knows about, all others live.
struct Dead {
    dead: Owner,
    unknown: Option<Owner>,
}

#[async_trait]
impl Owners for Dead {
    async fn is_alive(&self, owner: &Owner) -> Result<bool, OwnerError> {
        if self.unknown.as_ref() == Some(owner) {
            return Err(OwnerError(BoxError::from("the store is away")));
        }
        Ok(*owner != self.dead)
    }
}

/// A host is killed with `kill -9` this many times in each way.
fn kills() -> usize {
    told("NEXUS_SANDBOX_KILLS").map_or(2, |kills| kills.parse().unwrap())
}

#[tokio::test]
async fn what_hears_the_end_of_its_input_is_gone_with_its_host() {
    for _ in 0..kills() {
        let owner = owner();
        let mut host = Host::start(&owner, "docker echo");
        assert_eq!(host.sandboxes().len(), 3);
        assert_eq!(owned(&owner), 3);
        host.kill();
        until("the sandboxes end with their host", || async { owned(&owner) == 0 }).await;
    }
}

#[tokio::test]
async fn what_does_not_hear_it_is_removed_by_the_next_host() {
    for _ in 0..kills() {
        let (dead, replica, next) = (owner(), owner(), owner());
        let mut host = Host::start(&dead, "docker deaf");
        assert_eq!(host.sandboxes().len(), 3);
        let others = driver_of(replica.clone()).await;
        let mut other = Speaker::start(&others, &spec(image(&others).await, &[])).await;
        other.expect("ready").await;
        host.kill();
        assert_eq!(owned(&dead), 3);

        let driver = driver_of(next).await;
        let nobody = Dead { dead: replica.clone(), unknown: Some(replica.clone()) };
        assert_eq!(driver.reap(&nobody).await.unwrap(), Reaped::default());
        let owners = Dead { dead: dead.clone(), unknown: None };
        assert_eq!(driver.reap(&owners).await.unwrap(), Reaped { sandboxes: 3 });
        assert_eq!(owned(&dead), 0);
        assert_eq!(driver.reap(&owners).await.unwrap(), Reaped::default());
        other.echo("still here").await;
        // Nobody reaps himself, whatever the store says.
        let own = Dead { dead: replica, unknown: None };
        assert_eq!(others.reap(&own).await.unwrap(), Reaped::default());
        other.echo("still here").await;
    }
}

#[tokio::test]
async fn servers_that_hear_the_end_of_their_input_are_gone_with_their_host_and_their_relays() {
    for _ in 0..kills() {
        let owner = owner();
        let mut host = Host::start(&owner, "server echo");
        assert_eq!(host.sandboxes().len(), 3);
        assert_eq!(owned(&owner), 6);
        host.kill();
        until("servers and relays end with their host", || async { owned(&owner) == 0 }).await;
    }
}

#[tokio::test]
async fn servers_that_do_not_hear_it_are_left_without_a_relay_and_removed_by_the_next_host() {
    for _ in 0..kills() {
        let dead = owner();
        let mut host = Host::start(&dead, "server deaf");
        assert_eq!(host.sandboxes().len(), 3);
        assert_eq!(owned(&dead), 6);
        host.kill();
        until("the relays end with their host", || async { owned(&dead) == 3 }).await;
        let driver = driver_of(owner()).await;
        let owners = Dead { dead: dead.clone(), unknown: None };
        assert_eq!(driver.reap(&owners).await.unwrap(), Reaped { sandboxes: 3 });
        assert_eq!(owned(&dead), 0);
    }
}

#[tokio::test]
async fn relays_that_do_not_end_are_removed_by_the_next_host() {
    let dead = owner();
    let mut host = Host::start(&dead, "server deaf");
    let sandboxes = host.sandboxes();
    let relays: Vec<String> = sandboxes.iter().map(|server| relay_of(server)).collect();
    for relay in &relays {
        docker(&["pause", relay]);
    }
    host.kill();
    let driver = driver_of(owner()).await;
    let owners = Dead { dead: dead.clone(), unknown: None };
    assert_eq!(driver.reap(&owners).await.unwrap(), Reaped { sandboxes: 6 });
    assert_eq!(owned(&dead), 0);
}
