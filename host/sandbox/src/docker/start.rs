//! From a specification to a container that runs: create, attach, start.

use std::{future::Future, sync::Arc, time::Duration};

use bollard::{
    Docker,
    container::AttachContainerResults,
    errors::Error,
    query_parameters::{AttachContainerOptions, RemoveContainerOptions, WaitContainerOptions},
};
use futures::{StreamExt, future::join};
use tokio::time::timeout;

use super::{DockerDriver, body::create_body, streams::Demultiplexed};
use crate::{
    Exit, Gate, Profile, Sandbox, SandboxError, SandboxHandle, SandboxInput, SandboxOutput, SandboxSpec, ServerProfile,
    relay::Link, tail::Tail,
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
        if let Profile::Server(server) = &spec.profile
            && let Some(gate) = &server.gate
        {
            return Box::pin(self.start_with_relay(spec, server, gate)).await;
        }
        self.prepare(spec).await?;
        let id = self.create(spec, None).await?;
        self.launch(&id, None).await
    }

    /// What of the server needs no relay is done while the relay is made, and what needs it to be there only, while it starts.
    async fn start_with_relay(
        &self,
        spec: &SandboxSpec,
        server: &ServerProfile,
        gate: &Arc<dyn Gate>,
    ) -> Result<Sandbox, SandboxError> {
        let creating = Box::pin(self.create_relay(server, gate));
        let creating = self.within("create the relay of the server", creating);
        let (prepared, relay) = join(Box::pin(self.prepare(spec)), creating).await;
        let relay = relay?;
        if let Err(error) = prepared {
            remove(self.docker.clone(), relay.id).await;
            return Err(error);
        }
        let namespace = relay.id.clone();
        match join(Box::pin(self.open_link(relay)), Box::pin(self.create(spec, Some(&namespace)))).await {
            (Ok(link), Ok(id)) => self.launch(&id, Some(link)).await,
            (Ok(link), Err(error)) => {
                link.close().await;
                Err(error)
            }
            (Err(error), created) => {
                if let Ok(id) = created {
                    remove(self.docker.clone(), id).await;
                }
                Err(error)
            }
        }
    }

    async fn prepare(&self, spec: &SandboxSpec) -> Result<(), SandboxError> {
        self.within("look at the image", self.look_at(spec)).await?;
        if let Some(volume) = spec.volume() {
            self.within("make the volume", self.ensure_volume(volume)).await?;
            self.within("give the volume to its user", self.give_volume(spec, volume)).await?;
        }
        Ok(())
    }

    /// `relay` is the id of the relay that the sandbox is to be in the namespace of.
    pub(super) async fn create(&self, spec: &SandboxSpec, relay: Option<&str>) -> Result<String, SandboxError> {
        let body = create_body(spec, &self.owner, self.settings.runtime.as_deref(), relay);
        let creating = async {
            let created = self.docker.create_container(None, body).await;
            created.map_err(SandboxError::engine("create the sandbox"))
        };
        Ok(self.within("create the sandbox", creating).await?.id)
    }

    /// Starts what was created. If it does not start, nothing of it is left; nor is anything of the link.
    pub(super) async fn launch(&self, id: &str, link: Option<Link>) -> Result<Sandbox, SandboxError> {
        let tail = Tail::default();
        let exit = ended(self.docker.clone(), id.to_owned(), link);
        let kill = remove(self.docker.clone(), id.to_owned());
        let handle = SandboxHandle::watch(id, tail.clone(), &self.tasks, exit, kill);
        match self.within("start the sandbox", self.run(id)).await {
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

    pub(super) async fn within<T>(
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

/// Waits until the container is gone, and ends its relay then. A relay that ends first takes the container along.
async fn ended(docker: Docker, id: String, link: Option<Link>) -> Exit {
    let Some(link) = link else { return gone(&docker, &id).await };
    let over = async {
        link.over().await;
        remove(docker.clone(), id.clone()).await;
        gone(&docker, &id).await
    };
    let exit = tokio::select! {
        exit = gone(&docker, &id) => exit,
        exit = over => exit,
    };
    link.close().await;
    exit
}

async fn gone(docker: &Docker, id: &str) -> Exit {
    let removed = WaitContainerOptions { condition: "removed".to_owned() };
    loop {
        match docker.wait_container(id, Some(removed.clone())).next().await {
            Some(Ok(answer)) => return Exit { code: Some(answer.status_code) },
            Some(Err(Error::DockerContainerWaitError { code, .. })) => return Exit { code: Some(code) },
            // It was gone before the engine was asked.
            Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => return Exit { code: None },
            Some(Err(_)) | None => tokio::time::sleep(PAUSE).await,
        }
    }
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
