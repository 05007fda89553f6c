//! What is wrong with outside MCP servers.

use std::time::Duration;

use axum::http::StatusCode;
use nexus_core::{SandboxStartError, ServerError};
use nexus_definitions::CommunityError;
use nexus_mcp::hub::{Fault, HubError};

use super::Problem;
use crate::start_error::chain;

/// When it is worth asking again, while an image is made.
const BUILD_AGAIN: Duration = Duration::from_secs(30);

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
            ServerError::Community(CommunityError::Unknown { .. }) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_community_server", "No such community server", detail)
                    .hint("`nexus mcp search` lists them")
            }
            ServerError::Community(error) => {
                let title = "The server cannot be had like this";
                let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_mcp_server", title, detail);
                match error {
                    CommunityError::Needs { grant, .. } => problem.hint(format!("grant it: `--grant {grant}=…`")),
                    _ => problem,
                }
            }
            ServerError::Building => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "image_being_made",
                "An image is being made already",
                detail,
            )
            .retry_after(BUILD_AGAIN),
            ServerError::Image(SandboxStartError::Missing(why)) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "sandbox_unavailable",
                "There are no sandboxes",
                why,
            ),
            ServerError::Image(error) => {
                Self::new(StatusCode::BAD_GATEWAY, "image_not_made", "The image could not be made", chain(&error))
                    .hint("`mcp.images` in the settings names the images that packages are put into, and where mirrors of the indexes are")
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
