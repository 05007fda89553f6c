//! Where state lives: definitions in a Git repository, runtime state in one durable file or in a Redis.
//!
//! Two ports of `nexus-model` are implemented here: [`GitDefinitions`] is the `DefinitionStore`, [`EmbeddedStore`] and
//! [`RedisStore`] are `RuntimeStore`s. [`folder`] reads applications from plain folders. [`memory`] holds twins of both for tests.

mod bounds;
mod clock;
mod embedded;
mod error;
pub mod folder;
mod git;
pub mod memory;
mod quota;
mod redis;
mod waiters;

pub use clock::{Clock, SystemClock};
pub use embedded::EmbeddedStore;
pub use error::OpenError;
pub use git::{GitDefinitions, GitRemote, RemoteConfig, RemoteUrlError};
pub use redis::{AddressError, RedisAddress, RedisConfig, RedisServerInfo, RedisStore, RedisTls};
