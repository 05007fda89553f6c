//! Where programs run apart: there, if an application needs it.

use nexus_model::{App, McpServerAt};
use nexus_sandbox::Owner;
use tokio_util::task::TaskTracker;

use super::Finding;
use crate::{
    sandboxes::driver,
    settings::{SandboxDriver, Settings},
    start_error::chain,
};

const CHECK: &str = "sandboxes";

/// Looks for the engine.
pub(super) async fn look(settings: &Settings, apps: &[App], tasks: &TaskTracker) -> Finding {
    let needing =
        apps.iter().filter(|app| needs(app)).map(|app| format!("`{}`", app.name)).collect::<Vec<_>>().join(", ");
    match settings.sandbox.driver {
        SandboxDriver::Off if needing.is_empty() => Finding::ok(CHECK, "off, and no application needs any"),
        SandboxDriver::Off => {
            Finding::fail(CHECK, format!("off, and needed by {needing}"), "set `sandbox.driver` to `docker`")
        }
        SandboxDriver::Process => Finding::warn(
            CHECK,
            "programs are plain processes, which nothing isolates",
            "set `sandbox.driver` to `docker` for what you did not write yourself",
        ),
        SandboxDriver::Docker => {
            let nobody = Owner { host: "doctor".to_owned(), lease: "doctor".to_owned() };
            match driver(&settings.sandbox, nobody, tasks).await {
                Ok(_) => Finding::ok(CHECK, "a Docker engine answers"),
                Err(error) if needing.is_empty() => {
                    Finding::ok(CHECK, format!("no application needs any; {}", chain(&error)))
                }
                Err(error) => Finding::fail(
                    CHECK,
                    chain(&error),
                    format!("start an engine, or name it in `sandbox.docker_host`: {needing} needs it"),
                ),
            }
        }
    }
}

/// Whether it has programs or servers in sandboxes.
fn needs(app: &App) -> bool {
    app.sandbox.is_some() || app.servers.values().any(|server| matches!(server.at, McpServerAt::Image(_)))
}
