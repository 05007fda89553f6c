//! A program that runs apart.

use std::{
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::tail::Tail;

/// How long a program may go on when nobody is left who holds its sandbox.
const GRACE: Duration = Duration::from_secs(5);
/// How long a driver may take to kill.
const KILL: Duration = Duration::from_secs(10);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number if a signal ended it (137: killed, by the driver or for want of memory). `None`
    /// if it is not known.
    pub code: Option<i64>,
}

/// A program that runs apart, and the streams to it.
#[derive(Debug)]
pub struct Sandbox {
    /// Its standard input.
    pub input: SandboxInput,
    /// Its standard output.
    pub output: SandboxOutput,
    /// Its life.
    pub handle: SandboxHandle,
}

/// The standard input of a sandbox: a full pipe makes the writer wait. Shut down, or dropped together with the
/// [`SandboxOutput`], it is closed, and a well-behaved program ends.
pub struct SandboxInput(pub(crate) Pin<Box<dyn AsyncWrite + Send>>);

/// The standard output of a sandbox. Bytes are taken from the program only as they are read here, so one that writes faster
/// waits. Standard error comes with it, and is read no faster.
pub struct SandboxOutput(pub(crate) Pin<Box<dyn AsyncRead + Send>>);

/// The life of a sandbox. When the last clone is dropped, the program has five seconds to end, and is killed then.
#[derive(Debug, Clone)]
pub struct SandboxHandle {
    id: Arc<str>,
    tail: Tail,
    ended: watch::Receiver<Option<Exit>>,
    kill: CancellationToken,
    _held: Arc<DropGuard>,
}

impl SandboxHandle {
    /// Watches over a program: `exit` is done when it has ended, `kill` ends it whatever it does.
    pub(crate) fn watch(
        id: &str,
        tail: Tail,
        tasks: &TaskTracker,
        exit: impl Future<Output = Exit> + Send + 'static,
        kill: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (end, ended) = watch::channel(None);
        let (killed, dropped) = (CancellationToken::new(), CancellationToken::new());
        let handle =
            Self { id: id.into(), tail, ended, kill: killed.clone(), _held: Arc::new(dropped.clone().drop_guard()) };
        tasks.spawn(async move {
            let exit = keep(exit, kill, killed, dropped).await;
            end.send_replace(Some(exit));
        });
        handle
    }

    /// The engine's id of the container, or the number of the process.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The last few KiB that the program wrote to standard error, as far as they were read with its output.
    pub fn complaints(&self) -> String {
        self.tail.text()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Exit> {
        *self.ended.borrow()
    }

    /// Waits until it has ended and nothing of it is left. Can be waited for by many, and be dropped.
    pub async fn wait(&self) -> Exit {
        let mut ended = self.ended.clone();
        let exit = ended.wait_for(Option::is_some).await;
        // The watcher is gone only when its runtime is.
        exit.ok().and_then(|exit| *exit).unwrap_or(Exit { code: None })
    }

    /// Ends it whatever it does, and waits until nothing of it is left, 20 s at most. Can be called at any time.
    pub async fn kill(&self) -> Exit {
        self.kill.cancel();
        self.wait().await
    }

    /// Waits for `patience` until it has ended by itself, and kills it then.
    pub async fn wait_or_kill(&self, patience: Duration) -> Exit {
        match timeout(patience, self.wait()).await {
            Ok(exit) => exit,
            Err(_) => self.kill().await,
        }
    }
}

async fn keep(
    exit: impl Future<Output = Exit>,
    kill: impl Future<Output = ()>,
    killed: CancellationToken,
    dropped: CancellationToken,
) -> Exit {
    let mut exit = pin!(exit);
    let unwatched = async {
        dropped.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        exit = &mut exit => return exit,
        () = killed.cancelled() => {}
        () = unwatched => {}
    }
    // An engine that does not answer keeps nobody; what it still has is its owner's, and is reaped when he is gone.
    let _ = timeout(KILL, kill).await;
    timeout(KILL, exit).await.unwrap_or(Exit { code: None })
}

impl AsyncWrite for SandboxInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}

impl AsyncRead for SandboxOutput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buffer)
    }
}

impl fmt::Debug for SandboxInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SandboxInput")
    }
}

impl fmt::Debug for SandboxOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SandboxOutput")
    }
}
