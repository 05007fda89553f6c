//! Sandboxes as plain processes, for development without an engine.

use std::{
    io,
    path::Path,
    pin::Pin,
    process::Stdio,
    sync::Once,
    task::{Context, Poll, ready},
    thread,
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::task::TaskTracker;

use crate::{
    BuildSpec, Built, Driver, Exit, ImageReference, Owners, Reaped, Sandbox, SandboxError, SandboxHandle, SandboxInput,
    SandboxOutput, SandboxSpec, tail::Tail,
};

/// Starts that wait for their turn.
const QUEUE: usize = 16;

type Spawned = oneshot::Sender<io::Result<Child>>;

/// Programs of this machine, started as they are: **no isolation**. They have a cleared environment, a process group of their
/// own, bounds on memory and files, no new privileges, and are killed with the host. They can read what the host can read.
#[derive(Debug)]
pub struct ProcessDriver {
    launcher: mpsc::Sender<(Command, Spawned)>,
    tasks: TaskTracker,
    warned: Once,
}

impl ProcessDriver {
    /// Starts the thread that starts programs. The kernel kills them when that thread ends, as it does with the host, or when
    /// the driver is dropped.
    pub fn new(tasks: TaskTracker) -> Result<Self, SandboxError> {
        let (launcher, mut wanted) = mpsc::channel::<(Command, Spawned)>(QUEUE);
        let runtime = Handle::current();
        let launch = move || {
            let _entered = runtime.enter();
            while let Some((mut command, spawned)) = wanted.blocking_recv() {
                // Whoever asked may be gone: then the child is dropped, and killed.
                let _ = spawned.send(command.spawn());
            }
        };
        let failed = |source| SandboxError::Process { what: "starting the launcher", source };
        thread::Builder::new().name("sandbox-launcher".to_owned()).spawn(launch).map_err(failed)?;
        Ok(Self { launcher, tasks, warned: Once::new() })
    }

    async fn spawn(&self, spec: &SandboxSpec) -> Result<Child, SandboxError> {
        let (sender, spawned) = oneshot::channel();
        let gone = |_| SandboxError::Closed;
        self.launcher.send((command(spec), sender)).await.map_err(|_| SandboxError::Closed)?;
        let child = spawned.await.map_err(gone)?;
        child.map_err(|source| SandboxError::Process { what: "`setpriv` and `prlimit`, of util-linux,", source })
    }
}

/// The program, behind two of util-linux that set its bounds and become it.
fn command(spec: &SandboxSpec) -> Command {
    let limits = &spec.limits;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--no-new-privs", "--", "prlimit"])
        .args([format!("--data={}", limits.memory), format!("--nofile={}", limits.open_files)])
        .args(["--core=0", "--"])
        .args(&spec.command)
        .env_clear()
        .envs(&spec.environment)
        .current_dir(Path::new("/"))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[async_trait]
impl Driver for ProcessDriver {
    /// Starts `command`. The image is not looked at, and a server's volume and network are not made.
    async fn start(&self, spec: &SandboxSpec) -> Result<Sandbox, SandboxError> {
        spec.check()?;
        if spec.command.is_empty() {
            return Err(SandboxError::Spec("without an engine, the command is given in full"));
        }
        self.warned.call_once(|| {
            tracing::warn!(
                "sandboxes are plain processes here: NOTHING ISOLATES THEM from this machine, its files and its network. \
                 This is for development; use the driver `docker` for what you did not write yourself"
            );
        });
        let mut child = self.spawn(spec).await?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(SandboxError::Spec("the program has no streams"));
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (id, tail) = (group.map_or(0, Pid::as_raw_pid).to_string(), Tail::default());
        let kill = async move { kill_group(group) };
        let handle = SandboxHandle::watch(&id, tail.clone(), &self.tasks, ended(child, group), kill);
        Ok(Sandbox {
            input: SandboxInput(Box::pin(Input(Some(input)))),
            output: SandboxOutput(Box::pin(Outputs { output, errors: Some(errors), tail })),
            handle,
        })
    }

    /// The kernel has done it already.
    /// There are no images.
    async fn build(&self, _: BuildSpec, _: mpsc::Sender<String>) -> Result<Built, SandboxError> {
        Err(SandboxError::Spec("images are made by a Docker engine, and the driver is `process`"))
    }

    async fn own_program(&self, program: &Path) -> Result<SandboxSpec, SandboxError> {
        let there = tokio::fs::try_exists(program).await.unwrap_or(false);
        let missing = SandboxError::NoProgram { place: program.to_owned() };
        let command = program.to_str().filter(|_| there).ok_or(missing)?.to_owned();
        // There is no image to look at.
        Ok(SandboxSpec { command: vec![command], ..SandboxSpec::new(ImageReference::Tag("none".to_owned())) })
    }

    async fn reap(&self, _owners: &dyn Owners) -> Result<Reaped, SandboxError> {
        Ok(Reaped::default())
    }
}

/// Waits for the program, and kills what it has left of its group.
async fn ended(mut child: Child, group: Option<Pid>) -> Exit {
    let status = child.wait().await;
    kill_group(group);
    Exit { code: status.ok().and_then(code) }
}

fn code(status: std::process::ExitStatus) -> Option<i64> {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).map(i64::from)
}

fn kill_group(group: Option<Pid>) {
    if let Some(group) = group {
        // That there is nobody left in it is as well.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Standard input, which is closed when it is shut down.
struct Input(Option<ChildStdin>);

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(input) => Pin::new(input).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().map_or(Poll::Ready(Ok(())), |input| Pin::new(input).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

/// Standard output is handed on; standard error is kept, and read as fast as the output.
struct Outputs {
    output: ChildStdout,
    errors: Option<ChildStderr>,
    tail: Tail,
}

impl Outputs {
    /// Takes what there is of standard error.
    fn poll_errors(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 1024];
        while let Some(errors) = &mut self.errors {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(errors).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.tail.push(buffer.filled()),
                _ => self.errors = None,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Outputs {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let _ = self.poll_errors(cx);
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }
}
