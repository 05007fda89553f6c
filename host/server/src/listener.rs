//! Connections: taken one by one, bounded, each a tracked task.

use std::{sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{http::Door, settings::LimitSettings};

/// How long to wait when the system has no socket to give.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// Takes connections until told to stop. HTTP/1.1 only: TLS and HTTP/2 are the business of a proxy in front.
pub(crate) struct Acceptor {
    pub(crate) door: Door,
    pub(crate) limits: LimitSettings,
    pub(crate) connections: TaskTracker,
    /// No new connections; those that are open end after the request that they are at.
    pub(crate) close: CancellationToken,
    /// Open connections end at once.
    pub(crate) abort: CancellationToken,
}

impl Acceptor {
    pub(crate) async fn run(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        while let Some(stream) = self.next(&listener, &places).await {
            let (stream, place) = stream;
            let connection = serve(self.door.clone(), stream, self.builder(), self.close.clone(), self.abort.clone());
            self.connections.spawn(async move {
                let _place = place;
                connection.await;
            });
        }
    }

    async fn next(
        &self,
        listener: &TcpListener,
        places: &Arc<Semaphore>,
    ) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        loop {
            let accepted = async {
                let place = Arc::clone(places).acquire_owned().await.ok()?;
                Some((listener.accept().await, place))
            };
            let (accepted, place) = tokio::select! {
                () = self.close.cancelled() => return None,
                accepted = accepted => accepted?,
            };
            match accepted {
                Ok((stream, _)) => return Some((stream, place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
            }
        }
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.limits.header_timeout).max_buf_size(64 << 10);
        builder
    }
}

async fn serve(
    door: Door,
    stream: TcpStream,
    builder: http1::Builder,
    close: CancellationToken,
    abort: CancellationToken,
) {
    // Without it only latency is worse.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| door.clone().answer(request));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = abort.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
