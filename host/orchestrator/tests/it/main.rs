//! The program and its parts, at a host that keeps its journals in memory.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "what helpers of tests cannot have fails the test")]
#![expect(clippy::print_stdout, reason = "how long an evaluation takes is shown")]

mod evaluation;
mod executions;
mod support;
