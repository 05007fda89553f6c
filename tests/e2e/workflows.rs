//! Executions of workflows, from outside.

#[path = "workflows/kills.rs"]
mod kills;
