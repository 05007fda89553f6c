//! Starts and calls the real programs: `nexus` and the `nexus-replay` that stands in for a provider of models.
//!
//! The end-to-end tests, the demo and the benchmarks share it, so that what is shown is what is tested.

mod api;
mod bases;
mod certificates;
mod engine;
mod events;
mod fixture;
mod house;
mod outage;
mod postgres;
mod program;
mod python;
mod recordings;
mod redis;
mod stage;
mod workflows;

pub use api::{Api, Reply};
pub use bases::{BaseImages, peers};
pub use certificates::Certificates;
pub use engine::{DockerEngine, said, transplant};
pub use events::{EventReport, EventSoak};
pub use fixture::{CoderScript, FIXTURE_INPUTS, Fixture, Taste, bombs, copy_folder, input, source};
pub use house::{Fallen, House, HouseOptions, Latency};
pub use outage::{Loss, OutageReport, outage};
pub use postgres::PostgresServer;
pub use program::Program;
pub use python::python;
pub use recordings::{Counts, OperationInputs, count, inputs};
pub use redis::{RedisCluster, RedisServer};
pub use stage::{Checkout, Stage, git, programs};
pub use workflows::{CountingService, WalkerDriver, WorkflowReport, WorkflowSoak};
