//! The parent's side: starts children, feeds them, and ends them when they take too much.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus, process::Stdio, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Semaphore,
    time::timeout,
};

use super::protocol::{FrameError, Job, MAX_FRAME_BYTES, Refusal, Reply, Request, decode, encode};
use crate::{
    config::{ChildCommand, CompileLimits},
    fault::first_line,
};

/// How much of a child's standard error is kept for the log, in bytes.
const MAX_STDERR_BYTES: u64 = 4 << 10;

/// Why a child gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// It looked at the job and refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// It ran into a limit and was ended.
    #[error("{0}")]
    Limit(String),
    /// Too many others are running.
    #[error("no compile process was free within {} s", .0.as_secs())]
    Busy(Duration),
    /// It could not be started or spoken to.
    #[error("the compile process could not be run: {0}")]
    Io(#[from] std::io::Error),
    /// It said what is no reply.
    #[error("the compile process gave no answer ({status}): {stderr}")]
    NoReply {
        /// How it ended.
        status: ExitStatus,
        /// The first line that it wrote to standard error.
        stderr: String,
    },
    /// The request could not be written.
    #[error("the request could not be written: {0}")]
    Request(#[from] FrameError),
}

/// Starts children, a few at a time.
#[derive(Debug)]
pub(crate) struct Children {
    command: ChildCommand,
    free: Semaphore,
    wait: Duration,
}

/// What a child left behind.
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Children {
    pub(crate) fn new(command: ChildCommand, at_once: usize, wait: Duration) -> Self {
        Self { command, free: Semaphore::new(at_once), wait }
    }

    /// Has `job` done within `limits`. A child whose caller goes away is killed.
    pub(crate) async fn run(&self, job: Job, blobs: &[Bytes], limits: CompileLimits) -> Result<Vec<Bytes>, ChildError> {
        let _permit = timeout(self.wait, self.free.acquire()).await.map_err(|_| ChildError::Busy(self.wait))?;
        let request = Request { job, cpu_seconds: whole_seconds(limits.cpu), data_bytes: limits.data_bytes };
        let frame = encode(&request, blobs)?;
        let mut child = self.spawn()?;
        if let Ok(ended) = timeout(limits.wall, converse(&mut child, &frame)).await {
            return outcome(ended?, &limits);
        }
        child.kill().await?;
        Err(ChildError::Limit(format!("it ran for more than {} s", limits.wall.as_secs())))
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.command.program)
            .args(&self.command.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

async fn converse(child: &mut Child, frame: &[u8]) -> std::io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A child that ended early says why by its status.
            let _ = stdin.write_all(frame).await;
            let _ = stdin.shutdown().await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, bounded(stdout, MAX_FRAME_BYTES), bounded(stderr, MAX_STDERR_BYTES));
    Ok(Ended { stdout: stdout?, stderr: stderr?, status: child.wait().await? })
}

/// Reads to the end, and keeps the first `most` bytes.
async fn bounded(stream: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(most).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

fn outcome(ended: Ended, limits: &CompileLimits) -> Result<Vec<Bytes>, ChildError> {
    let stderr = first_line(&String::from_utf8_lossy(&ended.stderr));
    if let Some(signal) = ended.status.signal() {
        tracing::debug!(signal, stderr, "a compile process was ended by a signal");
        return Err(ChildError::Limit(ended_by(signal, limits)));
    }
    match decode::<Reply>(ended.stdout) {
        Ok((Ok(()), results)) if ended.status.success() => Ok(results),
        Ok((Err(refusal), _)) => Err(ChildError::Refused(refusal)),
        _ => Err(ChildError::NoReply { status: ended.status, stderr }),
    }
}

fn ended_by(signal: i32, limits: &CompileLimits) -> String {
    use rustix::process::Signal;
    match Signal::from_named_raw(signal) {
        Some(Signal::XCPU | Signal::KILL) => {
            format!("it used more than {} s of processor time", whole_seconds(limits.cpu))
        }
        Some(Signal::ABORT) => format!("it needed more than {} MiB of memory", limits.data_bytes >> 20),
        _ => format!("it was ended by signal {signal}"),
    }
}
