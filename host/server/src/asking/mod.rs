//! Asking the models of the settings without a server: what `nexus record` and `nexus prompt` have in common.

mod patience;
mod task;

pub(crate) use patience::{TIMEOUT, is_hopeless, patiently};
pub(crate) use task::{Task, TaskError, load};
