//! The volume of one outside server.

use std::{collections::HashMap, io};

use bollard::{
    body_full,
    errors::Error,
    models::{ContainerCreateBody, VolumeCreateRequest},
    query_parameters::{RemoveVolumeOptions, UploadToContainerOptions},
};

use super::{DockerDriver, body::create_body, start};
use crate::{Limits, Owner, Profile, SandboxError, SandboxSpec, ServerProfile, VolumeSpec};

/// Volumes that were made here. Others belong to other people, and are given to nobody.
pub(crate) const VOLUME: &str = "nexus.volume";

impl DockerDriver {
    /// Sees to it that the volume is there. Its bound holds where the engine can keep one.
    pub(super) async fn ensure_volume(&self, volume: &VolumeSpec) -> Result<(), SandboxError> {
        match self.docker.inspect_volume(&volume.name).await {
            Ok(found) if found.labels.contains_key(VOLUME) => return Ok(()),
            Ok(_) => return Err(SandboxError::Spec("there is a volume of this name that Nexus did not make")),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(SandboxError::engine("look at the volume")(error)),
        }
        let request = |options| VolumeCreateRequest {
            name: Some(volume.name.clone()),
            driver: Some("local".to_owned()),
            driver_opts: options,
            labels: Some(HashMap::from([(VOLUME.to_owned(), volume.name.clone())])),
            ..VolumeCreateRequest::default()
        };
        let bound = HashMap::from([("size".to_owned(), volume.bytes.to_string())]);
        let Err(refusal) = self.docker.create_volume(request(Some(bound))).await else { return Ok(()) };
        let made = self.docker.create_volume(request(None)).await;
        made.map_err(SandboxError::engine("make the volume"))?;
        tracing::warn!(
            volume = volume.name,
            %refusal,
            "this engine keeps no volume within a bound: it has to keep its data on XFS with project quotas for that"
        );
        Ok(())
    }

    /// Removes a volume of Nexus with all that is in it, unless a sandbox has it. That there is none is no error.
    pub async fn remove_volume(&self, name: &str) -> Result<(), SandboxError> {
        match self.docker.inspect_volume(name).await {
            Ok(found) if found.labels.contains_key(VOLUME) => {}
            Ok(_) => return Err(SandboxError::Spec("there is a volume of this name that Nexus did not make")),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            Err(error) => return Err(SandboxError::engine("look at the volume")(error)),
        }
        self.docker
            .remove_volume(name, None::<RemoveVolumeOptions>)
            .await
            .map_err(SandboxError::engine("remove the volume"))
    }

    /// Makes the root of the volume the user's; a new volume is root's. The engine does it, through a container that has the volume
    /// and never runs.
    pub(super) async fn give_volume(&self, spec: &SandboxSpec, volume: &VolumeSpec) -> Result<(), SandboxError> {
        let failed = SandboxError::engine("give the volume to its user");
        let packed = folder(spec.uid()).map_err(|source| SandboxError::Process { what: "packing a folder", source })?;
        let created = self.docker.create_container(None, holder(spec, volume, &self.owner)).await.map_err(&failed)?;
        let root = UploadToContainerOptions { path: "/".to_owned(), ..UploadToContainerOptions::default() };
        let given = self.docker.upload_to_container(&created.id, Some(root), body_full(packed.into())).await;
        start::remove(self.docker.clone(), created.id).await;
        given.map_err(failed)
    }
}

/// Where the volume is in the container that never runs.
pub(crate) const PLACE: &str = "volume";

/// As closed as any, but for its root: the engine puts nothing into a container that cannot be written to.
pub(crate) fn holder(spec: &SandboxSpec, volume: &VolumeSpec, owner: &Owner) -> ContainerCreateBody {
    let volume = VolumeSpec { target: format!("/{PLACE}"), ..volume.clone() };
    let profile = Profile::Server(ServerProfile { volume: Some(volume), ..ServerProfile::default() });
    let limits = Limits { scratch: None, ..spec.limits.clone() };
    let labels = spec.labels.clone();
    let command = vec!["/never".to_owned()];
    let closed = SandboxSpec { command, limits, profile, labels, ..SandboxSpec::new(spec.image.clone()) };
    let mut body = create_body(&closed, owner, None, None);
    if let Some(host) = &mut body.host_config {
        host.readonly_rootfs = Some(false);
    }
    body
}

/// An archive with the root of the volume.
pub(crate) fn folder(uid: u32) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o700);
    header.set_uid(uid.into());
    header.set_gid(uid.into());
    header.set_size(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, PLACE, io::empty())?;
    archive.into_inner()
}
