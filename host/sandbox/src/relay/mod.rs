//! The host's end of a relay: connections of an outside server come in over the streams of a container that listens in the
//! server's network namespace.
//!
//! What comes over the streams is a stranger's. It is bounded in connections, in bytes and in pieces, and what breaks the
//! protocol ends this one relay, and with it its server.

mod channel;
mod crumbs;
mod listeners;
mod session;
#[cfg(test)]
mod tests;
mod transport;

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, BufWriter, copy, sink},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::listeners::{Listeners, PROXY};
use self::transport::Transport;
use crate::{Sandbox, SandboxError, SandboxHandle, SandboxOutput, proxy::Outside};

/// What a relay writes first, when it listens. (It is a program of its own, and says the same in its `lib.rs`.)
const READY: &[u8; 8] = b"nxrelay1";
/// How long one that does not get ready is waited for, so that its last words are known.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes that are gathered before they are sent: one frame of yamux and its head.
const BUFFER: usize = 17 << 10;

/// A relay that runs. It is ended by [`close`](Self::close), or is left to end by itself.
pub(crate) struct Link {
    relay: SandboxHandle,
    ended: CancellationToken,
}

impl Link {
    /// Waits until the relay listens, and serves what comes from then on.
    pub(crate) async fn open(relay: Sandbox, listeners: Listeners, outside: Outside) -> Result<Self, SandboxError> {
        let Sandbox { input, mut output, handle } = relay;
        if !gets_ready(&mut output).await {
            // What it complains about comes with its output.
            let _ = timeout(LAST_WORDS, copy(&mut output, &mut sink())).await;
            handle.kill().await;
            return Err(SandboxError::Relay(handle.complaints().trim().to_owned()));
        }
        let input = BufWriter::with_capacity(BUFFER, input);
        let (ended, tasks) = (outside.ended.clone(), outside.tasks.clone());
        tasks.spawn(session::serve(Transport::new(input, output), listeners, outside));
        Ok(Self { relay: handle, ended })
    }

    /// Waits until nothing is carried any more, for whatever reason.
    pub(crate) async fn over(&self) {
        tokio::select! {
            () = self.ended.cancelled() => {}
            _ = self.relay.wait() => {}
        }
    }

    /// Ends the relay with all its connections, and waits until nothing of it is left.
    pub(crate) async fn close(self) {
        self.ended.cancel();
        self.relay.kill().await;
    }
}

async fn gets_ready(output: &mut SandboxOutput) -> bool {
    for byte in READY {
        if output.read_u8().await.ok() != Some(*byte) {
            return false;
        }
    }
    true
}
