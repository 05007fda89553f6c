//! What can go wrong with an outside server.

use std::time::Duration;

/// Why an outside server did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the MCP server `{server}`: {fault}; {}", fault.mend())]
pub struct HubError {
    /// The key of the server.
    pub server: String,
    /// What went wrong.
    pub fault: Fault,
}

impl HubError {
    /// The name of what went wrong, which stays the same.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }

    /// How long to wait until asking again may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.fault {
            Fault::Resting { wait } => Some(wait),
            Fault::Busy => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no such server.
    #[error("it is not known")]
    UnknownServer,
    /// Its process did not start.
    #[error("it was not started: {0}")]
    Launch(String),
    /// It did not begin a session.
    #[error("no session was begun: {0}")]
    Connect(String),
    /// It did not begin a session in time.
    #[error("no session was begun within {0:?}")]
    ConnectTimeout(Duration),
    /// It is at an address that is closed.
    #[error("{0}")]
    Address(String),
    /// It failed, and is left alone for a while.
    #[error("it has failed, and is tried again in {wait:?}")]
    Resting {
        /// For how long.
        wait: Duration,
    },
    /// Too many calls wait for it.
    #[error("too many calls are under way")]
    Busy,
    /// It offers no such tool, prompt or resource.
    #[error("it offers no `{0}`")]
    Unknown(String),
    /// The tool has not been approved.
    #[error("the tool `{0}` is not approved")]
    NotApproved(String),
    /// The tool is not what was approved.
    #[error("the tool `{0}` is not what was approved")]
    Changed(String),
    /// It offers more than is taken.
    #[error("its list of {0} is too long")]
    ListTooLong(&'static str),
    /// The call took too long. It was cancelled.
    #[error("the call took longer than {0:?} and was cancelled")]
    CallTimeout(Duration),
    /// The answer was too large. It was not read to its end.
    #[error("a message has more than {0} bytes")]
    TooLarge(usize),
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Ended(String),
    /// It answered with an error.
    #[error("it answered with error {code}: {message}")]
    Refused {
        /// The code, as JSON-RPC and the protocol have it.
        code: i32,
        /// What it says, a stranger's words.
        message: String,
    },
    /// It does not do as the protocol says.
    #[error("it does not keep to the protocol: {0}")]
    Protocol(String),
    /// Somebody has to log in.
    #[error("it asks for a login{}", scope.as_deref().map(|scope| format!(" with the scope `{scope}`")).unwrap_or_default())]
    Login {
        /// The scope that it asks for.
        scope: Option<String>,
    },
    /// The login failed.
    #[error("the login failed: {0}")]
    LoginFailed(String),
    /// Logins did not help.
    #[error("it refused after {0} logins in a row")]
    LoginsSpent(u32),
    /// A secret could not be read, or tokens not be kept.
    #[error("its secret: {0}")]
    Secret(String),
    /// It asked its caller again and again.
    #[error("it asked more than {0} times")]
    Questions(usize),
    /// Its question is answered with the next call.
    #[error("it asked a question, and the answer comes with the next call")]
    Later,
    /// Its question was not answered.
    #[error("its question was not answered: {0}")]
    Unanswered(String),
    /// The hub shuts down.
    #[error("Nexus shuts down")]
    Down,
}

impl Fault {
    /// The name of it, which stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownServer => "mcp.unknown-server",
            Self::Launch(_) => "mcp.launch",
            Self::Connect(_) => "mcp.connect",
            Self::ConnectTimeout(_) => "mcp.connect-timeout",
            Self::Address(_) => "mcp.address",
            Self::Resting { .. } => "mcp.resting",
            Self::Busy => "mcp.busy",
            Self::Unknown(_) => "mcp.unknown",
            Self::NotApproved(_) => "mcp.not-approved",
            Self::Changed(_) => "mcp.changed",
            Self::ListTooLong(_) => "mcp.list-too-long",
            Self::CallTimeout(_) => "mcp.call-timeout",
            Self::TooLarge(_) => "mcp.too-large",
            Self::Ended(_) => "mcp.ended",
            Self::Refused { .. } => "mcp.refused",
            Self::Protocol(_) => "mcp.protocol",
            Self::Login { .. } => "mcp.login",
            Self::LoginFailed(_) => "mcp.login-failed",
            Self::LoginsSpent(_) => "mcp.logins-spent",
            Self::Secret(_) => "mcp.secret",
            Self::Questions(_) => "mcp.questions",
            Self::Later => "mcp.later",
            Self::Unanswered(_) => "mcp.unanswered",
            Self::Down => "mcp.down",
        }
    }

    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::UnknownServer => "name one that the application defines",
            Self::Launch(_) => "correct its command, or install what it needs",
            Self::Connect(_) | Self::ConnectTimeout(_) => "see that it runs, and that its URL or command is right",
            Self::Address(_) => "an operator can open the network that it is in",
            Self::Resting { .. } | Self::Busy => "call again later",
            Self::Unknown(_) => "look at what it offers",
            Self::NotApproved(_) | Self::Changed(_) => {
                "look at it with `nexus mcp diff`, and approve it if it is right"
            }
            Self::ListTooLong(_) => "use another server, or another version of it",
            Self::CallTimeout(_) => "ask for less, or allow it more time",
            Self::TooLarge(_) => "ask for less, or allow larger results",
            Self::Ended(_) => "call again; if that does not help, look at what it logs",
            Self::Refused { .. } => "correct what it was asked for",
            Self::Protocol(_) => "use another version of it",
            Self::Login { .. } => "log in with `nexus mcp login`",
            Self::LoginFailed(_) => "begin the login again",
            Self::LoginsSpent(_) => "have its owner grant what it asks for",
            Self::Secret(_) => "set the secret that the definition names",
            Self::Questions(_) => "answer what it asks for in the arguments",
            Self::Later => "call again with the answer",
            Self::Unanswered(_) => "call from where questions can be answered",
            Self::Down => "call again when it is up",
        }
    }
}
