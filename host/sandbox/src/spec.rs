//! What a sandbox is to be.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, sync::Arc};

use nexus_model::TcpDestination;

use crate::{Gate, ImageReference, SandboxError};

/// The most processes and threads that a sandbox may have.
pub(crate) const MAX_PIDS: u16 = 128;
/// The most destinations that are not HTTP. Each may need an address of its own.
const MAX_TCP: usize = 100;
/// The engine refuses less.
const MIN_MEMORY: u64 = 6 << 20;

/// What to start, and within which bounds.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// The image. A driver without images does not look at it.
    pub image: ImageReference,
    /// Program and arguments; if empty, what the image starts by itself.
    pub command: Vec<String>,
    /// The whole environment, but for what the image sets.
    pub environment: BTreeMap<String, String>,
    /// The bounds.
    pub limits: Limits,
    /// What it may have besides standard input and output.
    pub profile: Profile,
    /// Labels for people who look at the engine. Those that begin with `nexus.` are the driver's.
    pub labels: BTreeMap<String, String>,
}

impl SandboxSpec {
    /// The image with what it starts by itself, with nothing but the defaults.
    pub fn new(image: ImageReference) -> Self {
        Self {
            image,
            command: Vec::new(),
            environment: BTreeMap::new(),
            limits: Limits::default(),
            profile: Profile::Orchestrator,
            labels: BTreeMap::new(),
        }
    }

    /// Says what is wrong, if anything.
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        let limits = &self.limits;
        let faults = [
            (limits.memory < MIN_MEMORY, "memory is at least 6 MiB"),
            (limits.millicpus < 10, "there is at least a hundredth of a CPU"),
            (limits.pids == 0 || limits.pids > MAX_PIDS, "there are 1 to 128 processes"),
            (limits.open_files < 16, "there are at least 16 open files"),
            (limits.scratch.is_some_and(|bytes| bytes > limits.memory), "scratch space is memory, and has less of it"),
            (self.uid() == 0, "the user is not root"),
            (self.command.iter().any(|word| word.contains('\0')), "the command has a zero byte"),
            (!self.environment.iter().all(|(name, value)| is_variable(name, value)), "a variable has no proper name"),
            (
                self.volume().is_some_and(|volume| !volume.is_proper()),
                "a volume has a plain name and an absolute place",
            ),
            (!self.profile.is_proper(), "a server has at most 100 destinations, and a gate if it has any"),
        ];
        faults.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(SandboxError::Spec(why)))
    }

    pub(crate) fn uid(&self) -> u32 {
        self.limits.uid
    }

    pub(crate) fn volume(&self) -> Option<&VolumeSpec> {
        match &self.profile {
            Profile::Server(server) => server.volume.as_ref(),
            Profile::Orchestrator | Profile::Relay(_) => None,
        }
    }
}

fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

/// Bounds of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, scratch space included. There is no swap.
    pub memory: u64,
    /// Thousandths of a CPU.
    pub millicpus: u32,
    /// Processes and threads, 128 at most.
    pub pids: u16,
    /// Open files of each process.
    pub open_files: u32,
    /// Bytes of a writable `/tmp`, in memory; left out, there is none.
    pub scratch: Option<u64>,
    /// The user, who is not root and has no name. The group has the same number.
    pub uid: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 256 << 20, millicpus: 1000, pids: 64, open_files: 256, scratch: None, uid: 65_534 }
    }
}

/// What a sandbox has besides standard input and output.
#[derive(Debug, Clone)]
pub enum Profile {
    /// Nothing: no network, no mount.
    Orchestrator,
    /// What an outside MCP server may have.
    Server(ServerProfile),
    /// What the relay of an outside server has, which the driver starts by itself.
    Relay(RelayProfile),
}

impl Profile {
    fn is_proper(&self) -> bool {
        match self {
            Self::Orchestrator => true,
            Self::Server(server) => server.tcp.len() <= MAX_TCP && (server.tcp.is_empty() || server.gate.is_some()),
            Self::Relay(relay) => relay.hosts.values().all(Ipv4Addr::is_loopback),
        }
    }
}

/// What an outside MCP server may have. All of it can be left out.
#[derive(Clone, Default)]
pub struct ServerProfile {
    /// A name, unique among the servers of this host, that the gate knows it by: letters, digits and `-`.
    pub name: String,
    /// A volume of its own.
    pub volume: Option<VolumeSpec>,
    /// Who decides where it may go. Left out, it has no network. With it, it has loopback, and there a proxy for HTTP and the
    /// destinations in `tcp`, all of which ask the gate; there is nothing else that it could connect to.
    pub gate: Option<Arc<dyn Gate>>,
    /// Where it connects to that is not HTTP, 100 at most: it does so by these very names and ports.
    pub tcp: Vec<TcpDestination>,
}

impl fmt::Debug for ServerProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerProfile")
            .field("name", &self.name)
            .field("volume", &self.volume)
            .field("network", &self.gate.is_some())
            .field("tcp", &self.tcp)
            .finish()
    }
}

/// What the relay of an outside server has: loopback, and names for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayProfile {
    /// Names and the addresses in 127.0.0.0/8 that they have, for the server too.
    pub hosts: BTreeMap<String, Ipv4Addr>,
}

/// A named volume, which outlives the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name at the engine: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Where it is in the sandbox.
    pub target: String,
    /// Bytes that it may hold. Engines keep to this only where their data lies on XFS with project quotas; elsewhere the
    /// volume is made without a bound, and the log says so.
    pub bytes: u64,
}

impl VolumeSpec {
    fn is_proper(&self) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let target = self.target.strip_prefix('/');
        self.name.len() >= 2
            && self.name.len() <= 128
            && self.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && self.name.chars().all(plain)
            && target.is_some_and(|path| {
                !path.is_empty() && !path.contains(':') && !path.split('/').any(|part| part == "..")
            })
    }
}
