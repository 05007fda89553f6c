//! The workflow language, run over ports that stand in for the world.

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
