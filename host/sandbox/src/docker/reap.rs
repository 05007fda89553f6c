//! What hosts have left behind that are no more.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions};

use super::{
    DockerDriver,
    body::{LEASE, OWNER},
    start::is_gone,
};
use crate::{Owner, Owners, Reaped, SandboxError};

type Labels = HashMap<String, String>;

impl DockerDriver {
    pub(super) async fn remove_orphans(&self, owners: &dyn Owners) -> Result<Reaped, SandboxError> {
        let mut census = Census { own: &self.owner, owners, known: BTreeMap::new() };
        let mut reaped = Reaped::default();
        let labelled = Some(HashMap::from([("label".to_owned(), vec![OWNER.to_owned()])]));
        let all = ListContainersOptions { all: true, filters: labelled, ..ListContainersOptions::default() };
        let found = self.docker.list_containers(Some(all)).await.map_err(SandboxError::engine("list sandboxes"))?;
        for container in found {
            let (Some(id), Some(labels)) = (container.id, container.labels) else { continue };
            if census.is_orphan(&labels).await {
                let forced = RemoveContainerOptions { force: true, v: true, link: false };
                let removed = self.docker.remove_container(&id, Some(forced)).await;
                reaped.sandboxes += usize::from(counts(removed, &id));
            }
        }
        Ok(reaped)
    }
}

/// Who is dead, as far as it was asked. Each owner is asked for once.
struct Census<'a> {
    own: &'a Owner,
    owners: &'a dyn Owners,
    known: BTreeMap<Owner, bool>,
}

impl Census<'_> {
    async fn is_orphan(&mut self, labels: &Labels) -> bool {
        let label = |name| labels.get(name).cloned().unwrap_or_default();
        let owner = Owner { host: label(OWNER), lease: label(LEASE) };
        if owner == *self.own {
            return false;
        }
        if let Some(dead) = self.known.get(&owner) {
            return *dead;
        }
        let dead = match self.owners.is_alive(&owner).await {
            Ok(alive) => !alive,
            Err(error) => {
                tracing::warn!(host = owner.host, error = &error as &dyn std::error::Error, "{error}");
                false
            }
        };
        self.known.insert(owner, dead);
        dead
    }
}

fn counts(removed: Result<(), bollard::errors::Error>, id: &str) -> bool {
    match removed {
        Ok(()) => true,
        Err(error) if is_gone(&error) => false,
        Err(error) => {
            tracing::warn!(id, %error, "a sandbox of a host that is no more could not be removed");
            false
        }
    }
}
