//! One connection of an outside server to its proxy.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{self, CONNECTION},
};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, client, server, service::service_fn, upgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use nexus_model::WebOrigin;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::{Outside, Refused};

type Answer = Response<Either<Full<Bytes>, Incoming>>;

/// Fields that are about one connection (RFC 9110, 7.6.1), and those that were meant for the proxy.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];
const MAX_HEAD: usize = 32 << 10;

/// Serves a connection until it ends, the server ends, or it was open long enough.
pub(crate) async fn connection(
    server: Arc<Outside>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    place: OwnedSemaphorePermit,
) {
    let place = Arc::new(place);
    let (bounds, ended) = (server.bounds.clone(), server.ended.clone());
    let answered = service_fn(move |request| {
        let (server, place) = (server.clone(), place.clone());
        async move { Ok::<_, Infallible>(answer(&server, request, place).await) }
    });
    let serving = server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answered)
        .with_upgrades();
    // How it ends is the server's matter.
    let _ = ended.run_until_cancelled(timeout(bounds.open, serving)).await;
}

async fn answer(server: &Arc<Outside>, request: Request<Incoming>, place: Arc<OwnedSemaphorePermit>) -> Answer {
    let Some(origin) = origin(&request) else {
        return text(StatusCode::BAD_REQUEST, "a proxy is asked with CONNECT host:port, or with http://host/path");
    };
    let opened = timeout(server.bounds.connect, server.gate.open(&server.server, &origin)).await;
    let stream = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(Refused::NotGranted(what))) => {
            tracing::warn!(server = server.server, what, "an outside server asked what it may not");
            return text(StatusCode::FORBIDDEN, "this origin is not granted");
        }
        Ok(Err(Refused::Unreachable(error))) => {
            tracing::debug!(server = server.server, %origin, error, "an outside server was not connected");
            return text(StatusCode::BAD_GATEWAY, "the origin could not be reached");
        }
        Err(_) => return text(StatusCode::GATEWAY_TIMEOUT, "the origin was not reached in time"),
    };
    if request.method() == Method::CONNECT {
        server.tasks.spawn(tunnel(server.clone(), request, stream, place));
        return Response::new(Either::Left(Full::default()));
    }
    match forward(server, &origin, request, stream, place).await {
        Ok(answer) => answer,
        Err(_) => text(StatusCode::BAD_GATEWAY, "the origin did not answer"),
    }
}

/// Where the request is to go. `CONNECT` asks for TLS, whatever then comes.
fn origin<B>(request: &Request<B>) -> Option<WebOrigin> {
    let uri = request.uri();
    let scheme = match *request.method() {
        Method::CONNECT => {
            uri.port_u16()?;
            "https"
        }
        _ => uri.scheme_str().filter(|scheme| *scheme == "http")?,
    };
    WebOrigin::of(scheme, uri.authority()?.as_str()).ok()
}

async fn tunnel(
    server: Arc<Outside>,
    request: Request<Incoming>,
    mut there: TcpStream,
    _place: Arc<OwnedSemaphorePermit>,
) {
    let moved = async {
        let Ok(here) = upgrade::on(request).await else { return };
        let _ = copy_bidirectional(&mut TokioIo::new(here), &mut there).await;
    };
    let _ = server.ended.run_until_cancelled(timeout(server.bounds.open, moved)).await;
}

async fn forward(
    server: &Arc<Outside>,
    origin: &WebOrigin,
    mut request: Request<Incoming>,
    stream: TcpStream,
    place: Arc<OwnedSemaphorePermit>,
) -> Result<Answer, hyper::Error> {
    strip(request.headers_mut());
    let path = request.uri().path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    *request.uri_mut() = path;
    if let Ok(host) = HeaderValue::try_from(origin.authority()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let (mut sender, connection) =
        client::conn::http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
    let (ended, open) = (server.ended.clone(), server.bounds.open);
    server.tasks.spawn(async move {
        let _ = ended.run_until_cancelled(timeout(open, connection)).await;
        drop(place);
    });
    let mut answer = sender.send_request(request).await?;
    strip(answer.headers_mut());
    Ok(answer.map(Either::Right))
}

/// Takes out what is about one connection only, the fields that `connection` names included.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn text(status: StatusCode, why: &'static str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(why)));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, uri: &str) -> Option<String> {
        origin(&Request::builder().method(method).uri(uri).body(()).unwrap()).map(|origin| origin.to_string())
    }

    #[test]
    fn only_what_a_proxy_is_asked_has_an_origin() {
        assert_eq!(asked(Method::CONNECT, "api.example.com:443").as_deref(), Some("https://api.example.com"));
        assert_eq!(asked(Method::CONNECT, "api.example.com:80").as_deref(), Some("https://api.example.com:80"));
        assert_eq!(asked(Method::GET, "http://api.example.com/x?y").as_deref(), Some("http://api.example.com"));
        assert_eq!(asked(Method::GET, "https://api.example.com/x"), None);
        assert_eq!(asked(Method::GET, "/x"), None);
        assert_eq!(asked(Method::CONNECT, "api.example.com"), None);
    }

    #[test]
    fn fields_of_one_connection_go_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, x-mine"), ("x-mine", "1"), ("te", "trailers"), ("accept", "*/*")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
