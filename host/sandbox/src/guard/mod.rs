//! A guard before an engine: whoever may use an engine has its machine, so a host gets a guard in its place, which lets through
//! what Nexus does and nothing else.
//!
//! Each call is found in a table ([`route`]), each parameter and each key of a body in another; what is not there is refused.
//! What goes on to the engine is written anew from what was looked at, on a connection of its own, so that the two cannot read
//! it in two ways.

mod address;
mod archive;
mod build;
mod carry;
mod container;
mod engine;
mod host_config;
mod json;
mod known;
mod query;
mod refusal;
mod route;
mod serve;
mod volume;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use self::address::{EngineAddress, InvalidAddress};
use self::{address::Listening, container::Allowed, engine::Engine, known::Known};
use crate::{BoxError, SandboxError};

/// How long a guard may take to say whether its engine answers.
const ASKED: Duration = Duration::from_secs(5);

/// How a guard is set up.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// Where the engine listens.
    pub engine: EngineAddress,
    /// Where the guard listens.
    pub listen: EngineAddress,
    /// Runtimes of the engine that sandboxes may have, like `runsc`, besides its own.
    pub runtimes: Vec<String>,
    /// The most memory of one sandbox, or of a step of a build, in bytes.
    pub memory: u64,
    /// Connections at one time: a sandbox has two. More are not accepted until one ends.
    pub connections: usize,
    /// How long the head of a request may take.
    pub head: Duration,
    /// How long a body may take; the context of a build has as long as an answer.
    pub body: Duration,
    /// How long it may take until the engine answers.
    pub answer: Duration,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            engine: EngineAddress::Unix("/var/run/docker.sock".into()),
            listen: EngineAddress::Tcp("127.0.0.1:2375".to_owned()),
            runtimes: Vec::new(),
            memory: 16 << 30,
            connections: 1024,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            answer: Duration::from_mins(1),
        }
    }
}

/// What all connections have.
#[derive(Debug)]
struct Guard {
    settings: GuardSettings,
    allowed: Allowed,
    engine: Engine,
    known: Known,
}

/// A guard that listens. Dropped, it ends with all its connections; what runs in containers hears the end of its input.
#[derive(Debug)]
pub struct EngineGuard {
    address: EngineAddress,
    _running: DropGuard,
}

impl EngineGuard {
    /// Listens. An engine that does not answer yet is told of in the log, and asked again with each call.
    pub async fn listen(settings: GuardSettings, tasks: &TaskTracker) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Listen { address: settings.listen.to_string(), source };
        let listening = settings.listen.listen().await.map_err(failed)?;
        let address = listening.address().map_err(failed)?;
        let ended = CancellationToken::new();
        let engine = Engine {
            address: settings.engine.clone(),
            connect: ASKED,
            answer: settings.answer,
            tasks: tasks.clone(),
            ended: ended.clone(),
        };
        let allowed = Allowed { runtimes: settings.runtimes.clone(), memory: settings.memory };
        let guard = Arc::new(Guard { settings, allowed, engine, known: Known::default() });
        tasks.spawn(accept(listening, guard.clone()));
        if let Ok(Err(error)) = timeout(ASKED, guard.engine.address.connect()).await {
            let (engine, mend) = (&guard.engine.address, engine::mend(error.kind()));
            tracing::warn!(%engine, %error, mend, "the engine cannot be reached");
        }
        Ok(Self { address, _running: ended.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> &EngineAddress {
        &self.address
    }

    /// Asks the guard that listens at an address whether its engine answers; five seconds at most.
    pub async fn ask(listen: &EngineAddress) -> Result<(), SandboxError> {
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let _ended_at_the_end = ended.clone().drop_guard();
        let guard = Engine { address: listen.on_this_machine(), connect: ASKED, answer: ASKED, tasks, ended };
        let unreachable = |source: BoxError| SandboxError::Unreachable {
            host: listen.to_string(),
            mend: "look at the log of the guard".to_owned(),
            source,
        };
        let asked = async {
            let request = engine::request(Method::GET, "/_ping".to_owned(), Bytes::new(), None)?;
            let answer = guard.send(request).await?;
            let status = answer.status();
            Ok((status, guard.read(answer.into_body()).await?))
        };
        match timeout(ASKED, asked).await {
            Ok(Ok((StatusCode::OK, _))) => Ok(()),
            Ok(Ok((_, said))) => Err(unreachable(String::from_utf8_lossy(&said).into())),
            Ok(Err(refusal)) => Err(unreachable(refusal::Refusal::to_string(&refusal).into())),
            Err(late) => Err(unreachable(late.into())),
        }
    }
}

/// Until the guard ends. Connections that there is no place for wait at the kernel.
async fn accept(listening: Listening, guard: Arc<Guard>) {
    let places = Arc::new(Semaphore::new(guard.settings.connections));
    let accepted = async {
        loop {
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listening.accept().await {
                Ok(stream) => {
                    guard.engine.tasks.spawn(serve::connection(guard.clone(), stream, place));
                }
                Err(error) => {
                    // Out of files, for one: somebody has to close one first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    guard.engine.ended.run_until_cancelled(accepted).await;
}
