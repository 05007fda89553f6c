//! Requests to real servers on this machine, which the tests open as an operator opens a network of his own.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

mod addresses;
mod bounds;
mod exchange;
mod secure;
mod support;
