//! Sandboxes: programs that nobody trusts, each in a container of its own, spoken to over standard input and output.
//!
//! A [`Driver`] starts a [`Sandbox`] from a [`SandboxSpec`] and says when it has ended; what is said over the streams is
//! the caller's matter. A [`Pool`] keeps sandboxes of one spec ready, a [`SandboxManager`] the pools of all applications.
//! What a host leaves behind when it dies, the next one [reaps](Driver::reap).

mod docker;
mod driver;
mod error;
mod guard;
mod image;
mod manager;
mod pool;
mod process;
mod proxy;
mod relay;
mod sandbox;
mod spec;
mod tail;

pub use self::{
    docker::{BuildSpec, Built, DockerDriver, DockerSettings, create_body},
    driver::{Driver, Owner, OwnerError, Owners, Reaped},
    error::{BoxError, SandboxError},
    guard::{EngineAddress, EngineGuard, GuardSettings, InvalidAddress},
    image::{ImageReference, InvalidImage},
    manager::{PoolName, PoolPart, SandboxManager},
    pool::{Action, Member, Phase, Pool, PoolSettings, PoolState, PoolStatus, SandboxHandler, Slot, plan},
    process::ProcessDriver,
    proxy::{Gate, ProxyBounds, Refused},
    sandbox::{Exit, Sandbox, SandboxHandle, SandboxInput, SandboxOutput},
    spec::{Limits, Profile, RelayProfile, SandboxSpec, ServerProfile, VolumeSpec},
};
