//! What is wrong with outside MCP servers.

use axum::http::StatusCode;
use nexus_core::ServerError;
use nexus_mcp::hub::{Fault, HubError};

use super::Problem;

impl From<ServerError> for Problem {
    fn from(error: ServerError) -> Self {
        let detail = error.to_string();
        match error {
            ServerError::Unknown { .. } => {
                Self::new(StatusCode::NOT_FOUND, "unknown_mcp_server", "No such MCP server", detail)
            }
            ServerError::NoTool(_) => Self::new(StatusCode::NOT_FOUND, "unknown_tool", "No such tool", detail),
            ServerError::OtherOffer => {
                Self::new(StatusCode::CONFLICT, "offer_changed", "The server offers something else", detail)
                    .hint("`nexus mcp diff` shows what it offers now")
            }
            ServerError::Hub(error) => hub_problem(&error),
            ServerError::Write(error) => error.into(),
        }
    }
}

fn hub_problem(error: &HubError) -> Problem {
    let status = match error.fault {
        Fault::UnknownServer | Fault::Unknown(_) => StatusCode::NOT_FOUND,
        Fault::Resting { .. } | Fault::Busy | Fault::Down => StatusCode::SERVICE_UNAVAILABLE,
        Fault::ConnectTimeout(_) | Fault::CallTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let problem = Problem::new(status, "mcp_server", "The MCP server did not answer", error.to_string());
    let problem = problem.hint(error.fault.mend());
    match error.retry_after() {
        Some(wait) => problem.retry_after(wait),
        None => problem,
    }
}
