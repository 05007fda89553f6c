//! A server as a plain process of the host.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::launch::{LaunchError, Launched, Launcher, Process};

/// Bytes of standard error that are kept.
const KEPT: usize = 4 << 10;
/// How long a server may take to end once its input is closed.
const GRACE: Duration = Duration::from_secs(1);

/// Starts a program of this machine, in a process group of its own and with no environment but the one that is given.
/// That is no isolation: the program may do whatever this process may.
#[derive(Clone)]
pub struct ProcessLauncher {
    /// The program: a path, or a name that is looked up in `PATH` of the environment that is given.
    pub program: PathBuf,
    /// Its arguments. No shell sees them.
    pub arguments: Vec<String>,
    /// All of its environment.
    pub environment: BTreeMap<String, String>,
    /// The folder that it starts in; this process's own if there is none.
    pub folder: Option<PathBuf>,
    /// Where the tasks run that watch it.
    pub tasks: TaskTracker,
}

impl fmt::Debug for ProcessLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of the environment are secrets as often as not.
        let names: Vec<_> = self.environment.keys().collect();
        f.debug_struct("ProcessLauncher")
            .field("program", &self.program)
            .field("environment", &names)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Launcher for ProcessLauncher {
    async fn launch(&self) -> Result<Launched, LaunchError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(&self.environment).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let failed = |why: &dyn fmt::Display| {
            LaunchError(format!(
                "`{}` cannot be started ({why}): install it, or correct its path",
                self.program.display()
            ))
        };
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(&"its streams are not there"));
        };
        let words = Words::default();
        self.tasks.spawn(listen(errors, words.clone()));
        let end = CancellationToken::new();
        self.tasks.spawn(watch(child, end.clone()));
        let process = HostProcess { words, _end: end.drop_guard() };
        Ok(Launched { input: Box::new(input), output: Box::new(output), process: Box::new(process) })
    }
}

struct HostProcess {
    words: Words,
    _end: DropGuard,
}

impl Process for HostProcess {
    fn last_words(&self) -> String {
        let kept = self.words.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// The end of what was said.
#[derive(Clone, Default)]
struct Words(Arc<Mutex<VecDeque<u8>>>);

async fn listen(mut errors: impl AsyncRead + Unpin, words: Words) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = errors.read(&mut buffer).await {
        let mut kept = words.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&buffer[..read]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
}

/// Waits for the end of a process, or brings it about; either way it is reaped, and what it has left behind is ended.
async fn watch(mut child: Child, end: CancellationToken) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let ended = tokio::select! {
        _ = child.wait() => true,
        () = end.cancelled() => timeout(GRACE, child.wait()).await.is_ok(),
    };
    if let Some(group) = group {
        // An empty group is what is hoped for.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if !ended && let Err(error) = child.wait().await {
        tracing::warn!(%error, "a process of an MCP server was not waited for");
    }
}
