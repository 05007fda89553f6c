//! The way to the engine.

use std::{io, path::Path, time::Duration};

use bollard::Docker;
use tokio::{net::UnixStream, time::timeout};

use crate::SandboxError;

/// Where an engine listens by itself.
const SOCKET: &str = "unix:///var/run/docker.sock";
/// How long an engine may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(2);

const INSTALL: &str = "install Docker (Debian: `apt install docker.io`) and start it (`systemctl start docker`, or `dockerd` as \
                       root), or say with DOCKER_HOST where an engine listens";
const START: &str =
    "the socket is there and nobody listens: start the engine (`systemctl start docker`, or `dockerd` as root)";
const PERMIT: &str =
    "this user may not use the socket: add him to its group (`usermod -aG docker USER`, then log in again)";
const ANSWER: &str =
    "something listens there and does not answer like an engine: look at `docker version`, and at DOCKER_HOST";
const SCHEME: &str = "write it as `unix:///path` or `tcp://host:port`";

/// Connects to the engine at `host`, and agrees with it on a version of the API. Two seconds at most.
pub(super) async fn connect(host: Option<&str>) -> Result<Docker, SandboxError> {
    let host = host.unwrap_or(SOCKET);
    let unreachable =
        |mend: &str, source| SandboxError::Unreachable { host: host.to_owned(), mend: mend.to_owned(), source };
    match timeout(PATIENCE, agree(host)).await {
        Ok(Ok(docker)) => Ok(docker),
        Ok(Err((mend, source))) => Err(unreachable(mend, source)),
        Err(late) => Err(unreachable(ANSWER, late.into())),
    }
}

async fn agree(host: &str) -> Result<Docker, (&'static str, crate::BoxError)> {
    if let Some(path) = host.strip_prefix("unix://") {
        // Bollard tells all of these as one.
        UnixStream::connect(Path::new(path)).await.map_err(|error| (mend(error.kind()), error.into()))?;
    }
    let docker = Docker::connect_with_host(host).map_err(|error| (SCHEME, error.into()))?;
    docker.negotiate_version().await.map_err(|error| (ANSWER, error.into()))
}

fn mend(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => PERMIT,
        io::ErrorKind::ConnectionRefused => START,
        _ => INSTALL,
    }
}
