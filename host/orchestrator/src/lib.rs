//! What a program in a sandbox is made of: it takes executions from the host and brings them back, over MCP on its standard
//! streams. Everything that has an effect is a tool call to the host; the program itself has no network and keeps nothing.
//!
//! [`serve`] is for programs that are written by hand. [`orchestrate`] is the host's own program: it walks workflows, has each
//! effect at the host, under the name of its step, and evaluates expressions in processes that can be killed.

mod agent;
mod evaluate;
mod execution;
mod host;
mod journal;
mod orchestrate;
mod port;
mod telling;
mod work;
mod worker;
mod workflows;

pub use evaluate::{EvaluationLimits, Evaluators, ProcessEvaluator, evaluate_for_parent};
pub use host::{Host, ToolError};
pub use orchestrate::{Settings, orchestrate};
pub use worker::{Handler, Work, WorkerError, serve};
