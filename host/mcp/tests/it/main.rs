//! The hub with servers of others, and with servers that mean no good.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod conformance;
mod hostile;
mod libraries;
mod passed_on;
mod peers;
mod process;
mod scripted;
mod support;
mod web;
