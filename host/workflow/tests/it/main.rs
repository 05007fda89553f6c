//! The workflow language, run over ports that stand in for the world.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "what helpers of tests cannot have fails the test")]
#![expect(clippy::print_stdout, reason = "the tables of features and examples are shown")]

mod data_flow;
mod errors;
mod events;
mod examples;
mod features;
mod forks;
mod hostile;
mod refusals;
mod replay;
mod support;
mod surface;
