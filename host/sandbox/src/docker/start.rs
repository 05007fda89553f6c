//! From a specification to a container that runs: create, attach, start.

use std::{future::Future, time::Duration};

use bollard::{
    Docker,
    container::AttachContainerResults,
    errors::Error,
    query_parameters::{AttachContainerOptions, RemoveContainerOptions, WaitContainerOptions},
};
use futures::StreamExt;
use tokio::time::timeout;

use super::{DockerDriver, body::create_body, network::Link, streams::Demultiplexed};
use crate::{
    Exit, Profile, Sandbox, SandboxError, SandboxHandle, SandboxInput, SandboxOutput, SandboxSpec, tail::Tail,
};

impl DockerDriver {
    /// Whoever waits for this may go away: it is done to its end, and what nobody takes is ended.
    pub(super) async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox, SandboxError> {
        spec.check()?;
        let (this, spec) = (self.clone(), spec.clone());
        let started = self.tasks.spawn(async move { this.start_checked(&spec).await }).await;
        started.map_err(|_| SandboxError::Closed)?
    }

    async fn start_checked(&self, spec: &SandboxSpec) -> Result<Sandbox, SandboxError> {
        self.within("look at the image", self.look_at(spec)).await?;
        if let Some(volume) = spec.volume() {
            self.within("make the volume", self.ensure_volume(volume)).await?;
            self.within("give the volume to its user", self.give_volume(spec, volume)).await?;
        }
        let link = match &spec.profile {
            Profile::Server(server) => self.within("make the network", self.open_link(server)).await?,
            Profile::Orchestrator => None,
        };
        let id = match self.within("create the sandbox", self.create(spec, link.as_ref())).await {
            Ok(id) => id,
            Err(error) => {
                if let Some(link) = link {
                    link.close().await;
                }
                return Err(error);
            }
        };
        let tail = Tail::default();
        let (exit, kill) = (ended(self.docker.clone(), id.clone(), link), remove(self.docker.clone(), id.clone()));
        let handle = SandboxHandle::watch(&id, tail.clone(), &self.tasks, exit, kill);
        match self.within("start the sandbox", self.run(&id)).await {
            Ok(streams) => Ok(Sandbox {
                input: SandboxInput(streams.input),
                output: SandboxOutput(Box::pin(Demultiplexed::new(streams.output, tail))),
                handle,
            }),
            Err(error) => {
                handle.kill().await;
                Err(error)
            }
        }
    }

    async fn create(&self, spec: &SandboxSpec, link: Option<&Link>) -> Result<String, SandboxError> {
        let network = link.map(Link::network);
        let mut body = create_body(spec, &self.owner, self.settings.runtime.as_deref(), network);
        if let (Some(link), Some(environment)) = (link, &mut body.env) {
            environment.extend(link.environment());
        }
        let created = self.docker.create_container(None, body).await;
        Ok(created.map_err(SandboxError::engine("create the sandbox"))?.id)
    }

    async fn run(&self, id: &str) -> Result<AttachContainerResults, SandboxError> {
        let all = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            logs: false,
            detach_keys: None,
        };
        // Before it runs, so that nothing of what it says is missed.
        let streams = self.docker.attach_container(id, Some(all)).await;
        let streams = streams.map_err(SandboxError::engine("attach to the sandbox"))?;
        self.docker.start_container(id, None).await.map_err(SandboxError::engine("start the sandbox"))?;
        Ok(streams)
    }

    async fn within<T>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<T, SandboxError>>,
    ) -> Result<T, SandboxError> {
        let limit = self.settings.start;
        timeout(limit, work).await.map_err(|_| SandboxError::Late { step, limit })?
    }
}

/// How long to wait before an engine that failed is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until the container is gone, and takes down what was its own.
async fn ended(docker: Docker, id: String, link: Option<Link>) -> Exit {
    let removed = WaitContainerOptions { condition: "removed".to_owned() };
    let code = loop {
        match docker.wait_container(&id, Some(removed.clone())).next().await {
            Some(Ok(answer)) => break Some(answer.status_code),
            Some(Err(Error::DockerContainerWaitError { code, .. })) => break Some(code),
            // It was gone before the engine was asked.
            Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => break None,
            Some(Err(_)) | None => tokio::time::sleep(PAUSE).await,
        }
    };
    if let Some(link) = link {
        link.close().await;
    }
    Exit { code }
}

/// Kills and removes, in whatever state it is.
pub(super) async fn remove(docker: Docker, id: String) {
    let forced = RemoveContainerOptions { force: true, v: true, link: false };
    if let Err(error) = docker.remove_container(&id, Some(forced)).await
        && !is_gone(&error)
    {
        tracing::warn!(sandbox = id, %error, "a sandbox could not be removed");
    }
}

/// Whether it is not there any more, or somebody is removing it already.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404 | 409, .. })
}
