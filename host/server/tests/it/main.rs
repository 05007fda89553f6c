//! The server through a real socket, and the program as a program.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod across;
mod applications;
mod audit;
mod authors;
mod budgets;
mod commands;
mod completions;
mod definitions;
mod describe;
mod doctor;
mod drain;
mod errors;
mod events;
mod executions;
mod fallback;
mod keys;
mod limits;
mod local;
mod logs;
mod mcp;
mod memory;
mod metrics;
mod oci;
mod optimization;
mod plugins;
mod program;
mod rates;
mod record;
mod replicas;
mod restart;
mod secrets;
mod stream;
mod support;
mod telemetry;
mod templates;
