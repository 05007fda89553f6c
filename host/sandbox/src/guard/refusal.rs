//! What a client is told instead of an answer of the engine's.

use std::fmt;

use http::StatusCode;

/// Why something goes no further. The client reads it as it reads the engine's errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl Refusal {
    /// Nexus does not do this.
    pub(super) fn forbidden(why: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, why: why.into() }
    }

    /// It is not there, or it is somebody else's: that is not told apart.
    pub(super) fn no_container(id: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, why: format!("there is no container {id} of Nexus") }
    }

    pub(super) fn too_large(what: &str, limit: usize) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, why: format!("{what} has more than {limit} bytes") }
    }

    /// The engine did not answer, or not in time.
    pub(super) fn no_engine(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, why: why.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// The beginning of a text of a stranger's, for a message.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
