//! The relay of an outside server: what listens in the server's network namespace, where there is nothing but loopback, and carries
//! each connection over its standard input and output to the host.
//!
//! It decides nothing and knows no names. It listens on the addresses that its arguments say, writes [`READY`] when it does,
//! and from then on speaks yamux (spec 0) as the client, which alone opens streams. The first two bytes of a stream are the
//! number of the address that it came to, the first being 0, big end first; what follows is the connection's. At most so many
//! connections as it was told are carried at one time; others wait at the kernel. When its input ends, so does it.

mod carry;
mod plan;

use std::{io, os::fd::AsFd};

use tokio::{
    io::{AsyncWriteExt, BufReader, BufWriter, join},
    net::{TcpListener, unix::pipe},
};

pub use self::{
    carry::carry,
    plan::{Plan, PlanError},
};

/// What is written first, once all addresses are listened on.
pub const READY: &[u8; 8] = b"nxrelay1";

/// Bytes that are gathered on the way: one frame of yamux and its head.
const BUFFER: usize = 17 << 10;

/// Why the relay ended, other than by the end of its input.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Its arguments are not understood.
    #[error("nexus-relay CONNECTIONS ADDRESS… is what is understood, as in `nexus-relay 32 127.0.0.1:3128`")]
    Plan(#[source] PlanError),
    /// An address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Standard input or output is no pipe, or is broken.
    #[error("standard input and output have to be pipes to the host")]
    Pipe(#[source] io::Error),
    /// The host broke the protocol, or closed the way to it halfway.
    #[error("the way to the host is broken")]
    Host(#[source] yamux::ConnectionError),
}

/// Does what the arguments say until standard input ends.
pub async fn run(arguments: impl Iterator<Item = String>) -> Result<(), RelayError> {
    let plan = Plan::read(arguments).map_err(RelayError::Plan)?;
    let mut listeners = Vec::with_capacity(plan.addresses.len());
    for address in plan.addresses {
        let listener = TcpListener::bind(address).await.map_err(|source| RelayError::Listen { address, source })?;
        listeners.push(listener);
    }
    let (input, mut output) = pipes().map_err(RelayError::Pipe)?;
    output.write_all(READY).await.map_err(RelayError::Pipe)?;
    let host = join(BufReader::with_capacity(BUFFER, input), BufWriter::with_capacity(BUFFER, output));
    carry(listeners, plan.connections, host).await.map_err(RelayError::Host)
}

/// Standard input and output, without a thread for either.
fn pipes() -> io::Result<(pipe::Receiver, pipe::Sender)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((pipe::Receiver::from_owned_fd(input)?, pipe::Sender::from_owned_fd(output)?))
}
