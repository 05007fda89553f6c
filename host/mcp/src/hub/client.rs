//! What a server may ask of its client, and tell it.

use std::sync::Arc;

use nexus_model::{AskError, LogLine, Progress};
use rmcp::{
    ErrorData, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, ClientResult, ElicitationCapability, ErrorCode, Implementation,
        ProtocolVersion, RequestId, RootsCapabilities, SamplingCapability, ServerNotification, ServerRequest,
    },
    service::{InboundStreamOrigin, NotificationContext, RequestContext, Service},
};
use serde::de::DeserializeOwned;

use super::{changes::Changes, in_flight::InFlight};

/// The client's side of one connection.
pub(crate) struct Client {
    pub(crate) in_flight: Arc<InFlight>,
    /// How often the server has said that the tools that it offers are others.
    pub(crate) changes: Arc<Changes>,
}

impl Client {
    /// Asks the caller what the server asks.
    async fn ask<T: DeserializeOwned>(
        &self,
        request: &ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<T, ErrorData> {
        let mut request = serde_json::to_value(request).map_err(|error| unusable(&error))?;
        let method = request["method"].as_str().unwrap_or_default().to_owned();
        let origin = context.extensions.get::<InboundStreamOrigin>().and_then(|origin| match origin {
            InboundStreamOrigin::OutboundRequest(id) => Some(id.clone()),
            InboundStreamOrigin::Unassociated => None::<RequestId>,
        });
        let asked = self.in_flight.ask(origin, &method, request["params"].take());
        let answer = tokio::select! {
            answer = asked => answer,
            () = context.ct.cancelled() => Err(AskError::Failed("the question was withdrawn".to_owned())),
        };
        let answer = answer.map_err(|error| match error {
            AskError::Unsupported(why) => ErrorData::new(ErrorCode::METHOD_NOT_FOUND, why, None),
            other => ErrorData::internal_error(other.to_string(), None),
        })?;
        serde_json::from_value(answer).map_err(|error| unusable(&error))
    }
}

fn unusable(error: &serde_json::Error) -> ErrorData {
    ErrorData::internal_error(format!("the answer is none that the protocol knows: {error}"), None)
}

impl Service<RoleClient> for Client {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        match &request {
            ServerRequest::PingRequest(_) => Ok(ClientResult::empty(())),
            ServerRequest::ElicitRequest(_) => self.ask(&request, context).await.map(ClientResult::ElicitResult),
            ServerRequest::CreateMessageRequest(_) => {
                self.ask(&request, context).await.map(Box::new).map(ClientResult::CreateMessageResult)
            }
            ServerRequest::ListRootsRequest(_) => self.ask(&request, context).await.map(ClientResult::ListRootsResult),
            _ => Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "no such method is known here", None)),
        }
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        match notification {
            ServerNotification::ProgressNotification(told) => {
                let told = told.params;
                let progress = Progress { done: told.progress, total: told.total, message: told.message };
                self.in_flight.progress(&told.progress_token, progress).await;
            }
            ServerNotification::LoggingMessageNotification(told) => {
                // Member by member it is deprecated; servers of the older revision will be there for long.
                let mut told = serde_json::to_value(told.params).map_err(|error| unusable(&error))?;
                let member = |name: &str| told[name].as_str().map(ToOwned::to_owned);
                let (level, logger) = (member("level").unwrap_or_else(|| "info".to_owned()), member("logger"));
                self.in_flight.log(LogLine { level, logger, data: told["data"].take() }).await;
            }
            ServerNotification::ToolListChangedNotification(_) => self.changes.note(),
            _ => {}
        }
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        capabilities.sampling = Some(SamplingCapability::default());
        capabilities.roots = Some(RootsCapabilities::default());
        let about = Implementation::new("nexus", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities, about).with_protocol_version(ProtocolVersion::V_2025_11_25)
    }
}
