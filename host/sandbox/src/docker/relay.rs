//! The relay of one outside server: a container without a network, in whose namespace the server is.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::{DockerDriver, start::is_gone};
use crate::{
    Gate, ImageReference, Limits, Profile, RelayProfile, SandboxError, SandboxSpec, ServerProfile,
    proxy::Outside,
    relay::{Link, Listeners},
};

/// The name of its image.
const IMAGE: &str = "nexus/relay";
/// Its memory, in bytes: what 32 connections may have in their windows, and the program.
const MEMORY: u64 = 32 << 20;
/// Its processes and threads: few, but what the engine begins a container with counts among them, and is refused at random
/// below ten.
const PIDS: u16 = 16;
/// Files that it has open besides connections and listeners.
const FILES: u32 = 32;

/// A relay that was created, and does not run yet.
pub(super) struct NewRelay {
    pub(super) id: String,
    listeners: Listeners,
    outside: Outside,
}

impl DockerDriver {
    /// Creates the relay of a server. Its image is made for the first one, and again if the engine has lost it.
    pub(super) async fn create_relay(
        &self,
        server: &ServerProfile,
        gate: &Arc<dyn Gate>,
    ) -> Result<NewRelay, SandboxError> {
        let listeners = Listeners::new(&server.tcp);
        let outside = Outside {
            server: server.name.clone(),
            gate: gate.clone(),
            bounds: self.settings.proxy.clone(),
            tasks: self.tasks.clone(),
            ended: CancellationToken::new(),
        };
        let known = self.relay_image.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let id = match known {
            Some(image) => match self.create(&self.relay_spec(image, &listeners), None).await {
                Err(SandboxError::Engine { source, .. }) if is_gone(&source) => {
                    self.create(&self.relay_spec(self.build_relay().await?, &listeners), None).await?
                }
                created => created?,
            },
            None => self.create(&self.relay_spec(self.build_relay().await?, &listeners), None).await?,
        };
        Ok(NewRelay { id, listeners, outside })
    }

    /// Starts it, and waits until it listens.
    pub(super) async fn open_link(&self, relay: NewRelay) -> Result<Link, SandboxError> {
        let sandbox = self.launch(&relay.id, None).await?;
        self.within("start the relay of the server", Link::open(sandbox, relay.listeners, relay.outside)).await
    }

    async fn build_relay(&self) -> Result<ImageReference, SandboxError> {
        let place = self.settings.relay.as_ref().ok_or(SandboxError::NoRelay { place: None })?;
        if !tokio::fs::try_exists(place).await.unwrap_or(false) {
            return Err(SandboxError::NoRelay { place: Some(place.clone()) });
        }
        let image = self.build_from_program(place, IMAGE).await?.image;
        *self.relay_image.lock().unwrap_or_else(PoisonError::into_inner) = Some(image.clone());
        Ok(image)
    }

    fn relay_spec(&self, image: ImageReference, listeners: &Listeners) -> SandboxSpec {
        let addresses = listeners.addresses();
        let connections = self.settings.proxy.connections.clamp(1, crate::proxy::MAX_CONNECTIONS);
        let words = ["/program".to_owned(), connections.to_string()];
        let listening = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        SandboxSpec {
            command: words.into_iter().chain(addresses.iter().map(ToString::to_string)).collect(),
            limits: Limits {
                memory: MEMORY,
                pids: PIDS,
                // An accepted connection of each listener may wait for its place.
                open_files: FILES + 2 * listening + u32::from(connections),
                ..Limits::default()
            },
            profile: Profile::Relay(RelayProfile { hosts: listeners.hosts().clone() }),
            labels: BTreeMap::from([("part".to_owned(), "relay".to_owned())]),
            ..SandboxSpec::new(image)
        }
    }
}
