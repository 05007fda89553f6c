//! Sandboxes in containers of a Docker engine.

mod body;
mod build;
mod connect;
mod reap;
mod relay;
mod start;
mod streams;
mod volume;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bollard::Docker;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

#[cfg(test)]
pub(crate) use self::volume::holder;
pub use self::{
    body::create_body,
    build::{BuildSpec, Built},
};
pub(crate) use self::{
    body::{LEASE, OWNER},
    build::CONTENT,
    volume::{PLACE, VOLUME, folder},
};
use crate::{Driver, ImageReference, Owner, Owners, ProxyBounds, Reaped, Sandbox, SandboxError, SandboxSpec};

/// How many images are remembered to be in order.
const REMEMBERED: usize = 256;

/// How the engine is used.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// Where it listens: `unix:///path` or `tcp://host:port`; left out, at its usual socket.
    pub host: Option<String>,
    /// A runtime that the engine knows, like `runsc`; left out, its own.
    pub runtime: Option<String>,
    /// Whether images may be named by tags. For development.
    pub allow_tags: bool,
    /// How long a start may take.
    pub start: Duration,
    /// Bounds of what each outside server does outside.
    pub proxy: ProxyBounds,
    /// The program `nexus-relay`, linked statically, which carries the connections of outside servers. Without it those with grants
    /// are refused.
    pub relay: Option<PathBuf>,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            host: None,
            runtime: None,
            allow_tags: false,
            start: Duration::from_secs(30),
            proxy: ProxyBounds::default(),
            relay: None,
        }
    }
}

/// A Docker engine. Clones are the same engine.
#[derive(Clone)]
pub struct DockerDriver {
    docker: Docker,
    owner: Owner,
    settings: Arc<DockerSettings>,
    tasks: TaskTracker,
    /// Pinned images that were looked at.
    known: Arc<Mutex<BTreeSet<String>>>,
    /// The image of relays, once it was made.
    relay_image: Arc<Mutex<Option<ImageReference>>>,
}

impl DockerDriver {
    /// Connects, two seconds at most. An error says what is missing and what to do about it.
    pub async fn connect(settings: DockerSettings, owner: Owner, tasks: TaskTracker) -> Result<Self, SandboxError> {
        let docker = connect::connect(settings.host.as_deref()).await?;
        Ok(Self {
            docker,
            owner,
            settings: Arc::new(settings),
            tasks,
            known: Arc::default(),
            relay_image: Arc::default(),
        })
    }

    /// The version of the API that was agreed on.
    pub fn api_version(&self) -> String {
        self.docker.client_version().to_string()
    }

    /// Sees to it that the image is one that a sandbox may have.
    async fn look_at(&self, spec: &SandboxSpec) -> Result<(), SandboxError> {
        let image = spec.image.as_str();
        if !spec.image.is_pinned() && !self.settings.allow_tags {
            return Err(SandboxError::NotPinned(image.to_owned()));
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(image) {
            return Ok(());
        }
        let found = self.docker.inspect_image(image).await.map_err(|error| no_image(error, image))?;
        let volumes = found.config.and_then(|config| config.volumes).unwrap_or_default();
        if let Some(volume) = volumes.into_iter().find(|volume| !is_given(spec, volume)) {
            return Err(SandboxError::ImageVolume { image: image.to_owned(), volume });
        }
        let mut known = known();
        // What it has of volumes may be right for this profile only.
        if spec.image.is_pinned() && spec.volume().is_none() && known.len() < REMEMBERED {
            known.insert(image.to_owned());
        }
        Ok(())
    }
}

/// Whether the volume that an image declares is the one that the specification puts there.
fn is_given(spec: &SandboxSpec, volume: &str) -> bool {
    spec.volume().is_some_and(|given| given.target == volume)
}

fn no_image(error: bollard::errors::Error, image: &str) -> SandboxError {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code: 404, .. } => {
            SandboxError::NoImage(image.to_owned())
        }
        error => SandboxError::engine("look at the image")(error),
    }
}

#[async_trait]
impl Driver for DockerDriver {
    async fn start(&self, spec: &SandboxSpec) -> Result<Sandbox, SandboxError> {
        let limit = self.settings.start;
        let late = |_| SandboxError::Late { step: "start the sandbox", limit };
        tokio::time::timeout(limit, self.start_sandbox(spec)).await.map_err(late)?
    }

    async fn build(&self, spec: BuildSpec, progress: mpsc::Sender<String>) -> Result<Built, SandboxError> {
        self.build_image(spec, progress).await
    }

    async fn own_program(&self, program: &Path) -> Result<SandboxSpec, SandboxError> {
        if !tokio::fs::try_exists(program).await.unwrap_or(false) {
            return Err(SandboxError::NoProgram { place: program.to_owned() });
        }
        let name = program.file_name().and_then(OsStr::to_str).unwrap_or("program");
        let image =
            self.build_from_program(program, &format!("nexus/{}", name.trim_start_matches("nexus-"))).await?.image;
        Ok(SandboxSpec { command: vec!["/program".to_owned()], ..SandboxSpec::new(image) })
    }

    async fn reap(&self, owners: &dyn Owners) -> Result<Reaped, SandboxError> {
        self.remove_orphans(owners).await
    }
}

impl fmt::Debug for DockerDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerDriver")
            .field("owner", &self.owner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
