//! Servers that say too much, or too little.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use nexus_egress::{Egress, EgressConfig, EgressError, Patience};

use crate::support::{Names, PATIENT, Server, config, get, text};

const SHORT: Duration = Duration::from_millis(50);

fn bounded(change: impl FnOnce(&mut EgressConfig)) -> Egress {
    let mut config = config(&["127.0.0.0/8"]);
    change(&mut config);
    Egress::new(config, Arc::new(Names::default()))
}

async fn origin(answer: impl Into<Vec<u8>>) -> (Server, String) {
    let server = Server::start("127.0.0.1", 0, answer).await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    (server, origin)
}

#[tokio::test]
async fn too_large_a_head_is_refused() {
    let field = format!("x: {}\r\n", "y".repeat(1_000));
    let (_server, large) = origin(format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(40))).await;
    let egress = bounded(|_| {});
    let error = get(&egress, &large).await.unwrap_err();
    assert!(matches!(error, EgressError::HeadTooLarge(32_768)), "{error:?}");
    let (_server, many) = origin(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1_000))).await;
    let error = get(&egress, &many).await.unwrap_err();
    assert!(matches!(error, EgressError::HeadTooLarge(_)), "{error:?}");
}

#[tokio::test]
async fn too_large_a_body_ends_with_an_error() {
    let egress = bounded(|config| config.body_bytes = 10_000);
    let fits = format!("HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n{}", "x".repeat(10_000));
    let (_server, fits) = origin(fits).await;
    assert_eq!(text(get(&egress, &fits).await.unwrap()).await.unwrap().len(), 10_000);
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1_000));
    let (_server, endless) =
        origin(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(11))).await;
    let error = text(get(&egress, &endless).await.unwrap()).await.unwrap_err();
    assert!(matches!(error, EgressError::BodyTooLarge(10_000)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let (_server, silent) = origin("").await;
    let request = || Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    let patience = Patience { head: SHORT, ..PATIENT };
    let error = bounded(|_| {}).send(&silent.parse().unwrap(), request(), patience).await.unwrap_err();
    assert!(matches!(error, EgressError::HeadTimeout), "{error:?}");
    // The operator's patience counts, too.
    let error = get(&bounded(|config| config.patience.head = SHORT), &silent).await.unwrap_err();
    assert!(matches!(error, EgressError::HeadTimeout), "{error:?}");
}

#[tokio::test]
async fn a_body_that_stops_is_not_waited_for() {
    let (_server, stops) = origin("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!").await;
    let error = text(get(&bounded(|config| config.patience.between = SHORT), &stops).await.unwrap()).await.unwrap_err();
    assert!(matches!(error, EgressError::BodyTimeout), "{error:?}");
    let error = text(get(&bounded(|config| config.answer = SHORT), &stops).await.unwrap()).await.unwrap_err();
    assert!(matches!(error, EgressError::BodyTimeout), "{error:?}");
}

#[tokio::test]
async fn connections_have_a_bound() {
    let (server, origin) = origin("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let egress = bounded(|config| {
        config.connections = 1;
        config.patience.connect = SHORT;
    });
    let first = get(&egress, &origin).await.unwrap();
    let error = get(&egress, &origin).await.unwrap_err();
    assert!(matches!(error, EgressError::ConnectTimeout), "{error:?}");
    assert_eq!(text(first).await.unwrap(), "ok");
    assert_eq!(text(get(&egress, &origin).await.unwrap()).await.unwrap(), "ok");
    assert_eq!(server.connections(), 2);
}
