//! Recording what a model answers, for `nexus-replay`.

mod book;
mod session;

pub(crate) use book::{Book, BookError};
pub(crate) use session::{Progress, Session, Stop};
