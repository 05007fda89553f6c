//! What goes over the wire.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{Empty, Full};
use nexus_egress::EgressError;

use crate::support::{Names, PATIENT, Server, egress, get, text};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn host_and_path_are_those_of_origin_and_request() {
    let server = Server::start("127.0.0.1", 0, OK).await;
    let egress = egress(&["127.0.0.0/8"], Names::default().with("api.example.com", &[&["127.0.0.1"]]));
    let origin = format!("http://api.example.com:{}", server.port).parse().unwrap();
    let request = Request::post("http://other.example/a/../b?c=%2e")
        .header("host", "other.example")
        .header("content-length", "4")
        .body(Full::new(Bytes::from("body")))
        .unwrap();
    let answer = egress.send(&origin, request, PATIENT).await.unwrap();
    assert_eq!(text(answer).await.unwrap(), "ok");
    let head = server.head();
    assert!(head.starts_with("POST /a/../b?c=%2e HTTP/1.1\r\n"), "{head}");
    assert_eq!(head.matches("host: ").count(), 1, "{head}");
    assert!(head.contains(&format!("host: api.example.com:{}\r\n", server.port)), "{head}");
}

#[tokio::test]
async fn no_connection_is_used_twice() {
    let server = Server::start("127.0.0.1", 0, OK).await;
    let egress = egress(&["127.0.0.0/8"], Names::default());
    for n in 1..=3 {
        text(get(&egress, &format!("http://127.0.0.1:{}", server.port)).await.unwrap()).await.unwrap();
        assert_eq!(server.connections(), n);
    }
}

#[tokio::test]
async fn tunnels_and_mirrors_are_not_asked() {
    let server = Server::start("127.0.0.1", 0, OK).await;
    let egress = egress(&["127.0.0.0/8"], Names::default());
    let origin = format!("http://127.0.0.1:{}", server.port).parse().unwrap();
    for method in [Method::CONNECT, Method::TRACE] {
        let request = Request::builder().method(&method).uri("/").body(Empty::<Bytes>::new()).unwrap();
        let error = egress.send(&origin, request, PATIENT).await.unwrap_err();
        assert!(matches!(&error, EgressError::Method(refused) if *refused == method), "{error:?}");
    }
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let server = Server::start("127.0.0.1", 0, upgrade).await;
    let error = get(&egress, &format!("http://127.0.0.1:{}", server.port)).await.unwrap_err();
    assert!(matches!(error, EgressError::Upgrade), "{error:?}");
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let port = {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        server.local_addr().unwrap().port()
    };
    let error =
        get(&egress(&["127.0.0.0/8"], Names::default()), &format!("http://127.0.0.1:{port}")).await.unwrap_err();
    assert!(matches!(error, EgressError::Connect(_)), "{error:?}");
}

#[tokio::test]
async fn the_system_resolves_names_by_default() {
    let server = Server::start("127.0.0.1", 0, OK).await;
    let closed = get(&nexus_egress::Egress::default(), &format!("http://localhost:{}", server.port)).await.unwrap_err();
    assert!(matches!(closed, EgressError::Closed("loopback")), "{closed:?}");
    assert_eq!(server.connections(), 0);
}
