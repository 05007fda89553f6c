//! Sandboxes on a real engine: where `DOCKER_HOST` says, or at its usual socket.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what a test needs and does not get ends the test")]

mod guard;
mod host;
mod images;
mod life;
mod pool;
mod process;
mod reap;
mod server;
mod support;
mod walls;
