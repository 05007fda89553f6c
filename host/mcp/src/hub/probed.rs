//! A transport that a server was probed over: what comes to the probe when nobody waits for it any more is left out.

use std::future::Future;

use rmcp::{
    RoleClient,
    model::{ClientJsonRpcMessage, ClientRequest, RequestId, ServerJsonRpcMessage},
    transport::Transport,
};

/// Passes everything on but answers to `server/discover` that come after `initialize` was sent instead. rmcp gives a server
/// ten seconds for the first, and takes its answer for one to the second then; a program may well need longer to start.
pub(crate) struct Probed<T> {
    inner: T,
    probe: Option<RequestId>,
    given_up: Option<RequestId>,
}

impl<T> Probed<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, probe: None, given_up: None }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Probed<T> {
    type Error = T::Error;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        if let ClientJsonRpcMessage::Request(request) = &message {
            match request.request {
                ClientRequest::DiscoverRequest(_) => self.probe = Some(request.id.clone()),
                ClientRequest::InitializeRequest(_) => self.given_up = self.probe.take(),
                _ => {}
            }
        }
        self.inner.send(message)
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let message = self.inner.receive().await?;
            let answers = match &message {
                ServerJsonRpcMessage::Response(response) => Some(&response.id),
                ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
                _ => None,
            };
            if answers.is_none() || answers != self.given_up.as_ref() {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}
