//! Where requests do not go.

use std::sync::Arc;

use nexus_egress::{Egress, EgressError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Names, Server, config, egress, get, text};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn this_machine_is_closed_however_it_is_written() {
    let server = Server::start("0.0.0.0", 0, OK).await;
    let egress = egress(&[], Names::default());
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
    ] {
        let error = get(&egress, &format!("http://{host}:{}", server.port)).await.unwrap_err();
        assert!(matches!(error, EgressError::Closed(_)), "{host}: {error:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn metadata_is_closed_however_it_is_written() {
    let egress = egress(&["127.0.0.0/8"], Names::default());
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "025177524776",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "168.63.129.16",
    ] {
        let error = get(&egress, &format!("http://{host}")).await.unwrap_err();
        assert!(matches!(error, EgressError::Closed(_)), "{host}: {error:?}");
    }
}

#[tokio::test]
async fn a_name_does_not_open_an_address() {
    let server = Server::start("127.0.0.1", 0, OK).await;
    let names = Names::default().with("inside.example", &[&["127.0.0.1", "::1", "10.0.0.1", "::ffff:127.0.0.1"]]);
    let error = get(&egress(&[], names), &format!("http://inside.example:{}", server.port)).await.unwrap_err();
    assert!(matches!(error, EgressError::Closed(_)), "{error:?}");
    let unknown = get(&egress(&[], Names::default()), "http://nowhere.example").await.unwrap_err();
    assert!(matches!(unknown, EgressError::Resolve(_)), "{unknown:?}");
    let empty = Names::default().with("empty.example", &[&[]]);
    let error = get(&egress(&[], empty), "http://empty.example").await.unwrap_err();
    assert!(matches!(error, EgressError::NoAddress), "{error:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn only_open_addresses_of_a_name_are_tried() {
    let inside = Server::start("127.0.0.1", 0, OK).await;
    let outside = Server::start("127.0.0.2", inside.port, OK).await;
    let names = Names::default().with("mixed.example", &[&["127.0.0.1", "127.0.0.2"]]);
    let egress = egress(&["127.0.0.2/32"], names);
    let answer = get(&egress, &format!("http://mixed.example:{}", inside.port)).await.unwrap();
    assert_eq!(text(answer).await.unwrap(), "ok");
    assert_eq!((inside.connections(), outside.connections()), (0, 1));
}

#[tokio::test]
async fn a_name_that_flips_is_connected_to_as_it_was_looked_at() {
    let inside = Server::start("127.0.0.1", 0, OK).await;
    let outside = Server::start("127.0.0.2", inside.port, OK).await;
    let names = Names::default().with("flips.example", &[&["127.0.0.2"], &["127.0.0.1"]]);
    let names = Arc::new(names);
    let egress = Egress::new(config(&["127.0.0.2/32"]), names.clone());
    let origin = format!("http://flips.example:{}", inside.port);
    assert_eq!(text(get(&egress, &origin).await.unwrap()).await.unwrap(), "ok");
    assert_eq!(names.asked(), 1);
    let flipped = get(&egress, &origin).await.unwrap_err();
    assert!(matches!(flipped, EgressError::Closed(_)), "{flipped:?}");
    assert_eq!((inside.connections(), outside.connections()), (0, 1));
}

#[tokio::test]
async fn a_destination_that_is_not_http_is_looked_at_in_the_same_way() {
    let inside = Server::start("127.0.0.1", 0, OK).await;
    let outside = Server::start("127.0.0.2", inside.port, OK).await;
    let names = Names::default().with("mixed.example", &[&["127.0.0.1", "127.0.0.2"], &["127.0.0.1", "::1"], &[]]);
    let egress = egress(&["127.0.0.2/32"], names);
    let destination = format!("mixed.example:{}", inside.port).parse().unwrap();
    let mut stream = egress.dial_tcp(&destination).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert!(matches!(egress.dial_tcp(&destination).await, Err(EgressError::Closed(_))));
    assert!(matches!(egress.dial_tcp(&destination).await, Err(EgressError::NoAddress)));
    let unknown = "nowhere.example:5432".parse().unwrap();
    assert!(matches!(egress.dial_tcp(&unknown).await, Err(EgressError::Resolve(_))));
    assert_eq!((inside.connections(), outside.connections()), (0, 1));
}

#[tokio::test]
async fn a_redirection_is_an_answer_and_not_followed() {
    let target = Server::start("127.0.0.1", 0, OK).await;
    let moved =
        format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n", target.port);
    let server = Server::start("127.0.0.1", 0, moved).await;
    let (answer, _driver) =
        get(&egress(&["127.0.0.0/8"], Names::default()), &format!("http://127.0.0.1:{}", server.port)).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!((server.connections(), target.connections()), (1, 0));
}
