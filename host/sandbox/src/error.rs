//! Why there is no sandbox.

use std::{error::Error, io, path::PathBuf, time::Duration};

/// An error of somebody else's.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why there is no sandbox, or no image for one.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No engine answers; what to do about it is in the message.
    #[error("no Docker engine answers at {host}: {mend}")]
    Unreachable {
        /// Where it was looked for.
        host: String,
        /// What an operator can do.
        mend: String,
        /// What was seen.
        #[source]
        source: BoxError,
    },
    /// The specification asks for what no sandbox gets.
    #[error("a sandbox cannot be started like this: {0}")]
    Spec(&'static str),
    /// The image is named by a tag, which can be moved.
    #[error("the image `{0}` is not pinned: name it by digest (`name@sha256:…`) or by id (`sha256:…`)")]
    NotPinned(String),
    /// The engine does not have the image.
    #[error("the engine does not have the image `{0}`: build or pull it first")]
    NoImage(String),
    /// The image declares volumes, and each would be a writable place without a bound.
    #[error("the image `{image}` declares the volume `{volume}`: a sandbox has none but those that it is given")]
    ImageVolume {
        /// The image.
        image: String,
        /// The first of its volumes.
        volume: String,
    },
    /// The engine refused a step, or failed.
    #[error("the engine did not {step}")]
    Engine {
        /// What was to be done.
        step: &'static str,
        /// What the engine said.
        #[source]
        source: Box<bollard::errors::Error>,
    },
    /// A step took too long.
    #[error("the engine did not {step} within {limit:?}")]
    Late {
        /// What was to be done.
        step: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// An image could not be built; the last lines of what the engine said are in the message.
    #[error("the image could not be built: {0}")]
    Build(String),
    /// A program of this machine could not be read or started.
    #[error("{what} failed")]
    Process {
        /// What was to be done.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An outside server has grants, and the program that carries its connections is not there.
    #[error(
        "a server with grants needs the program `nexus-relay`{}: `cargo xtask build` makes it beside `nexus`, where it has to be",
        .place.as_ref().map(|place| format!(", and there is none at {}", place.display())).unwrap_or_default()
    )]
    NoRelay {
        /// Where it was looked for, if it was.
        place: Option<PathBuf>,
    },
    /// A program of the host's own is not there.
    #[error("there is no program at {}: `cargo xtask build` makes it beside `nexus`, where it has to be", .place.display())]
    NoProgram {
        /// Where it was looked for.
        place: PathBuf,
    },
    /// The relay of an outside server does not do what it should; what it said is in the message.
    #[error("the relay of the server does not run: {0}")]
    Relay(String),
    /// A guard of an engine could not listen.
    #[error("the guard cannot listen on {address}: another may do so, or this user may not")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// All sandboxes are taken, and as many callers wait as may.
    #[error("all sandboxes are taken; ask again in {retry_after:?}")]
    Busy {
        /// When it is worth asking again; whole seconds, at least one.
        retry_after: Duration,
    },
    /// Nothing is given out any more: the pool is being drained, or there is none for this application.
    #[error("no sandboxes are given out for this application")]
    Closed,
}

impl SandboxError {
    pub(crate) fn engine(step: &'static str) -> impl Fn(bollard::errors::Error) -> Self {
        move |source| Self::Engine { step, source: Box::new(source) }
    }
}
