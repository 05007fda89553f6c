//! What starts sandboxes: looked for at the start, and again as long as it is not there.

use std::{env::current_exe, path::PathBuf, sync::Arc, time::Duration};

use nexus_core::Core;
use nexus_sandbox::{DockerDriver, DockerSettings, Driver, Owner, ProcessDriver, SandboxError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    settings::{SandboxDriver, SandboxSettings},
    start_error::chain,
};

/// Time between two looks for an engine that is not there.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// The program that carries connections of outside servers, beside this one.
const RELAY: &str = "nexus-relay";

/// The program that walks workflows, beside this one.
const WALKER: &str = "nexus-orchestrator";

/// Where the program that walks workflows has to be.
pub(crate) fn walker() -> Option<PathBuf> {
    current_exe().ok().map(|own| own.with_file_name(WALKER))
}

/// Finds what starts sandboxes and hands it to the core. Without it the server serves, and says what is missing to whoever
/// needs a sandbox.
pub(crate) async fn provide(settings: SandboxSettings, core: Core, tasks: TaskTracker, cancel: CancellationToken) {
    if settings.driver == SandboxDriver::Off {
        core.sandboxes_missing("`sandbox.driver` is `off` in the settings".to_owned());
        return;
    }
    let owner = loop {
        match core.own_sandboxes().await {
            Ok(owner) => break owner,
            Err(error) => core.sandboxes_missing(format!("the runtime store is out of reach: {error}")),
        }
        if cancel.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_none() {
            return;
        }
    };
    let mut told = false;
    loop {
        match driver(&settings, owner.clone(), &tasks).await {
            Ok(driver) => {
                tracing::info!("sandboxes can be started");
                core.connect_sandboxes(driver);
                return;
            }
            Err(error) => {
                let why = chain(&error);
                if !told {
                    tracing::warn!(why, "there are no sandboxes: operations and MCP servers that need one are refused");
                    told = true;
                }
                core.sandboxes_missing(why);
            }
        }
        if cancel.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_none() {
            return;
        }
    }
}

/// What starts sandboxes, as the settings want it. An error says what is missing.
pub(crate) async fn driver(
    settings: &SandboxSettings,
    owner: Owner,
    tasks: &TaskTracker,
) -> Result<Arc<dyn Driver>, SandboxError> {
    if settings.driver == SandboxDriver::Process {
        return Ok(Arc::new(ProcessDriver::new(tasks.clone())?));
    }
    let docker = DockerSettings {
        host: settings.docker_host.clone(),
        runtime: settings.runtime.clone(),
        allow_tags: settings.allow_tags,
        relay: current_exe().ok().map(|own| own.with_file_name(RELAY)),
        ..DockerSettings::default()
    };
    Ok(Arc::new(DockerDriver::connect(docker, owner, tasks.clone()).await?))
}
