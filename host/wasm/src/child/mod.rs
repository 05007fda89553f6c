//! Compiling, and running the top level of generated code, in a child process with limits of its own. The child has no
//! key, no environment and no open file but its three streams.

mod functions;
mod jobs;
mod main;
mod parent;
mod protocol;
mod snapshot;
mod world;

pub use self::main::child_main;
#[cfg(fuzzing)]
pub(crate) use self::world::text as world_text;
pub(crate) use self::{
    jobs::JIT_RUNNER,
    parent::{ChildError, Children},
    protocol::{Job, RefusalKind},
};
